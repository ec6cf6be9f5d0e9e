"""Making inspection files from the witness's mirror."""

from __future__ import annotations

from datetime import UTC, datetime

from crypto.keys import Signer
from nodes.clock import Clock, system_clock
from nodes.roster import RosterBook
from nodes.witness.evidence import Evidence, EvidenceMissing
from nodes.witness.inspection import FORMAT, InspectedEntry, InspectedSearch, Inspection, sign_inspection
from nodes.witness.mirror_search import MirrorSearch, Wanted

MAX_ENTRIES = 2000
"""In one file; it says how many were found in all, and a narrower search gives the rest."""


class Inspector:
    """Signs what it finds in the mirror with the witness's identity key."""

    def __init__(
        self,
        evidence: Evidence,
        search: MirrorSearch,
        roster: RosterBook,
        *,
        witness_id: str,
        identity: Signer,
        clock: Clock = system_clock,
    ) -> None:
        self._evidence = evidence
        self._search = search
        self._roster = roster
        self._witness_id = witness_id
        self._identity = identity
        self._clock = clock

    def file(self, wanted: Wanted, *, inspector: str, limit: int = MAX_ENTRIES) -> bytes:
        """The signed file of all entries that fit, newest first, at most `limit` of them.

        Raises:
            EvidenceMissing: no checkpoint is covered yet, or there is no roster.
        """
        token = self._roster.token
        if token is None:
            raise EvidenceMissing(
                "the witness has signed no roster yet",
                field="roster",
                remedy="approve the parties, then let the hub propose its roster",
            )
        checkpoint = self._evidence.covering()
        found = self._search.search(wanted, limit=limit, below=checkpoint.size)
        proved = [self._evidence.entry(each.index, under=checkpoint) for each in found.entries]
        content = Inspection(
            format=FORMAT,
            witness=self._witness_id,
            inspector=inspector,
            made_at=self._clock(),
            search=searched(wanted),
            found=max(found.total, len(proved)),
            checkpoint=checkpoint.note,
            roster=token,
            entries=tuple(
                InspectedEntry(index=each.proof.index, entry=each.proof.entry, hashes=each.proof.hashes)
                for each in proved
            ),
            successions=self._roster.successions.tokens,
        )
        return sign_inspection(content, self._identity)


def searched(wanted: Wanted) -> InspectedSearch:
    """A search as an inspection file states it."""
    return InspectedSearch(
        party=wanted.party,
        campaign=wanted.campaign,
        model=wanted.model,
        type=wanted.type,
        since=None if wanted.since is None else datetime.fromtimestamp(wanted.since, UTC),
        until=None if wanted.until is None else datetime.fromtimestamp(wanted.until, UTC),
    )
