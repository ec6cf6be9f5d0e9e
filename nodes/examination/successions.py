"""Which keys of hub and witness the node follows, and what it refused to follow (docs/protocol.md, 0)."""

from __future__ import annotations

from collections.abc import Iterator

from crypto.keys import fingerprint
from models.findings import Finding, Findings
from models.said import said
from nodes.config import NodeConfig
from nodes.roster import RosterBook


def examine_successions(roster: RosterBook, config: NodeConfig) -> Iterator[Finding]:
    """Refused successions are faults: somebody else may have a key, or a key was lost."""
    found = Findings("keys", config.party_id)
    refused = roster.successions.refused()
    for each in refused:
        yield found.fault(
            said(
                "somebody announced the key {key} for {party}, which no key that this node follows is followed by",
                key=fingerprint(each.new_key),
                party=each.party_id,
            ),
            said(
                "telephone its operator: if that is its new key, pin it with digua-node trust-hub; "
                "otherwise the old one is disclosed"
            ),
            party=each.party_id,
        )
    if not refused:
        yield found.ok(
            said(
                "the keys of hub and witness are the pinned ones and those that follow them ({number} followed)",
                number=len(roster.successions.tokens),
            )
        )
