"""`merchants`: pseudonyms and keys of merchants (0, 1), and what a merchant at the counter is told of its score."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Annotated, TypeVar, cast, get_args

import typer
from pydantic import BaseModel, ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from crypto.identifiers import IdentifierType, normalise
from crypto.wire.party import MerchantKeyLeaf, MerchantKeySubmission
from models.explanation import lines_of
from models.i18n import LANGUAGES, Language, language_from_env
from nodes.batch_files import read_file
from nodes.commands.opened import open_services
from nodes.commands.setup import ConfigOption
from nodes.console import JsonOption, err, print_facts, print_json, reported, say
from nodes.errors import ConfigError
from nodes.merchant_keys import MerchantKeyDraft, check_submission, countersign, draft_batch
from nodes.own_files import write_private
from nodes.pseudonyms import Progress

app = typer.Typer(help="Merchants' pseudonyms and keys. 商户假名与密钥。", no_args_is_help=True)

M = TypeVar("M", bound=BaseModel)
ID_TYPES: tuple[str, ...] = get_args(IdentifierType)
BatchOption = Annotated[Path, typer.Option(help="The batch's file. 批次文件。")]
OutOption = Annotated[Path, typer.Option(help="File to write. 输出文件。")]


@app.command()
@reported
def pseudonyms(
    ids: Annotated[Path, typer.Option(help="CSV with a column id. 含 id 列的 CSV。")],
    out: OutOption,
    config: ConfigOption = Path("node.yaml"),
    id_type: Annotated[str, typer.Option(help=f"One of {', '.join(ID_TYPES)}. 标识类型。")] = "opaque",
    as_json: JsonOption = False,
) -> None:
    """Have hub and witness evaluate identifiers, blinded; write id → pseudonym. 生成商户假名。"""
    kind = _id_type(id_type)
    wanted = [each.id for each in read_file(ids)]
    normalised = [normalise(kind, each) for each in wanted]
    with open_services(config, roster=True) as services:
        with _progress(quiet=as_json) as report:
            new = services.runtime.pseudonyms.ensure(normalised, id_type=kind, progress=report)
        data = services.runtime.pseudonyms.pseudonyms(normalised, id_type=kind)
    found = {each: urlsafe_b64encode(row.tobytes()).decode() for each, row in zip(wanted, data, strict=True)}
    _write(out, json.dumps(found, ensure_ascii=False, indent=0))
    facts = {"file": str(out), "merchants": len(found), "evaluated": new}
    print_json(facts) if as_json else print_facts(facts)


@app.command()
@reported
def invite(
    merchant: Annotated[str, typer.Option("--id", help="A merchant's identifier. 商户标识。")],
    config: ConfigOption = Path("node.yaml"),
    id_type: Annotated[str, typer.Option(help=f"One of {', '.join(ID_TYPES)}. 标识类型。")] = "opaque",
    replaces: Annotated[
        bool, typer.Option("--replaces", help="It lost its key; the new one replaces it. 密钥丢失，以新换旧。")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=30, help="How long the link works. 链接有效天数。")] = 14,
    as_json: JsonOption = False,
) -> None:
    """Invite a merchant to bring a key of its own; print its one-time link. 邀请商户自行生成密钥，输出一次性链接。"""
    kind = _id_type(id_type)
    with open_services(config, roster=True) as services:
        pseudonym = services.consent_desk.merchant(merchant, kind)
        invited = services.invitations.invite(pseudonym, replaces=replaces, life=timedelta(days=days))
    facts = {"link": invited.link, "valid until": invited.expires_at.isoformat()}
    print_json(facts) if as_json else print_facts(facts)


@app.command()
@reported
def collect(out: OutOption, config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Fetch the keys that invited merchants brought, for `merchants batch`. 收取受邀商户提交的公钥，供签署批次。"""
    with open_services(config, roster=True) as services:
        collected = services.invitations.collect()
    _write(out, "\n".join(leaf.model_dump_json() for leaf in collected.leaves))
    facts = {"file": str(out), "keys": len(collected.leaves), "keys refused": collected.refused}
    print_json(facts) if as_json else print_facts(facts)


