"""`witness rotate-key`, `witness keys`: the witness's signing keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from crypto.errors import SignatureError
from crypto.keys import IdentityKey, fingerprint
from nodes.clock import system_clock
from nodes.commands.setup import ConfigOption
from nodes.commands.witness import witness_config
from nodes.config import NodeConfig, key_to_text
from nodes.console import JsonOption, print_facts, print_json, print_table, reported, say
from nodes.errors import ConfigError
from nodes.hub_client import HubClient
from nodes.initialisation import CONFIG_FILE
from nodes.keys import load_signing_keys
from nodes.own_files import open_store
from nodes.roster import RosterBook
from nodes.witness_key import keep, kept_statements, prepare, sign_next


@reported
def rotate_key(
    config: ConfigOption = Path(CONFIG_FILE),
    confirm: Annotated[
        str | None, typer.Option(help="Fingerprint of the new key, as this command printed it. 新密钥指纹。")
    ] = None,
    seconds: Annotated[
        int, typer.Option("--in", min=30, max=30 * 86400, help="After how many seconds it holds. 多少秒后生效。")
    ] = 120,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Announce what was announced once more, to a hub set back. 向恢复后的枢纽重新宣布。"
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new signing key; with --confirm, announce it to the running hub. 轮换见证方签名密钥。"""
    loaded = witness_config(config)
    if again:
        _announce_again(loaded, as_json)
        return
    with _book(loaded) as roster:
        line = roster.witness_keys
        new = prepare(loaded.keys_dir, line)
        name = fingerprint(new.public)
        facts: dict[str, object] = {"fingerprint": name, "public": key_to_text(new.public), "announced": False}
        if confirm is None:
            if as_json:
                print_json(facts)
                return
            print_facts({"fingerprint": name, "public": key_to_text(new.public)})
            typer.echo(say("The new key lies in {directory}. Run the same with --confirm.", directory=loaded.keys_dir))
            return
        if confirm.strip() != name:
            raise ConfigError(
                f"the key that lies ready has the fingerprint {name}",
                field="confirm",
                remedy="compare it with what was printed; move the file away if it is not yours",
            )
        now = system_clock()
        holds_from = (now + timedelta(seconds=seconds)).replace(microsecond=0)
        token = sign_next(loaded.keys_dir, loaded.party_id, line, new, holds_from=holds_from, now=now)
        with _client(loaded) as client:
            receipt = client.announce_key(token)
        if receipt.new_key != new.public:
            raise SignatureError("the hub names another key", field="new_key", remedy="announce it again")
        keep(loaded.keys_dir, new.public, token)
        roster.successions.learn([token])
    moment = receipt.holds_from.isoformat()
    if as_json:
        print_json({**facts, "announced": True, "holds_from": moment})
        return
    typer.echo(say("{name} holds from {moment}. The witness need not be restarted.", name=name, moment=moment))


@reported
def keys(config: ConfigOption = Path(CONFIG_FILE), as_json: JsonOption = False) -> None:
    """List the witness's signing keys and when they hold. 列出见证方签名密钥。"""
    loaded = witness_config(config)
    with _book(loaded) as roster:
        line = roster.witness_keys
    files, now = {key.public for key in load_signing_keys(loaded.keys_dir)}, line.at(system_clock())
    found = [
        {
            "fingerprint": fingerprint(key.public),
            "since": None if key.since is None else key.since.isoformat(),
            "until": None if key.until is None else key.until.isoformat(),
            "holds": key.public == now,
            "file": key.public in files,
        }
        for key in line.keys
    ]
    if as_json:
        print_json({"keys": found})
        return
    columns = ("key", "holds from", "holds until", "holds now", "file is here")
    print_table("", columns, [tuple(_cell(value) for value in each.values()) for each in found])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return say("yes" if value else "no")
    return "–" if value is None else str(value)


def _announce_again(config: NodeConfig, as_json: bool) -> None:
    with _client(config) as client:
        done = [client.announce_key(token) for token in kept_statements(config.keys_dir)]
    names = [fingerprint(each.new_key) for each in done]
    print_json({"announced": names}) if as_json else print_facts({"announced": ", ".join(names) or "–"})


def _client(config: NodeConfig) -> HubClient:
    """The statement is signed for itself; nothing else is."""
    return HubClient(config.hub, party_id=config.party_id, identity=IdentityKey.generate())


@contextmanager
def _book(config: NodeConfig) -> Iterator[RosterBook]:
    """The witness's own book, beside its running process, with all that lies beside its keys."""
    store = open_store(config)
    try:
        roster = RosterBook(store, config.require_trust())
        roster.successions.learn(kept_statements(config.keys_dir))
        yield roster
    finally:
        store.close()
