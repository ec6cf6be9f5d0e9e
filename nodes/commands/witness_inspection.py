"""`witness verify-inspection`: check an inspection file offline, with nothing but the witness's public key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypto.checkpoint import parse_note
from nodes.config import key_from_text
from nodes.console import JsonOption, print_facts, print_json, reported, say
from nodes.errors import ConfigError
from nodes.witness.inspection import read_inspection, verify_inspection


@reported
def verify_file(
    file: Annotated[Path, typer.Argument(help="An inspection file. 检查文件。")],
    witness_key: Annotated[str, typer.Option(help="The witness's public signing key, base64url. 见证方签名公钥。")],
    as_json: JsonOption = False,
) -> None:
    """Verify a signed inspection file offline. 离线验证已签名的检查文件。Exit code 1 where anything is wrong."""
    try:
        key = key_from_text(witness_key)
    except ValueError as problem:
        raise ConfigError(
            f"{witness_key} is no public key",
            field="--witness-key",
            remedy="give the 43 characters that the regulator publishes as the witness's signing key",
        ) from problem
    content = verify_inspection(read_inspection(file), key)
    checkpoint = parse_note(content.checkpoint)[0]
    facts = {
        "witness": content.witness,
        "inspector": content.inspector,
        "made_at": content.made_at.isoformat(),
        "entries": len(content.entries),
        "found": content.found,
        "origin": checkpoint.origin,
        "checkpoint_size": checkpoint.size,
    }
    print_json({"ok": True, **facts}) if as_json else print_facts({"verified": say("yes"), **facts})
