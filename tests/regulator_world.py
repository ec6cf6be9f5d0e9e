"""A witness with its pages: a log that it cosigned and mirrored, a model that was really trained, people who look."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi import FastAPI

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.errors import ProofError
from crypto.jws import generate_merchant_key, peek_payload, sign_merchant
from crypto.key_line import KeyLine
from crypto.keys import BoxKey, IdentityKey
from crypto.log_index import commit
from crypto.merkle import consistency_proof, leaf_hash
from crypto.merkle import root as tree_root
from crypto.wire.audit import CheckpointOffer, LogEntry
from crypto.wire.link import ReleaseProposal
from crypto.wire.party import Party
from crypto.wire.service import MerchantRecords, OpenedEntry, RecordedConsent, RecordedEvent
from hub.scorecard_model import make_scorecard
from models.web.app import install_pages
from models.web.pages import Pages
from models.web.rights import Role
from models.web.signin import Browser
from nodes.errors import PolicyRefusal
from nodes.gateway import add_problems
from nodes.journal import Decided, Decision, Journal
from nodes.ledger import Ledger
from nodes.store import Store
from nodes.web.regulator import UPLOADS, install_desk
from nodes.web.regulator_desk import RegulatorDesk
from nodes.witness.approvals import Approvals
from nodes.witness.checkpoints import CheckpointCosigner, CosignedCheckpoints
from nodes.witness.evidence import Evidence
from nodes.witness.inspector import Inspector
from nodes.witness.mirror import Mirror, open_mirror
from nodes.witness.mirror_search import MirrorSearch
from nodes.witness.model_approvals import ModelApprovals
from nodes.witness.overview import Overviews, Spending
from nodes.witness.release import ReleaseDesk
from tests.access_world import AccessWorld
from tests.assessments import assessed
from tests.federation import make_world, run_scorecard

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ORIGIN = "hub.example.org/log"
PSEUDONYM = bytes(range(32))
RECORD_ID = "ab" * 16


class RegulatorWorld:
    """The witness's office. `now` is its clock; the people's clock is `access.now`."""

    def __init__(self, base: Path, *, origin: str = "http://localhost", by_hand: bool = True) -> None:
        self.now = NOW
        self.base = base
        self.trained = make_world(base / "world", merchants=3000, noise_off=False, absent=0.1)
        released = run_scorecard(self.trained, self.trained.noisy_plan(epsilon=8.0))
        context = self.trained.federation.witness_context
        self.hub, self.roster = self.trained.federation.identity, context.roster
        self.witness = context.identity
        self.store: Store = context.ledger._store
        self.journal = Journal(self.store, "witness", clock=self.clock)
        self.approvals = Approvals(self.store, clock=self.clock)
        self.models = ModelApprovals(self.store, self.journal, clock=self.clock)
        self.desk_of_release = ReleaseDesk(self.store, context, self.journal, approvals=self.models)
        _, self.artefact = make_scorecard(released, NOW)
        self.proposal = ReleaseProposal(
            artefact=self.artefact.to_bytes().decode(),
            attempt=released.terms.attempt,
            scope="release",
            shares=dict(released.shares),
            assessment=assessed(released.terms.campaign_id),
        )
        self.leaves: list[bytes] = []
        self.opened: list[OpenedEntry] = []
        self.cosigner = CheckpointCosigner(
            self.store,
            hub_keys=lambda: KeyLine.of(self.hub.public),
            witness_id="witness",
            identity=self.witness,
            clock=self.clock,
        )
        self.mirror = Mirror(open_mirror(base), cosigned=self.cosigner.known, log=self, clock=self.clock)
        self.access = AccessWorld(base, origin=origin, roles=(Role.OWNER, Role.REGULATOR, Role.INSPECTOR))
        self._fill(released.terms.campaign_id)
        self.desk = self._desk(context.ledger, by_hand=by_hand)

    def clock(self) -> datetime:
        return self.now

    def app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        add_problems(app, "witness")
        pages = Pages("nodes.web", title="witness")
        install_pages(app, self.access.access, pages, uploads=UPLOADS)
        install_desk(app, pages, self.desk)
        return app

    def enter(self, name: str, *roles: Role) -> str:
        """Add a person and sign in; returns the session's id for the cookie."""
        secret, _ = self.access.join(name, *roles)
        return self.access.enter(name, secret, browser=Browser("127.0.0.1")).session_id

    def propose_model(self) -> str:
        """Propose the trained model; it waits for the owner's word. Returns its id."""
        with suppress(PolicyRefusal):
            self.desk_of_release.release(canonical_bytes(self.proposal))
        assert self.artefact.model_id in {each.model_id for each in self.models.list()}
        return self.artefact.model_id

    def propose_party(self, party_id: str = "bank-99") -> Party:
        party = Party(
            party_id=party_id,
            kind="bank",
            region="Yunhe",
            title="云和农商银行",
            sign_key=IdentityKey.generate().public,
            box_key=BoxKey.generate().public,
        )
        self.approvals.unapproved([party])
        return party

    def fork(self) -> None:
        """The hub offers a checkpoint of another history."""
        size = len(self.leaves) + 3
        hashes = [leaf_hash(b"other" + bytes([number % 256])) for number in range(size)]
        try:
            self._offer(len(self.leaves), size, hashes)
        except ProofError:
            return
        raise AssertionError("a fork was cosigned")

    def record(self) -> bytes:
        """The merchant's download."""
        consent = RecordedConsent(
            record_id=RECORD_ID,
            state="revoked",
            consent=self.tokens[0],
            events=(RecordedEvent(event="revoked", token=self.tokens[1], log_index=None),),
            log_index=None,
        )
        records = MerchantRecords(
            pii_principal_id=PSEUDONYM,
            time=NOW,
            consents=(consent,),
            queries=(),
            entries=tuple(self.opened),
            keys=(),
        )
        content = json.loads(records.model_dump_json())
        return json.dumps({"format": "digua-own-record-1", "records": content, "signed_content": []}).encode()

    def journal_of(self, party: str, *, lacking: bool = False) -> bytes:
        """A node's journal export with the queries that the log names it in; `lacking` leaves the first out."""
        store = Store.open(self.base / f"journal-{party}-{lacking}" / "node.db")
        journal = Journal(store, party, clock=lambda: NOW + timedelta(days=1))
        entries = [LogEntry.model_validate_json(leaf) for leaf in self.leaves]
        queries = [each for each in entries if each.type == "query" and party in str(each.facts["sources"])]
        for entry in queries[1:] if lacking else queries:
            with store.session() as session:
                request_hash = bytes.fromhex(str(entry.facts["request_hash"]))
                journal.queries(session, [Decided(request_hash, {}, [Decision(0, "answered")])], entry.time)
        journal.note("model-release", {"model_id": "m"})
        text = "".join(line.to_json() + "\n" for line in journal.lines())
        store.close()
        return text.encode()

    def close(self) -> None:
        self.mirror.store.close()
        self.access.close()
        self.trained.federation.grid.close()

    # The log: `nodes.witness.mirror.LogSource`

    def entries(self, start: int, limit: int) -> tuple[str, ...]:
        return tuple(leaf.decode() for leaf in self.leaves[start : start + limit])

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        return tuple(consistency_proof(old, [leaf_hash(leaf) for leaf in self.leaves[:new]]))

    def log(self, type: str, actor: str = "hub", *, at: timedelta = timedelta(), **facts: object) -> None:
        entry = LogEntry.model_validate({"type": type, "time": NOW + at, "actor": actor, "facts": facts})
        self.leaves.append(canonical_bytes(entry))

    def about(self, kind: str, *, actor: str, at: timedelta, token: str | None = None, **facts: object) -> None:
        """An entry about the merchant."""
        salt = hashlib.sha256(str(len(self.opened)).encode()).digest()[:16]
        hidden = {"consent": commit(salt, RECORD_ID.encode()).hex()}
        if token is not None:
            hidden["artefact"] = commit(salt, hashlib.sha256(peek_payload(token)).digest()).hex()
        entry = LogEntry.model_validate(
            {
                "type": kind,
                "time": NOW + at,
                "actor": actor,
                "subject": commit(salt, PSEUDONYM),
                "facts": {**facts, **hidden},
            }
        )
        leaf = canonical_bytes(entry)
        self.opened.append(OpenedEntry(log_index=len(self.leaves), entry=leaf.decode(), salt=salt))
        self.leaves.append(leaf)

    def cosign(self, old: int) -> None:
        """Have the witness cosign the log as it is now, and mirror it."""
        self._offer(old, len(self.leaves), [leaf_hash(leaf) for leaf in self.leaves])
        self.mirror.catch_up()

    def _offer(self, old: int, size: int, hashes: list[bytes]) -> None:
        body = Checkpoint(ORIGIN, size, tree_root(hashes[:size])).body()
        note = assemble(body, [sign_note(body, ORIGIN, self.hub)])
        proof = tuple(consistency_proof(old, hashes[:size]))
        self.cosigner.cosign(canonical_bytes(CheckpointOffer(old_size=old, proof=proof, note=note)))

    def _fill(self, campaign: str) -> None:
        jwk = generate_merchant_key()
        self.tokens = [
            sign_merchant(json.dumps({"what": what}).encode(), jwk, typ=typ, kid=PSEUDONYM.hex())
            for what, typ in (("consent", "consent"), ("revoked", "consent-event"))
        ]
        days = timedelta(days=1)
        self.log("hub-initialised", at=-9 * days, origin=ORIGIN)
        for number, party in enumerate(("bank-01", "bank-02", "tax-01", "utility-01")):
            self.log("enrolment", party, at=-9 * days + timedelta(hours=number), party_id=party, kind=party[:-3])
        self.about("consent", actor="hub", at=-8 * days, token=self.tokens[0])
        facts = {"name": "lishui", "stages": "scorecard", "epsilon": "3", "delta": "1e-05"}
        self.log("campaign-started", at=-7 * days, campaign_id=campaign, **facts)
        self.log("table-opened", at=-7 * days, campaign_id=campaign, attempt=f"{campaign}/scorecard/1", cells=60)
        self.log("campaign-ended", at=-7 * days, campaign_id=campaign, status="succeeded", code=None, party=None)
        self.log("model-registered", at=-6 * days, model_id=self.artefact.model_id, campaign_id=campaign)
        first = len(self.leaves)
        self.cosign(0)
        self.now += timedelta(seconds=40)
        for number in range(40):
            request = hashlib.sha256(bytes([number])).hexdigest()
            facts = {"request_hash": request, "item": 0, "model_id": self.artefact.model_id}
            sources = "tax-01,utility-01" if number % 3 else "bank-02,tax-01"
            at = -5 * days + timedelta(hours=3 * number)
            self.log("query", "bank-01", at=at, **facts, sources=sources, purpose="credit-scoring")
            self.log("query-result", at=at, request_hash=request, answers=2, failures=int(number % 11 == 0))
        self.about(
            "query",
            actor="bank-01",
            at=-days,
            request_hash="ee" * 32,
            item=0,
            model_id=self.artefact.model_id,
            sources="bank-02,utility-01",
            purpose="credit-scoring",
        )
        self.about("consent-event", actor="hub", at=-days / 2, token=self.tokens[1], event="revoked")
        self.cosign(first)

    def _desk(self, ledger: Ledger, *, by_hand: bool) -> RegulatorDesk:
        checkpoints = CosignedCheckpoints(self.store)
        search = MirrorSearch(self.mirror.store)
        evidence = Evidence(self.mirror, checkpoints)
        return RegulatorDesk(
            party_id="witness",
            by_hand=by_hand,
            mirror=self.mirror,
            search=search,
            checkpoints=checkpoints,
            evidence=evidence,
            inspector=Inspector(
                evidence, search, self.roster, witness_id="witness", identity=self.witness, clock=self.clock
            ),
            overviews=Overviews(self.mirror, checkpoints, Spending(self.store, ledger), self.roster, clock=self.clock),
            approvals=self.approvals,
            models=self.models,
            roster=self.roster,
            identity=self.witness,
        )
