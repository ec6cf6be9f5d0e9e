"""`digua-hub model`: list and compare models, read their cards, have the witness release or withdraw them."""

from __future__ import annotations

import hashlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from hub import console
from hub.admin_client import AdminClient, HubAnswerError
from hub.commands.comparison import show_comparison, show_stability
from hub.config import load_config
from models.i18n import language_from_env

app = typer.Typer(no_args_is_help=True, help="Models: list, show, card, compare, release, withdraw, rollback. 模型。")

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
CaOption = Annotated[Path | None, typer.Option(help="PEM of the authority that signed the hub's certificate.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelArgument = Annotated[str, typer.Argument(help="The model's id, sha256:…")]
OutOption = Annotated[Path | None, typer.Option(help="File to write; standard output without it.")]
HUB_YAML = Path("hub.yaml")


class Scope(StrEnum):
    """What a release is for."""

    EVALUATION = "evaluation"
    RELEASE = "release"


class Language(StrEnum):
    """Languages of a card."""

    ZH = "zh"
    EN = "en"


class CardFormat(StrEnum):
    """Forms of a card."""

    MD = "md"
    HTML = "html"


class PointsForm(StrEnum):
    """Forms of a table of points."""

    CSV = "csv"
    XLSX = "xlsx"


@app.command("list")
def list_models(config: ConfigOption = HUB_YAML, ca_file: CaOption = None, as_json: JsonFlag = False) -> None:
    """List all models with their states. 列出模型。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        models = hub.get("/v1/models").json()["models"]
    if as_json:
        console.show_json(models)
        return
    rows = [
        (
            model["model_id"],
            model["line"],
            model["version"],
            _state(model),
            _number(model["epsilon"]),
            _number(model["evaluation_epsilon"]),
            "–" if model["auc"] is None else _estimate(model["auc"]),
            model["registered_at"],
        )
        for model in models
    ]
    titles = (
        "Model",
        "Line",
        "Version",
        "State",
        "Epsilon",
        "Epsilon of the evaluation",
        "AUC (private)",
        "Registered",
    )
    console.show_table("Models", titles, rows)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="The older model's id, sha256:…")],
    after: Annotated[str, typer.Argument(help="The newer model's id, sha256:…")],
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare two models: privacy, figures with their noise, features, bins, points. 比较两个模型。"""
    params = {"with": after, "lang": language_from_env()}
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        found = hub.get(f"{_path(before)}/comparison", params=params).json()
    if as_json:
        console.show_json(found)
    else:
        show_comparison(found)


@app.command()
def rollback(
    line: Annotated[str, typer.Argument(help="The models' line; see `model list`.")],
    to: Annotated[int, typer.Option(help="The version to use; a newer one that was rolled back comes back so too.")],
    reason: Annotated[str, typer.Option(help="Why; it is signed, logged and public.")],
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Have another released version used instead of the newer ones, under the witness's signature. 回退到旧版本。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        done = hub.post("/v1/models/rollback", {"line": line, "version": to, "reason": reason}).json()
    if as_json:
        console.show_json(done)
    elif done["token"] is not None:
        console.say("The witness has signed: version {version} is the current one.", version=to)
        if done["over"]:
            console.say("Nodes no longer answer with {models}.", models=", ".join(done["over"]))
    else:
        console.say("Version {version} is the current one already.", version=to)


@app.command()
def show(
    model_id: ModelArgument,
    out: OutOption = None,
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print or write a model's exact bytes; their hash is compared with the id. 查看模型文件。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        data = hub.get(_path(model_id)).content
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != model_id:
        raise HubAnswerError(
            "The hub's bytes do not have the hash that names the model.",
            field="model_id",
            remedy="Do not use them; check the hub and what lies between.",
        )
    _write(data, out, as_json=as_json, model_id=model_id)


@app.command()
def card(
    model_id: ModelArgument,
    lang: Annotated[Language | None, typer.Option(help="zh or en; by DIGUA_LANG without it.")] = None,
    form: Annotated[
        CardFormat | None,
        typer.Option("--format", help="md or html, a page to print; by the name of --out without it."),
    ] = None,
    out: OutOption = None,
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print or write a model's card, in Markdown or as a page with charts. 模型卡。"""
    named = CardFormat.HTML if out is not None and out.suffix == ".html" else CardFormat.MD
    params = {"lang": lang or language_from_env(), "format": form or named}
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        text = hub.get(f"{_path(model_id)}/card", params=params).content
    _write(text, out, as_json=as_json, model_id=model_id)


@app.command()
def points(
    model_id: ModelArgument,
    out: Annotated[Path, typer.Option(help="File to write. 输出文件。")],
    form: Annotated[
        PointsForm | None, typer.Option("--format", help="csv or xlsx (Excel); by the name of --out without it.")
    ] = None,
    lang: Annotated[Language | None, typer.Option(help="zh or en; by DIGUA_LANG without it.")] = None,
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a scorecard's table of points for a spreadsheet, with evidence and intervals of each bin. 导出分值表。"""
    named = PointsForm.XLSX if out.suffix.lower() == ".xlsx" else PointsForm.CSV
    params = {"lang": lang or language_from_env(), "format": form or named}
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        made = hub.get(f"{_path(model_id)}/points", params=params).content
    _write(made, out, as_json=as_json, model_id=model_id)


@app.command()
def stability(
    model_id: ModelArgument,
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what other noise on the same table would have made of a scorecard. 噪声稳定性。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        found = hub.get(f"{_path(model_id)}/stability").json()
    if as_json:
        console.show_json(found)
    else:
        show_stability(found)


@app.command()
def release(
    model_id: ModelArgument,
    scope: Annotated[Scope, typer.Option(help="evaluation: for held-out merchants only.")] = Scope.RELEASE,
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Have the witness fit the model again and release it. 由见证方复核后发布。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        token = hub.post(f"{_path(model_id)}/release", {"scope": scope}).text
    if as_json:
        console.show_json({"model_id": model_id, "scope": scope, "release": token})
    else:
        console.say("The witness has signed; all nodes are told of it.")


@app.command()
def withdraw(
    model_id: ModelArgument,
    reason: Annotated[str, typer.Option(help="Why; it is signed, logged and public.")],
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Have the witness withdraw a model: nodes stop answering with it. 撤回模型。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        token = hub.post(f"{_path(model_id)}/withdrawal", {"reason": reason}).text
    if as_json:
        console.show_json({"model_id": model_id, "withdrawal": token})
    else:
        console.say("The witness has signed; all nodes are told of it.")


def _state(model: dict[str, Any]) -> str:
    state = console.text(model["status"])
    if model["current"]:
        return f"{state} ({console.text('current')})"
    return f"{state} ({console.text('waiting for the regulator')})" if model["waiting"] else state


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _estimate(of: dict[str, float]) -> str:
    return f"{of['value']:.4f} ({of['low']:.3f} – {of['high']:.3f})"


def _path(model_id: str) -> str:
    return f"/v1/models/{quote(model_id, safe=':')}"


def _write(data: bytes, out: Path | None, *, as_json: bool, model_id: str) -> None:
    if out is not None:
        out.write_bytes(data)
        if as_json:
            console.show_json({"model_id": model_id, "file": str(out), "bytes": len(data)})
        else:
            console.say("Written to {file}.", file=out)
    elif as_json:
        console.show_json({"model_id": model_id, "content": data.decode()})
    else:
        sys.stdout.write(data.decode() + ("" if data.endswith(b"\n") else "\n"))
