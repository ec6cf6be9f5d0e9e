"""The way to the hub: is it reached, over which certificate, does its time agree with ours, and does it know us?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version

from crypto.errors import CryptoError
from crypto.keys import IdentityKey
from crypto.succession import line_of
from crypto.wire.service import HubInfo
from models.errors import ModelsError
from models.findings import Finding, Findings, of_error
from models.said import said
from nodes.clock import Clock, system_clock
from nodes.config import NodeConfig
from nodes.errors import NodeError, PeerError
from nodes.hub_client import HubClient, HubProbe
from nodes.keys import load_keys, load_signing_keys
from nodes.own_files import STORE_FILE, open_store
from nodes.roster import RosterBook

CLOCK_WARNING_S = 5
CERTIFICATE_WARNING = timedelta(days=21)
_CODES = {"hub-tls-failed": "tls", "hub-proxy-failed": "proxy"}


def check_hub(config: NodeConfig, *, clock: Clock = system_clock, client: HubClient | None = None) -> Iterator[Finding]:
    """Reach the hub once and look at what came back.

    Args:
        config: the node's.
        clock: this machine's time.
        client: another client than one to `config.hub`, for tests.
    """
    party = config.party_id
    own = None
    try:
        own = client or HubClient(config.hub, party_id=party, identity=IdentityKey.generate(), clock=clock)
        probe = own.probe()
    except NodeError as problem:
        code = problem.peer_code if isinstance(problem, PeerError) else None
        yield Findings(_CODES.get(code or "", "hub"), party).fault(*of_error(problem))
        for name in ("clock", "enrolment"):
            yield Findings(name, party).skipped(said("not looked at: the hub was not reached"))
        return
    finally:
        if own is not None:
            own.close()
    yield Findings("hub", party).ok(
        said(
            "{hub} answers at {url} ({software}){way}",
            hub=probe.info.hub_id,
            url=config.hub.url,
            software=probe.info.software,
            way=said(" through {proxy}", proxy=config.hub.proxy) if config.hub.proxy else "",
        )
    )
    yield from _software(party, probe)
    yield from _certificate(config, probe)
    yield from _clock(config, probe)
    yield from _enrolment(config, probe)


def _software(party: str, probe: HubProbe) -> Iterator[Finding]:
    theirs, ours = probe.info.software.rpartition("/")[2], version("digua")
    if theirs != ours:
        yield Findings("versions", party).warning(
            said("the hub runs digua {theirs}, this node {ours}", theirs=theirs, ours=ours),
            said("ask the hub's operator which versions go together, and update the older side"),
        )


def _certificate(config: NodeConfig, probe: HubProbe) -> Iterator[Finding]:
    found = Findings("tls", config.party_id)
    ends = probe.certificate_ends
    if ends is None:
        yield found.ok(said("no TLS: the hub is on this machine"))
        return
    what = said("chain and name are right; the certificate ends on {day}", day=f"{ends:%Y-%m-%d}")
    if ends - probe.own_time < CERTIFICATE_WARNING:
        yield found.warning(what, said("have the hub's operator renew the certificate"), party=probe.info.hub_id)
    else:
        yield found.ok(what)


def _clock(config: NodeConfig, probe: HubProbe) -> Iterator[Finding]:
    found = Findings("clock", config.party_id)
    if probe.hub_time is None:
        yield found.skipped(said("the hub's answer has no Date"), said("compare this machine's time by hand"))
        return
    # The hub's time is cut to the second: half of one is added. Its answers stand under TLS, or on this machine.
    apart = (probe.own_time - (probe.hub_time + timedelta(seconds=0.5))).total_seconds()
    limit = config.feed_limit_seconds / 2
    what = said(
        "this machine's clock is {seconds} s {side} the hub's",
        seconds=f"{abs(apart):.0f}",
        side=said("ahead of") if apart > 0 else said("behind"),
    )
    remedy = said("set the clock by NTP (timedatectl set-ntp true); if this clock is right, tell the hub's operator")
    if abs(apart) > limit:
        yield found.fault(what, remedy)
    elif abs(apart) > CLOCK_WARNING_S:
        yield found.warning(what, remedy)
    else:
        yield found.ok(said("this machine's clock agrees with the hub's"))


def _enrolment(config: NodeConfig, probe: HubProbe) -> Iterator[Finding]:
    found = Findings("enrolment", config.party_id)
    trust, info = config.trust, probe.info
    if trust is None:
        yield found.skipped(
            said("this node is not enrolled yet"),
            said("run digua-node enrol with the token and the keys that hub and witness gave you"),
        )
        return
    telephone = said("do not override it: telephone the owner of the key; a changed key may be an attack")
    if trust.hub_id != info.hub_id or not _leads(trust.hub_sign_key, info.sign_key, info, trust.hub_id):
        yield found.fault(said("the hub shows another key than the pinned one"), telephone, party=trust.hub_id)
    witness = info.witness
    if witness is not None and not _leads(trust.witness_sign_key, witness.sign_key, info, trust.witness_id):
        yield found.fault(
            said("the hub shows another key of the witness than the pinned one"), telephone, party=trust.witness_id
        )
    yield from _approval(config, found)


def _leads(pinned: bytes, shown: bytes, info: HubInfo, party_id: str) -> bool:
    """Whether successions lead from the pinned key to the one that is shown."""
    try:
        return shown in line_of(pinned, info.successions, party_id).publics
    except CryptoError:
        return False


def _approval(config: NodeConfig, found: Findings) -> Iterator[Finding]:
    if not (config.data_dir / STORE_FILE).exists():
        yield found.skipped(said("the node has not run yet, so it holds no roster"), said("start it, and check again"))
        return
    try:
        keys = load_keys(config.keys_dir, kind=config.kind)
        store = open_store(config)
        try:
            roster = RosterBook(store, config.require_trust())
            party = roster.party(config.party_id)
        finally:
            store.close()
    except (NodeError, CryptoError, ModelsError) as problem:
        yield found.warning(*of_error(problem))
        return
    held = {key.public for key in load_signing_keys(config.keys_dir)}
    if party.sign_key not in held or (party.box_key, party.kind) != (keys.box.public, config.kind):
        yield found.fault(
            said("the witness's roster has other keys or another kind for this node"),
            said("run digua-node rotate again where it was interrupted, or restore keys_dir from its backup"),
        )
    else:
        yield found.ok(said("enrolled, and on the roster that the witness signed (version {v})", v=roster.version))
