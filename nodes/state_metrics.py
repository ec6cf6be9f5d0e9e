"""A node's state as metrics, read from its store at each scrape: link, feed, budget, batches; the witness's log.

What of the budget is spent stands here, on the node's own page, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from models.ops.metrics import gauge, gauges
from nodes.charges import Charge
from nodes.services import Services
from nodes.tables.batches import BatchItemRow, BatchRow
from nodes.tables.feed import RefusedItemRow

ITEM_STATES = ("waiting", "asked")


class NodeState(Collector):
    """What is read of one node.

    Args:
        services: the node's.
        connected: whether its link is up.
    """

    def __init__(self, services: Services, connected: Callable[[], bool]) -> None:
        self._services = services
        self._connected = connected
        self._charged: tuple[tuple[Charge, ...], float] | None = None

    def collect(self) -> Iterator[Metric]:
        """Read all of it."""
        runtime = self._services.runtime
        age = runtime.feed_age(runtime.now()).total_seconds()
        yield gauge("digua_node_link_up", "1 while the hub has welcomed this node.", self._connected())
        yield gauge("digua_node_feed_age_seconds", "How long ago the feed was known to be complete.", age)
        limit = runtime.config.feed_limit_seconds
        yield gauge("digua_node_feed_limit_seconds", "Beyond this age nothing is answered.", limit)
        yield gauge("digua_node_feed_items", "Items of the feed taken in.", runtime.feed_seq)
        yield gauge("digua_node_roster_version", "Version of the roster; 0 for none.", runtime.roster.version)
        if runtime.config.kind != "client":
            yield gauge("digua_node_epsilon_spent", "ε spent, over all campaigns.", self._spent())
            yield gauge("digua_node_epsilon_budget", "ε that the owner allows.", runtime.ledger.epsilon)
        yield from self._queues()
        if self._services.witness is not None:
            progress = self._services.witness.mirror.progress()
            yield gauge(
                "digua_witness_mirrored_entries", "Entries of the log that the witness has copied.", progress.verified
            )
            yield gauge("digua_witness_cosigned_entries", "Entries that the witness has cosigned.", progress.cosigned)
            alarms = len(self._services.witness.mirror.alarms())
            yield gauge("digua_witness_mirror_alarms", "Contradictions found between log and copy.", alarms)

    def _spent(self) -> float:
        """Accounting takes a moment: anew only when something was charged or refunded."""
        ledger = self._services.runtime.ledger
        charges = ledger.charges()
        if self._charged is None or self._charged[0] != charges:
            self._charged = charges, ledger.spent().epsilon
        return self._charged[1]

    def _queues(self) -> Iterator[Metric]:
        with self._services.runtime.store.reading() as session:
            refused = session.scalar(select(func.count()).select_from(RefusedItemRow)) or 0
            rows = session.execute(
                select(BatchItemRow.state, func.count())
                .join(BatchRow, BatchRow.batch_id == BatchItemRow.batch_id)
                .where(BatchRow.finished_at.is_(None))
                .group_by(BatchItemRow.state)
            )
            found = {str(row[0]): int(row[1]) for row in rows}
        yield gauge("digua_node_feed_refused_items", "Items of the feed set aside.", refused)
        yield gauges(
            "digua_node_batch_items", "Merchants of unfinished batches, by state.", "state",
            ((each, found.get(each, 0)) for each in ITEM_STATES),
        )  # fmt: skip
