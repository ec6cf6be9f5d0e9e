"""Files and documents: schemas, tables of merchants, models, the log's export, journals, orders, batches."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from flwr.app import Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from crypto.chain import GENESIS, chained
from crypto.errors import ExchangeError
from crypto.key_line import KeyLine
from crypto.parcel import Parcel
from hub.audit import verify_export
from hub.grids.base import RequestGrid
from hub.grids.channel import Channel, Lost
from hub.reconciliation import reconcile, reconcile_receipts
from hub.web.order_upload import UploadRefused, read_order
from models.artefact import ModelArtefact, PrivacyEntry, ScorecardEntry, fit_entry
from models.campaign_file import CampaignFile
from models.fit_options import FitOptions
from models.published_table import PublishedTable
from models.schema import Schema
from models.scorecard_fit import train
from models.tables import OpenedTable, feature_bins, from_codes
from models.yaml_file import load_yaml_model
from nodes.batch_files import read_rows
from nodes.frozen import pack_arrays, unpack_arrays
from nodes.hub_client import parsed as read_answer
from nodes.journal import JournalLine, read_lines, verify_lines
from nodes.sources.csv import CsvSource
from nodes.sources.parquet import ParquetSource
from nodes.sources.table import NodeTable
from nodes.training import from_records, serve_link, to_records
from nodes.witness.mirror_index import day_of, figures_of, indexed_leaf, parsed
from tests.federation import small_schema
from tests.fuzz import signers
from tests.fuzz.target import Target, file_of, join, split

SCHEMA = small_schema()
_TODAY = date(2026, 1, 31)
_ROWS = b"id,t1,t2\nmerchant-1,0,1\nmerchant-2,,2\n"
_CAMPAIGN = b"name: fuzz\nschema: small.yaml\nstages: [scorecard]\nepsilon: 3.0\nholdout: 0.2\n"
_CSV = b"id,consent_id\nmerchant-1,%s\nmerchant-2,\n" % (b"0" * 32)


def _fitted() -> tuple[OpenedTable, ModelArtefact]:
    features = feature_bins(SCHEMA)
    rng = np.random.default_rng(0)
    codes = {
        kind: np.stack([rng.integers(0, each.width, 2000) for each in features if each.kind == kind], 1).astype(
            np.uint8
        )
        for kind in SCHEMA.kinds_in_order()
    }
    outcomes = np.where(rng.random(2000) < 0.05 + 0.2 * (codes["bank"][:, 0] == 0), 0, 1).astype(np.uint8)
    table = from_codes(features, codes, outcomes)
    privacy = PrivacyEntry(
        noise="off",
        epsilon=None,
        delta=None,
        epsilon_replace_one=None,
        t_collude=1,
        mu=None,
        stages=("scorecard",),
        mechanisms=(),
    )
    return table, ModelArtefact(
        model_type="scorecard",
        campaign="fuzz",
        created=datetime(2026, 1, 31, tzinfo=UTC),
        campaign_schema=SCHEMA.canonical_json().decode(),
        schema_sha256=SCHEMA.hash(),
        cohort_size=table.cohort_size,
        privacy=privacy,
        scorecard=ScorecardEntry.of(train(table)),
        table_digest=table.digest(),
        fit_options=fit_entry(FitOptions()),
    )


TABLE, ARTEFACT = _fitted()


def _schema_file(data: bytes) -> None:
    with file_of(data, ".yaml") as path:
        schema = load_yaml_model(path, Schema)
    Schema.from_json(schema.canonical_json())


def _campaign_file(data: bytes) -> None:
    with file_of(data, ".yaml") as path:
        load_yaml_model(path, CampaignFile).check_against(SCHEMA)


def _order(data: bytes) -> None:
    campaign, schema = (part.decode("utf-8", "replace") for part in split(data, 2))
    with contextlib.suppress(UploadRefused):  # its own, for the page that says what is wrong
        read_order(campaign, schema)


def _csv(data: bytes) -> None:
    with file_of(data, ".csv") as path:
        NodeTable.load(CsvSource(path), SCHEMA, "tax", block_rows=64, today=_TODAY)


def _parquet(data: bytes) -> None:
    with file_of(data, ".parquet") as path:
        NodeTable.load(ParquetSource(path), SCHEMA, "tax", block_rows=64, today=_TODAY)


def _parquet_seeds() -> list[bytes]:
    frame = pl.read_csv(io.BytesIO(_ROWS))
    made = []
    for options in ({}, {"compression": "uncompressed"}, {"compression": "uncompressed", "statistics": False}):
        file = io.BytesIO()
        frame.write_parquet(file, **options)
        made.append(file.getvalue())
    return made


def _batch(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    list(read_rows(io.StringIO(text, newline=""), "the body"))


def _table(data: bytes) -> None:
    read_answer(PublishedTable, data).opened(ARTEFACT)


def _export(data: bytes) -> None:
    with file_of(data) as path:
        verify_export(path, signers.VERIFIERS)


def _journals(data: bytes) -> None:
    log, journal, kept = split(data, 3)
    with file_of(log) as hub, file_of(journal) as node, file_of(kept) as receipts:
        reconcile(hub, node)
        reconcile_receipts(receipts, hub, node, hub_keys=KeyLine.of(signers.PARTY.public))


def _journal_seeds() -> list[bytes]:
    export = signers.export()
    return [join(export, export, b""), join(export, export, signers.acknowledgement())]


def _chain(data: bytes) -> None:
    verify_lines(read_lines(io.StringIO(data.decode("utf-8", "replace")), "journal"))


def _chain_seed() -> bytes:
    entry = b'{"type":"note"}'
    return JournalLine(1, entry, chained(GENESIS, entry)).to_json().encode() + b"\n"


def _message(data: bytes) -> None:
    """A training message of the hub; the step that would take it says what came."""
    serve_link(lambda message: (from_records(message.content), Message(RecordDict(), reply_to=message))[1])(data)


PARCEL = Parcel({"terms": "a.b.c", "block": "0"}, {"positions": np.arange(3, dtype=np.uint32)})


class _OneNode(RequestGrid):
    """A node that answers every message with the same bytes, but for the message that they answer."""

    def __init__(self) -> None:
        super().__init__([1], workers=1)
        self.answer = b""
        self.asked = ""

    def deliver(self, node_id: int, wire: bytes, timeout: float | None) -> bytes:
        self.asked = ProtoMessage.FromString(wire).metadata.message_id
        return self.answer.replace(_ASKED, self.asked.encode())


_ASKED = b"0" * 36
"""In place of the id of the message that is answered."""
_NODE = _OneNode()


def _reply(data: bytes) -> None:
    """What a node answers to a training message; the campaign must outlive it."""
    _NODE.answer = data
    (answer,) = Channel(_NODE, {"bank-1": 1}, 5.0).ask("train.accept", {"bank-1": PARCEL}, "attempt").values()
    if isinstance(answer, Lost):
        raise ExchangeError(answer.reason)


def _message_seeds() -> list[bytes]:
    message = _NODE.create_message(to_records(PARCEL), "train.accept", 1, "attempt")
    message.metadata.__dict__["_message_id"] = _ASKED.decode()
    return [message_to_proto(message).SerializeToString()]


def _reply_seeds() -> list[bytes]:
    message = _NODE.create_message(to_records(PARCEL), "train.accept", 1, "attempt")
    message.metadata.__dict__["_message_id"] = _ASKED.decode()
    return [message_to_proto(Message(to_records(PARCEL), reply_to=message)).SerializeToString()]


def _leaf(data: bytes) -> None:
    """A leaf that a lying hub puts into its log; the witness keeps and indexes it."""
    entry = parsed(data)
    found = indexed_leaf(entry)
    day_of(found.time)
    for _, number in figures_of(entry):
        assert number < 1 << 63


def _leaf_seeds() -> list[bytes]:
    leaf = json.loads(signers.export().splitlines()[1])["entry"]
    return [leaf.encode(), leaf.replace('"query"', '"query-result"').replace('"item"', '"failures"').encode()]


TARGETS: dict[str, Target] = {
    "schema": Target(_schema_file, lambda: [SCHEMA.canonical_json()], 1 << 14),
    "campaign-file": Target(_campaign_file, lambda: [_CAMPAIGN]),
    "order": Target(_order, lambda: [join(_CAMPAIGN, SCHEMA.canonical_json())], 1 << 14),
    "csv": Target(_csv, lambda: [_ROWS, b"\xef\xbb\xbf" + _ROWS.replace(b"merchant-1", b'"merchant ""1"""')]),
    "parquet": Target(_parquet, _parquet_seeds, 1 << 14),
    "batch": Target(_batch, lambda: [_CSV]),
    "artefact": Target(ModelArtefact.from_bytes, lambda: [ARTEFACT.to_bytes()], 1 << 16),
    "table": Target(_table, lambda: [PublishedTable.of(TABLE).model_dump_json().encode()], 1 << 16),
    "frozen": Target(unpack_arrays, lambda: [pack_arrays({"codes": np.zeros((2, 2), dtype=np.uint8)})]),
    "export": Target(_export, lambda: [signers.export()], 1 << 14),
    "journals": Target(_journals, _journal_seeds, 1 << 14),
    "journal": Target(_chain, lambda: [_chain_seed()]),
    "message": Target(_message, _message_seeds, 1 << 14),
    "reply": Target(_reply, _reply_seeds, 1 << 14),
    "leaf": Target(_leaf, _leaf_seeds, 2048),
}
