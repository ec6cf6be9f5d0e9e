"""What the regulator's pages ask: the witness's own services, put together once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from crypto.checkpoint import NoteSignature, parse_note
from crypto.key_line import KeyLine
from crypto.keys import Signer as KeySigner
from models.web.pages import Alarm, Pages
from models.web.problems import problem_of
from nodes.errors import ConfigError
from nodes.roster import RosterBook
from nodes.services import Services
from nodes.witness.approvals import Approvals
from nodes.witness.checkpoints import CosignedCheckpoints
from nodes.witness.evidence import Evidence
from nodes.witness.inspector import Inspector
from nodes.witness.mirror import Mirror
from nodes.witness.mirror_search import MirrorSearch
from nodes.witness.model_approvals import ModelApprovals
from nodes.witness.overview import Overviews, Spending

_MIRROR_ALARM = {
    "log-mismatch": "The hub's log is not the one that this witness cosigned.",
    "log-incomplete": "The hub's log lacks entries that this witness cosigned.",
    "mirror-broken": "This witness's own copy of the log is damaged.",
}
_MIRROR_REMEDY = {
    "log-mismatch": "Keep the cosigned checkpoint, and call the hub's operator to account.",
    "log-incomplete": "Ask the hub's operator whether its database was set back.",
    "mirror-broken": "Remove mirror.db in the witness's data folder and start it again: the copy is made anew.",
}


@dataclass(frozen=True)
class Signer:
    """Who signs checkpoints: the name in the note and the Ed25519 key."""

    name: str
    key: bytes
    title: str


@dataclass(frozen=True)
class RegulatorDesk:
    """The witness's services for its pages. `by_hand`: releases wait for the owner's word."""

    party_id: str
    by_hand: bool
    mirror: Mirror
    search: MirrorSearch
    checkpoints: CosignedCheckpoints
    evidence: Evidence
    inspector: Inspector
    overviews: Overviews
    approvals: Approvals
    models: ModelApprovals
    roster: RosterBook
    identity: KeySigner

    @classmethod
    def of(cls, services: Services) -> RegulatorDesk:
        """The desk of a witness; ConfigError at any other node."""
        runtime, witness = services.runtime, services.witness
        if witness is None:
            raise ConfigError(
                f"{runtime.config.party_id} is no witness",
                field="kind",
                remedy="the regulator's pages are served by the witness's own agent",
            )
        search = MirrorSearch(witness.mirror.store)
        evidence = Evidence(witness.mirror, witness.checkpoints)
        spending = Spending(runtime.store, runtime.ledger)
        return cls(
            party_id=runtime.config.party_id,
            by_hand=runtime.config.model_release.approval == "owner",
            mirror=witness.mirror,
            search=search,
            checkpoints=witness.checkpoints,
            evidence=evidence,
            inspector=Inspector(
                evidence,
                search,
                runtime.roster,
                witness_id=runtime.config.party_id,
                identity=runtime.identity,
                clock=runtime.clock,
            ),
            overviews=Overviews(witness.mirror, witness.checkpoints, spending, runtime.roster, clock=runtime.clock),
            approvals=witness.approvals,
            models=ModelApprovals(runtime.store, services.journal, clock=runtime.clock),
            roster=runtime.roster,
            identity=runtime.identity,
        )

    @property
    def witness_key(self) -> bytes:
        """The key that this witness signs with now, 32 bytes."""
        return self.identity.public

    def signers(self, note: str) -> tuple[Signer, Signer]:
        """Whose signatures a checkpoint carries: the hub's under the log's name, and this witness's, with the keys that
        they had then."""
        checkpoint, lines = parse_note(note)
        return (
            Signer(checkpoint.origin, _signer(lines, self.roster.hub_keys), "Hub"),
            Signer(self.party_id, _signer(lines, self.roster.witness_keys), "Witness"),
        )

    def alarms(self) -> list[Alarm]:
        """What every page says until it is mended."""
        found = [
            Alarm(
                _MIRROR_ALARM.get(each.code, "The copy of the log cannot go on."),
                _MIRROR_REMEDY.get(each.code),
                "/regulator",
            )
            for each in self.mirror.alarms()
        ]
        if any(each.open for each in self.checkpoints.refused(limit=1)):
            text = "This witness refused a checkpoint that the hub offered: its log does not extend what was cosigned."
            found.append(Alarm(text, "Keep the evidence, and demand an explanation.", "/regulator/checkpoints#refused"))
        return found


def _signer(lines: Sequence[NoteSignature], keys: KeyLine) -> bytes:
    """The key of a line that signed a note; the newest where none did."""
    return next((key for key in keys.publics if any(line.kind(key) is not None for line in lines)), keys.newest)


def desk_of(request: Request) -> RegulatorDesk:
    """The desk of the application that serves a request."""
    desk: RegulatorDesk = request.app.state.regulator
    return desk


DeskOf = Annotated[RegulatorDesk, Depends(desk_of)]


def refused(pages: Pages, request: Request, error: Exception, status_code: int) -> Response:
    """A refusal as a page of its own."""
    return pages.render(request, "web/problem.html.j2", status_code, of=problem_of(pages, request, error))
