"""Errors of the node: one tree, each with a stable code, the field at fault and the remedy."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from models.said import Said


class NodeError(Exception):
    """Base of everything a node refuses.

    Attributes:
        code: stable, machine-readable, e.g. ``"source-invalid"``.
        field: the input at fault, or ``None``.
        remedy: what the caller can do about it, or ``None``.
    """

    code: ClassVar[str] = "node-error"

    def __init__(self, message: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy


class SourceError(NodeError):
    """A data source does not fit the schema; the message names rows and columns, identifiers are masked.

    Attributes:
        lines: the message, for a console to say in a language.
        said_remedy: the remedy likewise.
    """

    code = "source-invalid"

    def __init__(self, *lines: Said, field: str | None = None, remedy: Said | None = None) -> None:
        super().__init__("\n".join(map(str, lines)), field=field, remedy=str(remedy) if remedy else None)
        self.lines = lines
        self.said_remedy = remedy


class ConfigError(NodeError):
    """A node's configuration, key file or stored state cannot be used."""

    code = "config-invalid"


class PolicyRefusal(NodeError):  # noqa: N818
    """The node's own policy forbids an answer; `reason` is a fixed code and says nothing about data."""

    code = "policy-refusal"

    def __init__(self, reason: str, message: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.reason = reason


class LedgerError(NodeError):
    """The ledger refuses: a send or refund contradicts what is on disk."""

    code = "ledger-refusal"


class BudgetExceeded(LedgerError):  # noqa: N818
    """A campaign would spend more than the owner's budget.

    Attributes:
        spent: ε spent so far, at the budget's δ.
        asked: ε of the campaign alone.
        total: ε of both composed.
        epsilon, delta: the owner's budget.
    """

    code = "budget-exceeded"

    def __init__(self, *, spent: float, asked: float, total: float, epsilon: float, delta: float) -> None:
        super().__init__(
            f"epsilon {spent:.4g} is spent and {asked:.4g} is asked, together {total:.4g}: "
            f"more than the budget {epsilon:g} (delta {delta:g})",
            field="budget.epsilon",
            remedy="ask for a campaign with a smaller epsilon, or let the node's owner raise budget.epsilon",
        )
        self.spent = spent
        self.asked = asked
        self.total = total
        self.epsilon = epsilon
        self.delta = delta


class YearlyBudgetExceeded(LedgerError):  # noqa: N818
    """Programme statistics would cost more within 365 days than their yearly budget.

    Attributes:
        owner: whose budget.
        spent: ε of statistics in the last 365 days.
        asked: ε of the statistics asked for alone.
        epsilon: the yearly budget.
        free_from: when the same would be within it; None if never.
    """

    code = "yearly-budget-exceeded"

    def __init__(self, *, owner: str, spent: float, asked: float, epsilon: float, free_from: datetime | None) -> None:
        when = "never, as it alone is more" if free_from is None else f"from {free_from:%Y-%m-%dT%H:%M:%SZ} on"
        super().__init__(
            f"{owner}: statistics cost epsilon {spent:.4g} in the last 365 days and {asked:.4g} is asked: more than "
            f"the yearly budget {epsilon:g}; the same is possible {when}",
            field="budget.statistics_epsilon_per_year",
            remedy="publish what was released before, ask for fewer cells or a smaller epsilon, or wait until then",
        )
        self.owner = owner
        self.spent = spent
        self.asked = asked
        self.epsilon = epsilon
        self.free_from = free_from


class StoreUnavailable(NodeError):  # noqa: N818
    """The node's store cannot be used now: its disk is full or fails, or it stays locked. Nothing was committed."""

    code = "store-unavailable"


class LinkError(NodeError):
    """The link to the hub failed, or the hub broke its protocol."""

    code = "link-failed"


class SuperLinkError(NodeError):
    """Flower's SuperLink cannot be reached, or does not let this node in."""

    code = "superlink-failed"


class PeerError(NodeError):
    """A remote party refused or could not be used; `party` names it, `peer_code` is its own code."""

    code = "peer-refused"

    def __init__(
        self,
        party: str,
        message: str,
        *,
        peer_code: str | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.party = party
        self.peer_code = peer_code


class BackupError(NodeError):
    """A backup cannot be written, or the file is none, is damaged, or is of another node."""

    code = "backup-invalid"


class JournalError(NodeError):
    """The node's own journal, or an export of it, does not hold together."""

    code = "journal-broken"


class MirrorError(NodeError):
    """The witness's mirror of the hub's log cannot go on; nothing that does not fit was kept."""

    code = "mirror-failed"


class LogMismatch(MirrorError):  # noqa: N818
    """What the hub gives out as its log is not what it had cosigned: altered, left out, moved, or of another log."""

    code = "log-mismatch"


class LogIncomplete(MirrorError):  # noqa: N818
    """The hub has no entries where the cosigned checkpoint says that there are some."""

    code = "log-incomplete"


class MirrorBroken(MirrorError):  # noqa: N818
    """The mirror's own file does not hold together, or belongs to another log."""

    code = "mirror-broken"


class ScoreUnavailable(NodeError):  # noqa: N818
    """There is no score, as a source refused or failed; no score is ever made from fewer sources.

    Attributes:
        refusals: party id → code of its refusal.
    """

    code = "score-unavailable"

    def __init__(
        self, refusals: dict[str, str], message: str, *, field: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.refusals = refusals


class BatchError(NodeError):
    """A batch of queries cannot be made, is not there, or is being worked on."""

    code = "batch-invalid"


class BatchUnknown(BatchError):  # noqa: N818
    """There is no batch of this id."""

    code = "batch-unknown"


class BatchBusy(BatchError):  # noqa: N818
    """The batch is being worked on."""

    code = "batch-running"


class GatewayError(NodeError):
    """A request to the local gateway is malformed, or without its token."""

    code = "gateway-refused"