@app.command()
@reported
def batch(
    keys: Annotated[Path, typer.Option(help="NDJSON of pseudonym and jwk, a merchant a line. 商户公钥。")],
    countersigner: Annotated[str, typer.Option(help="The merchants' bank. 会签银行。")],
    out: OutOption,
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Sign a batch of merchants' public keys, at the platform. 平台签署商户公钥批次。"""
    leaves = _leaves(keys)
    with open_services(config, roster=True) as services:
        runtime = services.runtime
        draft = draft_batch(
            leaves,
            identity=runtime.identity,
            platform=runtime.config.party_id,
            countersigner=runtime.roster.party(countersigner),
            batch_id=token_hex(16),
            now=runtime.now(),
        )
    _write(out, draft.model_dump_json())
    facts = {"file": str(out), "keys": len(leaves), "countersigner": countersigner}
    print_json(facts) if as_json else print_facts(facts)


@app.command("countersign")
@reported
def countersign_batch(
    batch: BatchOption, out: OutOption, config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False
) -> None:
    """Countersign a batch whose merchants are all own customers, at the bank. 银行会签本行客户的批次。"""
    draft = _read(batch, MerchantKeyDraft)
    with open_services(config, roster=True) as services:
        runtime = services.runtime
        signed = countersign(
            draft,
            identity=runtime.identity,
            party=runtime.roster.party(runtime.config.party_id),
            roster=runtime.roster,
            store=runtime.store,
        )
    _write(out, signed.model_dump_json())
    facts = {"file": str(out), "keys": len(signed.leaves)}
    print_json(facts) if as_json else print_facts(facts)


@app.command()
@reported
def submit(batch: BatchOption, config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Bring a countersigned batch to the hub, at the platform. 平台向枢纽提交已会签批次。"""
    submission = _read(batch, MerchantKeySubmission)
    with open_services(config, roster=True) as services:
        signed = check_submission(submission, services.runtime.roster)
        services.runtime.hub.request(
            "POST", "/v1/merchant-keys", submission.model_dump_json().encode(), idempotency_key=signed.batch_id
        )
    facts = {"batch_id": signed.batch_id, "stored": signed.size}
    print_json(facts) if as_json else print_facts(facts)


@app.command()
@reported
def explain(
    merchant: Annotated[str, typer.Option("--id", help="The identifier of the merchant who asks. 到场商户的标识。")],
    config: ConfigOption = Path("node.yaml"),
    score: Annotated[int | None, typer.Option(help="Its score, where it is known. 该商户的评分（如已知）。")] = None,
    model_id: Annotated[str | None, typer.Option(help="The newest model without it. 指定模型。")] = None,
    lang: Annotated[Language | None, typer.Option(help="zh or en; by DIGUA_LANG without it. 语言。")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, for its owner alone. 输出文件。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell a merchant at the counter how this party's data about it count. 向到场商户说明本机构数据的计分情况。"""
    with open_services(config, roster=True) as services:
        found = services.explanations.explain(merchant, author="command line", model_id=model_id, score=score)
    lines = lines_of(found, lang or language_from_env())
    if out is not None:
        write_private(out, "\n".join(lines))
    if as_json:
        print_json({each: lines_of(found, each) for each in LANGUAGES})
    elif out is None:
        typer.echo("\n".join(lines))
    else:
        print_facts({"file": str(out)})


def _id_type(text: str) -> IdentifierType:
    if text not in ID_TYPES:
        raise ConfigError(f"{text} is no type of identifier", field="id-type", remedy=f"use {', '.join(ID_TYPES)}")
    return cast("IdentifierType", text)


def _leaves(path: Path) -> list[MerchantKeyLeaf]:
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            leaves: list[MerchantKeyLeaf] = []
            for line in file:
                number += 1
                if line.strip():
                    leaves.append(MerchantKeyLeaf.model_validate_json(line))
    except (OSError, ValueError) as problem:
        raise ConfigError(
            f"{path}:{number} is no merchant's public key",
            field="keys",
            remedy='give a line per merchant: {"pseudonym": …, "jwk": {…}}',
        ) from problem
    return leaves


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as problem:
        raise ConfigError(
            f"{path} cannot be read as a {model.__name__}",
            field="batch",
            remedy="give the file that the step before wrote",
        ) from problem


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as problem:
        raise ConfigError(f"{path} cannot be written", field="out", remedy="give another path") from problem


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield lambda done, of: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=err(), transient=True) as bars:
        task = bars.add_task(say("pseudonyms"), total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
