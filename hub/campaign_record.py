"""One running campaign's record: every manifest, decision, round and table is stored and logged as it happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import delete, insert, select

from crypto.canonical import canonical_bytes, digest
from crypto.dated import verify_any
from crypto.keys import Signer
from crypto.wire.audit import EntryType
from crypto.wire.campaign import Decision, Stage, Terms
from crypto.wire.link import RoundShares
from hub.campaign_book import CampaignBook, vector_bytes
from hub.campaign_errors import CampaignError
from hub.campaign_plan import EncoderCheckpoint, ReleasedTable
from hub.clock import seconds
from hub.parties import witness_of
from hub.tables.campaigns import (
    CampaignAttemptRow,
    CampaignRefusalRow,
    EncoderCheckpointRow,
    EncoderRoundRow,
    EncoderShareRow,
    OpenedTableRow,
    TableShareRow,
    UndeliveredDecisionRow,
)

_OPENED: Mapping[Stage, EntryType] = {"evaluation": "histogram-opened", "bins": "bins-opened"}


class CampaignRecord:
    """A `CampaignStore` in the hub's database.

    Args:
        book: the hub's campaigns.
        campaign_id: this one.
        hub_key: the hub's signing key, under whose line terms are signed.
    """

    def __init__(self, book: CampaignBook, campaign_id: str, *, hub_key: Signer) -> None:
        self._book = book
        self._campaign_id = campaign_id
        self._hub_key = hub_key

    def manifest(self, attempt: str, h: bytes, terms: str) -> None:
        """T0: the witness cosigned this manifest."""
        signed = self._terms(terms)
        with self._book.db.session() as session:
            session.add(
                CampaignAttemptRow(
                    attempt=attempt,
                    campaign_id=self._campaign_id,
                    stage=signed.stage,
                    h=h,
                    terms=terms,
                    created_at=seconds(self._book.clock()),
                )
            )
            facts: dict[str, str | int | bool | None] = {
                "campaign_id": self._campaign_id,
                "attempt": attempt,
                "h": h.hex(),
                "terms_sha256": digest(terms.encode()).hex(),
                "nodes": len(signed.roster),
                "merchants": signed.cohort_size,
            }
            self._book.log.append(session, "manifest", self._book.hub_id, facts=facts)

    def lost(self, attempt: str, parties: Mapping[str, str]) -> None:
        """These parties ended the attempt."""
        rows = [
            {"attempt": attempt, "party_id": party, "campaign_id": self._campaign_id, "reason": why}
            for party, why in parties.items()
        ]
        with self._book.db.session() as session:
            session.execute(
                delete(CampaignRefusalRow).where(
                    CampaignRefusalRow.attempt == attempt, CampaignRefusalRow.party_id.in_(parties)
                )
            )
            session.execute(insert(CampaignRefusalRow), rows)

    def decision(self, attempt: str, h: bytes, token: str, undelivered: tuple[str, ...]) -> None:
        """T4: the witness decided; who has not heard it is told when it is back."""
        with self._book.db.session() as session:
            witness = witness_of(session)  # its key may have changed since the campaign began
            if witness is None:
                raise CampaignError("No witness is enrolled.", field="witness", remedy="Enrol the regulator's witness.")
            decided = witness.stored(token, Decision, typ="decision")
            row = session.get(CampaignAttemptRow, attempt)
            if row is not None:
                row.decision = token
            if undelivered:
                rows = [{"attempt": attempt, "party_id": party} for party in undelivered]
                session.execute(insert(UndeliveredDecisionRow), rows)
            facts: dict[str, str | int | bool | None] = {
                "campaign_id": self._campaign_id,
                "attempt": attempt,
                "h": h.hex(),
                "decision": decided.decision,
                "undelivered": len(undelivered),
            }
            self._book.log.append(session, "attempt-decision", self._book.hub_id, facts=facts)

    def points_passed(self, terms: Terms, boxes: Mapping[str, Mapping[str, str]]) -> None:
        """V2: logged before a bank gets them: which source's points about how many merchants, under which model."""
        model_id = None if terms.evaluation is None else terms.evaluation.model_id
        with self._book.db.session() as session:
            for bank, by_source in boxes.items():
                for source, sha256 in by_source.items():
                    facts: dict[str, str | int | bool | None] = {
                        "campaign_id": self._campaign_id,
                        "attempt": terms.attempt,
                        "model_id": model_id,
                        "source": source,
                        "recipient": bank,
                        "sealed_sha256": sha256,
                    }
                    self._book.log.append(session, "evaluation-points", self._book.hub_id, facts=facts)

    def opened(self, result: ReleasedTable) -> None:
        """The table was opened; its counts and the nodes' shares are kept, to fit the model from."""
        attempt = result.terms.attempt
        counts = vector_bytes(result.counts)
        choice = self._book.get(self._campaign_id).order.statistics if result.terms.stage == "statistics" else None
        with self._book.db.session() as session:
            session.add(OpenedTableRow(attempt=attempt, campaign_id=self._campaign_id, counts=counts))
            session.flush()
            shares = [
                {"attempt": attempt, "party_id": party, "share": share, "receipt": result.receipts[party]}
                for party, share in result.shares.items()
            ]
            session.execute(insert(TableShareRow), shares)
            facts: dict[str, str | int | bool | None] = {
                "campaign_id": self._campaign_id,
                "attempt": attempt,
                "counts_sha256": digest(counts).hex(),
                "cells": len(result.counts),
                "shares": len(shares),
            }
            if choice is not None:  # S5: which feature is which, so that the report has one meaning
                facts["choice_sha256"] = digest(canonical_bytes(choice)).hex()
            what = _OPENED.get(result.terms.stage, "table-opened")
            self._book.log.append(session, what, self._book.hub_id, facts=facts)

    def round_opened(self, checkpoint: EncoderCheckpoint, opened: RoundShares | None) -> None:
        """Where the encoder run stands now, and what its last round was opened from."""
        values = {
            "campaign_id": self._campaign_id,
            "acceptances": checkpoint.acceptances,
            "step": checkpoint.state.step,
            "retries": checkpoint.retries,
            "parameters": vector_bytes(checkpoint.parameters),
            "velocity": vector_bytes(checkpoint.state.velocity),
            "tail_sum": vector_bytes(checkpoint.state.tail_sum),
        }
        with self._book.db.session() as session:
            session.merge(EncoderCheckpointRow(attempt=checkpoint.attempt, **values))
            if opened is not None:
                number = checkpoint.state.step - 1
                # A hub that was restored from an older copy opens a round anew, maybe by another try.
                known = (EncoderRoundRow.run == checkpoint.attempt, EncoderRoundRow.round == number)
                tries = select(EncoderRoundRow.attempt).where(*known)
                session.execute(delete(EncoderShareRow).where(EncoderShareRow.attempt.in_(tries)))
                session.execute(delete(EncoderRoundRow).where(*known))
                counted = EncoderRoundRow(
                    attempt=opened.attempt, run=checkpoint.attempt, round=number, parameters=opened.parameters
                )
                session.add(counted)
                session.flush()
                shares = [
                    {"attempt": opened.attempt, "party_id": party, "share": share, "receipt": opened.receipts[party]}
                    for party, share in opened.shares.items()
                ]
                session.execute(insert(EncoderShareRow), shares)
            facts: dict[str, str | int | bool | None] = {
                "campaign_id": self._campaign_id,
                "attempt": checkpoint.attempt,
                "round": checkpoint.state.step,
                "retries": checkpoint.retries,
                "parameters_sha256": digest(vector_bytes(checkpoint.parameters)).hex(),
            }
            self._book.log.append(session, "encoder-round", self._book.hub_id, facts=facts)

    def released(self, stage: Stage = "scorecard") -> ReleasedTable | None:
        """What a former process of the hub opened of a stage: the campaign's table, or an evaluation's histogram."""
        query = (
            select(OpenedTableRow, CampaignAttemptRow)
            .join(CampaignAttemptRow, CampaignAttemptRow.attempt == OpenedTableRow.attempt)
            .where(OpenedTableRow.campaign_id == self._campaign_id, CampaignAttemptRow.stage == stage)
        )
        with self._book.db.reading() as session:
            found = session.execute(query).first()
            if found is None:
                return None
            table, attempt = found
            rows: Sequence[TableShareRow] = session.scalars(
                select(TableShareRow).where(TableShareRow.attempt == table.attempt)
            ).all()
        by_party = {row.party_id: row for row in rows}
        terms = self._terms(attempt.terms)
        order = [entry.party_id for entry in terms.roster]
        return ReleasedTable(
            terms=terms,
            h=attempt.h,
            counts=np.frombuffer(table.counts, dtype="<f8").astype(np.float64),
            shares={party: by_party[party].share for party in order},
            receipts={party: by_party[party].receipt for party in order},
            decision=attempt.decision or "",
            attempts=int(table.attempt.rpartition("/")[2]),
            seconds={},
            lost={
                each.party_id: each.reason
                for each in self._book.refusals(self._campaign_id)
                if each.party_id not in order
            },
        )

    def _terms(self, token: str) -> Terms:
        return verify_any(token, self._hub_key.line, Terms, typ="terms", kid=self._book.hub_id)
