"""`ledger show`: what left this node, and what it cost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from nodes.charges import Charge
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import JsonOption, print_facts, print_json, print_table, reported, say
from nodes.ledger import Ledger
from nodes.own_files import open_store

app = typer.Typer(help="The node's privacy ledger. 隐私账本。", no_args_is_help=True)


@app.callback()
def _ledger() -> None:
    """The node's privacy ledger. 隐私账本。"""


@app.command()
@reported
def show(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Show what was charged, and what is left of the budget. 显示已用与剩余的隐私预算。"""
    loaded = load_node_config(config)
    store = open_store(loaded)
    try:
        ledger = Ledger(store, loaded.budget.epsilon, loaded.budget.delta)
        spent, charges = ledger.spent(), ledger.charges()
    finally:
        store.close()
    summary: dict[str, Any] = {
        "party_id": loaded.party_id,
        "epsilon_spent": spent.epsilon,
        "epsilon_budget": loaded.budget.epsilon,
        "delta": spent.delta,
        "campaigns": list(spent.campaigns),
    }
    if as_json:
        print_json({**summary, "sends": [_send(charge) for charge in charges]})
        return
    rows = [
        (each["attempt"], each["sent_at"], each["sha256"][:12], say("refunded") if each["refunded"] else say("charged"))
        for each in map(_send, charges)
    ]
    print_table(say("Sent by {party}", party=loaded.party_id), ("attempt", "time", "sha256", "state"), rows)
    print_facts(
        {
            "epsilon_spent": f"{spent.epsilon:.4f} / {loaded.budget.epsilon:g}",
            "delta": f"{spent.delta:g}",
            "campaigns": ", ".join(spent.campaigns) or "–",
        }
    )


def _send(charge: Charge) -> dict[str, Any]:
    return {
        "campaign": charge.campaign_id,
        "attempt": charge.attempt,
        "h": charge.h.hex(),
        "sha256": charge.sha256.hex(),
        "sent_at": datetime.fromtimestamp(charge.sent_at, tz=UTC).isoformat(),
        "mechanisms": [mechanism.model_dump() for mechanism in charge.mechanisms],
        "refunded": charge.refunded,
    }
