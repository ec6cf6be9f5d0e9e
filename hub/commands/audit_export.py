"""`digua-hub audit export` and `erase`: what needs the hub's own database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.audit import read_header
from hub.config import load_config
from hub.erasure import erase_merchant
from hub.errors import RequestError
from hub.log_tiles import export_tiles
from hub.services import Hub

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def export(
    out: Annotated[Path | None, typer.Option(help="File to write (NDJSON).")] = None,
    tiles: Annotated[
        Path | None, typer.Option(help="Directory to write or continue, as C2SP tlog-tiles. 静态目录。")
    ] = None,
    config: Annotated[Path, typer.Option(help="The hub's configuration.")] = Path("hub.yaml"),
    as_json: JsonFlag = False,
) -> None:
    """Write the log up to its newest cosigned checkpoint, as one file or as tiles. 导出日志。"""
    if (out is None) == (tiles is None):
        raise RequestError("Give either --out or --tiles.", field="--out", remedy="Name a file, or a directory.")
    hub = Hub.open(load_config(config))
    try:
        if tiles is not None:
            _export_tiles(hub, tiles, as_json=as_json)
        elif out is not None:
            _export_file(hub, out, as_json=as_json)
    finally:
        hub.close()


def _export_file(hub: Hub, out: Path, *, as_json: bool) -> None:
    lines = 0
    with out.open("wb") as file:
        for line in hub.log.reader.export():
            file.write(line)
            lines += 1
    header = read_header(out)
    if as_json:
        console.show_json({"file": str(out), "entries": header.size, "lines": lines, "bytes": out.stat().st_size})
    else:
        console.say("{entries} entries written to {file}.", entries=header.size, file=out)


def _export_tiles(hub: Hub, directory: Path, *, as_json: bool) -> None:
    done = export_tiles(hub.db, directory)
    if as_json:
        facts = {"entries": done.size, "written": done.written, "kept": done.kept}
        console.show_json({"directory": str(directory), **facts})
    else:
        console.say(
            "{directory} holds {entries} entries: {written} files are new, {kept} were there.",
            directory=directory,
            entries=done.size,
            written=done.written,
            kept=done.kept,
        )


def erase(
    pseudonym: Annotated[str, typer.Argument(help="The merchant's pseudonym, 64 hexadecimal digits.")],
    config: Annotated[Path, typer.Option(help="The hub's configuration.")] = Path("hub.yaml"),
    as_json: JsonFlag = False,
) -> None:
    """Erase what links the log to a merchant (PIPL 47), for good. 删除日志与商户的关联（个保法第47条，不可恢复）。"""
    hub = Hub.open(load_config(config))
    try:
        erased = erase_merchant(hub, _pseudonym(pseudonym))
    finally:
        hub.close()
    if as_json:
        console.show_json({"entries": erased})
    else:
        console.say("{entries} entries of the log are no longer linked to the merchant.", entries=erased)


def _pseudonym(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise RequestError(
            "A pseudonym has 64 hexadecimal digits.", field="PSEUDONYM", remedy="Ask the platform for the merchant's."
        )
    return value
