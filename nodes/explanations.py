"""What this node tells a merchant about its own part of a score, from its own table (docs/merchants.md, Explanations).

E1  The merchant asks: by a ticket that it signed, or in person at this party's counter, where its owner's staff see to
    who it is. Nobody else's asking makes one.
E2  Bins and points are taken from this node's rows alone; nothing is asked of any other party.
E3  The words go to the merchant alone: sealed to the key that its ticket brought, or over the counter.

Each one is in the journal, without the merchant.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from crypto.identifiers import normalise
from crypto.wire.ticket import TEXT_CHARACTERS, TicketKind
from models.adverse import last_usable
from models.codes import ABSENT
from models.explanation import Explanation, explain, lines_of
from models.schema import Schema
from nodes.encoder_models import ReleasedEncoder
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.model_book import BookedModel
from nodes.settled_tables import SettledTables
from nodes.sources.table import NodeTable
from nodes.tickets import ReceivedTicket

EXPLAINED: tuple[TicketKind, ...] = ("explanation", "review")
"""Tickets that may be answered by an explanation."""


class ExplanationDesk:
    """Explains one merchant's score as far as this node knows it."""

    def __init__(
        self,
        kind: str,
        table: Callable[[str], NodeTable | None],
        encoder: Callable[[str], ReleasedEncoder],
        model: Callable[[str | None], BookedModel],
        journal: Journal,
    ) -> None:
        """Args:
        kind: the node's.
        table: schema hash (hex) → the node's table, or None.
        encoder: model id → the released encoder.
        model: model id, or None for the newest → the released model.
        journal: the node's.
        """
        self._kind = kind
        self._tables = SettledTables(table, kind)
        self._encoder = encoder
        self._model = model
        self._journal = journal

    def explain(
        self, identifier: str, *, author: str, model_id: str | None = None, score: int | None = None
    ) -> Explanation:
        """This node's part of a model's view of a merchant.

        Args:
            identifier: the merchant's.
            author: a person's id, or `command line`.
            model_id: the newest released scorecard if None.
            score: the merchant's, where it is known here: at a requester, or as the merchant brings it.

        Raises:
            IdentifierError: the identifier is malformed.
            PolicyRefusal: no such model is released, or it has nothing of this node's kind or table.
            SourceError: the table cannot be read.
            DataError: there is no such score.
        """
        model = self._model(model_id)
        if model.artefact.scorecard is None or self._kind not in model.kinds:
            raise _nothing_here("the model is no scorecard with data of this kind of source", "name another model")
        schema = model.schema
        wanted = normalise(schema.id.type, identifier)
        table = self._tables.under(model.artefact.schema_sha256, model.artefact.schema_of)
        if table is None:
            raise _nothing_here(
                "this node has no table under the model's schema",
                "add the schema and its table to datasets in the node's configuration",
            )
        row = table.ids.index(wanted) if wanted in table.ids else None
        width = len(schema.features(self._kind))
        codes = np.full(width, ABSENT, dtype=np.uint8) if row is None else table.codes[row]
        encoder_id = model.artefact.encoders_used.get(self._kind)
        found = explain(
            schema,
            model.card,
            {self._kind: codes},
            encoders={} if encoder_id is None else {self._kind: self._encoder(encoder_id).codes},
            score=score,
            lapses={} if row is None else _lapses(schema, self._kind, table, row),
        )
        self._journal.note("explanation-made", {"model_id": model.model_id, "author": author})
        return found

    def draft(
        self,
        received: ReceivedTicket,
        *,
        author: str,
        lang: str,
        model_id: str | None = None,
        score: int | None = None,
    ) -> str:
        """The words of an answer to a ticket, for whoever answers it to read first.

        Args:
            received: a verified ticket.
            lang: ``"zh"`` or ``"en"``.
            author, model_id, score: as of `explain`.

        Raises:
            PolicyRefusal: the ticket asks for something else, or is of a merchant that this node does not know; and as
                of `explain`.
            IdentifierError, SourceError, DataError: as of `explain`.
        """
        if received.ticket.kind not in EXPLAINED:
            raise PolicyRefusal(
                "ticket-not-for-this",
                "the merchant did not ask for an explanation or a review",
                field="ticket_id",
                remedy="answer what it asks for, in words of your own",
            )
        if received.merchant is None:
            raise PolicyRefusal(
                "merchant-not-customer",
                "this node does not know the merchant of the ticket",
                field="ticket_id",
                remedy="answer that there is no record here",
            )
        found = self.explain(received.merchant, author=author, model_id=model_id, score=score)
        return "\n".join(lines_of(found, lang, longest=TEXT_CHARACTERS))


def _lapses(schema: Schema, kind: str, table: NodeTable, row: int) -> dict[str, date | None]:
    """Adverse facts in a row → the first day on which each is no longer used."""
    found: dict[str, date | None] = {}
    for column, feature in enumerate(schema.features(kind)):
        if feature.name not in table.ends or table.codes[row, column] == feature.spec.missing_bin:
            continue
        end: date | None = table.ends[feature.name][row]
        found[feature.name] = None if end is None else last_usable(end) + timedelta(days=1)
    return found


def _nothing_here(what: str, remedy: str) -> PolicyRefusal:
    return PolicyRefusal("source-failed", what, field="model_id", remedy=remedy)
