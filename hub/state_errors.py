"""Refusals that come from the hub's own state: its database, backups, what a restored hub may not do yet, replicas."""

from __future__ import annotations

from hub.errors import HubError, PeerError, PeerUnreachable


class BackupError(HubError):
    """A backup cannot be written, or the file is none, is damaged, or is of another hub."""

    code = "backup-invalid"
    status = 422
    title = "The backup cannot be used"


class RestoredError(HubError):
    """The hub's database is older than what the witness cosigned; this waits until both agree again."""

    code = "hub-restored"
    status = 503
    title = "The hub was restored from a backup and is not reconciled yet"


class ReplicaEndedError(HubError):
    """This replica of the hub missed its lease and was ended: it writes nothing more."""

    code = "replica-ended"
    status = 503
    title = "This replica of the hub is shutting down"
    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__(
            "This replica was not heard of for longer than its lease, and another one took over.",
            field="replicas.lease_s",
            remedy="Send the same request again: another replica answers it. This one starts anew.",
        )


class PeerMoving(PeerUnreachable):
    """The replica that held the party's link is gone; the party is on its way to another."""

    code = "peer-moving"
    title = "Another party is changing to another replica of the hub"
    retry_after_s = 2

    def __init__(self, party: str) -> None:
        PeerError.__init__(
            self,
            f"The replica of the hub that held the link of {party} is gone; whether the request arrived is not known.",
            party=party,
            remedy="Send the same request again in a few seconds: the party connects to another replica by itself.",
        )


class DatabaseUnavailableError(HubError):
    """The database is away, its disk is full, or it gave the transaction up: at the next try it may go."""

    code = "database-unavailable"
    status = 503
    title = "The hub's database cannot be used now"
