"""A whole federation with all that goes over links and HTTP recorded: frames, pages, requests, both ways."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from crypto.wire.link import ReleaseProposal
from models.artefact import ModelArtefact
from nodes.enquiries import Enquiry
from nodes.errors import ScoreUnavailable
from tests.views.recorder import HUB, text_form
from tests.walk_world import WalkLinks, WalkWorld

_MODEL = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Body:
    """Bytes that a party received, and over what: a frame's type, `feed`, or an HTTP request's method and path.

    Attributes:
        reply: whether they answer a frame or request of this party's.
    """

    by: str
    sender: str
    channel: str
    body: bytes
    reply: bool = False

    @property
    def name(self) -> str:
        """The channel, as a reply where it is one."""
        return f"reply to {self.channel}" if self.reply else self.channel

    def parts(self) -> dict[str, str]:
        """Name and form of each part: a signed document's as a whole, else those of a JSON object's members."""
        text = self.body.decode("utf-8", errors="replace")
        form = text_form(text)
        if form != "text":
            return {"token": form}
        if not text:
            return {}
        found = json.loads(text)
        if not isinstance(found, dict):
            return {"document": type(found).__name__}
        if "model_type" in found:
            return {"artefact": "ModelArtefact"}
        parts = {name: _form(value) for name, value in found.items() if value not in (None, [])}
        if self.channel == "feed":  # what an item is, and not only that there are items
            parts.pop("items", None)
            for item in found["items"]:
                member = next(name for name in ("consent", "token") if item.get(name))
                value = item[member]["consent"] if member == "consent" else item[member]
                parts[f"items.{item['kind']}"] = text_form(value)
        return parts


def _form(value: object) -> str:
    if isinstance(value, str):
        return text_form(value) if value.count(".") >= 2 else "text"
    if isinstance(value, list):
        forms = {_form(each) for each in value}
        return f"{forms.pop()}s" if len(forms) == 1 else "list"
    return type(value).__name__


@dataclass
class Bodies:
    """All that was received, in order."""

    seen: list[Body] = field(default_factory=list)

    def of(self, party: str) -> list[Body]:
        """What one party received."""
        return [each for each in self.seen if each.by == party]


class RecordedLinks(WalkLinks):
    """Links whose frames are noted at both ends."""

    def request(self, party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        world = self._world
        assert isinstance(world, RecordedWorld)
        world.bodies.seen.append(Body(party_id, HUB, frame_type, body))
        answer = super().request(party_id, frame_type, body, timeout)
        world.bodies.seen.append(Body(HUB, party_id, frame_type, answer, reply=True))
        return answer


class RecordedWorld(WalkWorld):
    """A WalkWorld whose links, feeds and HTTP requests are noted."""

    links = RecordedLinks

    def __init__(self, base: Path) -> None:
        self.bodies = Bodies()
        self.scores: list[int | None] = []
        self.model_id = ""
        super().__init__(base)

    def follow(self, party_id: str) -> None:
        page = self.hub.feed.page(party_id, self.nodes[party_id].runtime.feed_seq)
        self.bodies.seen.append(Body(party_id, HUB, "feed", page.body))
        super().follow(party_id)

    def _relay(self, party: str, request: httpx.Request) -> httpx.Response:
        channel = f"{request.method} {_MODEL.sub('ID', request.url.path)}"
        self.bodies.seen.append(Body(HUB, party, channel, request.content))
        answer = super()._relay(party, request)
        self.bodies.seen.append(Body(party, HUB, channel, answer.content, reply=True))
        return answer


def run_queries(base: Path) -> RecordedWorld:
    """Enrolment to a campaign's model, a query for a score, a revocation, and a query that it refuses."""
    world = RecordedWorld(base)
    world.enrol_merchants()
    records = world.consent_all()
    world.model_id = world.train()
    world.hub.restored_log.look()
    for node in world.nodes.values():
        if node.reconciliation is not None:
            node.reconciliation.reconcile()
    merchant, enquiries = world.merchants[5], world.nodes["platform"].enquiries
    world.scores.append(enquiries.score(Enquiry(merchant)).score)
    world.revoke(merchant, records[merchant])
    with pytest.raises(ScoreUnavailable):
        enquiries.score(Enquiry(merchant, records[merchant]))
    twin = release_twin(world)
    world.hub.rollbacks.roll_back("walk", 1, "for this test")
    world.hub.models.withdraw(twin, "for this test")
    return world


def release_twin(world: RecordedWorld) -> str:
    """A second version of the model, of the same table; its id."""
    proposal = next(body for body in world.bodies.of("witness") if body.channel == "release-model")
    offered = ReleaseProposal.model_validate_json(proposal.body)
    first = ModelArtefact.from_bytes(offered.artefact.encode())
    artefact = first.model_copy(update={"created": first.created + timedelta(seconds=1)})
    twin = world.hub.models.register(
        artefact.to_bytes(), campaign_id="walk", attempt=offered.attempt, shares=offered.shares
    )
    world.hub.models.release(twin, "release")
    return twin
