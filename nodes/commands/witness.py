"""`witness`: what the regulator decides by hand, and what its programme has cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nodes.commands.setup import ConfigOption
from nodes.config import NodeConfig, load_node_config
from nodes.console import JsonOption, print_facts, print_json, print_table, reported, say
from nodes.errors import ConfigError
from nodes.own_files import open_store
from nodes.witness.approvals import Approvals

PartyName = Annotated[str, typer.Argument(help="The party's id. 机构编号。")]


@reported
def approve(
    party: PartyName,
    fingerprint: Annotated[str, typer.Argument(help="The fingerprint that digua-node init printed for it. 机构指纹。")],
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Approve a party under this fingerprint, compared with its owner out of band. 批准机构加入名册。"""
    loaded = witness_config(config)
    store = open_store(loaded)
    try:
        Approvals(store).approve(party, fingerprint)
    finally:
        store.close()
    facts = {"party_id": party, "approved": True, "fingerprint": fingerprint.strip()}
    print_json(facts) if as_json else print_facts({**facts, "approved": say("yes")})


@reported
def revoke(party: PartyName, config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Take an approval back; rosters signed from now on lack the party. 撤销批准。"""
    loaded = witness_config(config)
    store = open_store(loaded)
    try:
        was_approved = Approvals(store).withdraw(party)
    finally:
        store.close()
    facts = {"party_id": party, "was_approved": was_approved}
    print_json(facts) if as_json else print_facts({**facts, "was_approved": say("yes" if was_approved else "no")})


@reported
def list_parties(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """List approved parties and those that the hub proposes. 列出已批准与待批准的机构。"""
    loaded = witness_config(config)
    store = open_store(loaded)
    try:
        found = Approvals(store).list()
    finally:
        store.close()
    lines = [
        {
            "party_id": each.party_id,
            "kind": None if each.proposed is None else each.proposed.kind,
            "region": None if each.proposed is None else each.proposed.region,
            "approved": each.fingerprint,
            "proposed": each.proposed_fingerprint,
        }
        for each in found
    ]
    if as_json:
        print_json({"parties": lines})
        return
    columns = ("party", "kind", "region", "approved", "proposed")
    print_table("", columns, [tuple(value or "–" for value in line.values()) for line in lines])


@reported
def ledger(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Show what the whole programme has cost a merchant at most. 显示整个计划的隐私开销。"""
    from nodes.ledger import Ledger  # noqa: PLC0415  (the accountant is slow to import)
    from nodes.witness.budget import programme  # noqa: PLC0415

    loaded = witness_config(config)
    store = open_store(loaded)
    try:
        found = programme(Ledger(store, loaded.budget.epsilon, loaded.budget.delta))
    finally:
        store.close()
    if as_json:
        print_json(asdict(found))
        return
    rows = [(each.campaign_id, each.attempts, each.refunded) for each in found.campaigns]
    print_table("", ("campaign", "attempts", "refunded"), rows)
    print_facts({"epsilon_spent": f"{found.epsilon_spent:.4f} / {found.epsilon_budget:g}", "delta": f"{found.delta:g}"})


def witness_config(config: Path) -> NodeConfig:
    """The configuration, of a witness; ConfigError where it is another node's."""
    loaded = load_node_config(config)
    if loaded.kind != "witness":
        raise ConfigError(
            f"{loaded.party_id} is of kind {loaded.kind}",
            field="kind",
            remedy="run this with the witness's own configuration",
        )
    return loaded
