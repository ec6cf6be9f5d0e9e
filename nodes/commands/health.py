"""`digua-node health`: does this node run, and is its feed fresh? For service managers and container engines."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from nodes.clock import system_clock
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import JsonOption, print_facts, print_json, reported
from nodes.errors import LinkError
from nodes.feed import Feed
from nodes.own_files import held, open_store
from nodes.roster import RosterBook


@reported
def health(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Say whether the node runs and its feed is fresh; exit code 1 if not. 健康检查。"""
    settings = load_node_config(config)
    trust = settings.require_trust()
    if not held(settings):
        raise LinkError(
            f"{settings.party_id} does not run",
            field="data_dir",
            remedy="start it with digua-node run, or read its log",
        )
    store = open_store(settings)
    try:
        feed = Feed(store, RosterBook(store, trust), party_id=settings.party_id)
        age, items = feed.age(system_clock()), feed.seq
    finally:
        store.close()
    if age > timedelta(seconds=settings.feed_limit_seconds):
        raise LinkError(
            f"the feed of {settings.party_id} is older than {settings.feed_limit_seconds} s: it answers nothing",
            field="hub.url",
            remedy="look whether the hub can be reached; the link opens again by itself",
        )
    seconds = int(age.total_seconds())
    if as_json:
        print_json({"party_id": settings.party_id, "feed_age_seconds": seconds, "feed_items": items})
    else:
        print_facts({"party_id": settings.party_id, "feed age (s)": seconds, "feed items": items})
