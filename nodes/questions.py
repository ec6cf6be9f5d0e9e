"""What `digua-node init` asks at a terminal: a question for each answer that is missing, again if it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter, ValidationError

from crypto.wire.base import KindName, PartyId
from models.said import Said, said
from nodes.checks.sources import WITHOUT_DATA
from nodes.config import BudgetConfig, HubAddress
from nodes.console import tell
from nodes.errors import ConfigError
from nodes.initialisation import InitAnswers, dataset_of

REQUIRED = ("party_id", "kind", "region", "hub_url")
DEFAULTS: dict[str, Any] = {"title": "", "epsilon": 3.0, "delta": 1e-5}
"""Of what need not be asked."""

_PARTY: TypeAdapter[str] = TypeAdapter(PartyId)
_KIND: TypeAdapter[str] = TypeAdapter(KindName)


def answers_of(values: Mapping[str, object]) -> InitAnswers:
    """Answers from options.

    Raises:
        ConfigError: a value does not fit; `field` names the option.
    """
    try:
        return InitAnswers.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise ConfigError(
            f"--{name} does not fit: {first['msg']}", field=name, remedy="see digua-node init --help"
        ) from problem


def missing(answers: InitAnswers) -> list[str]:
    """Options that nobody can guess and that were not given."""
    return [f"--{name.replace('_', '-')}" for name in REQUIRED if getattr(answers, name) is None]


def with_defaults(answers: InitAnswers) -> InitAnswers:
    """Complete answers with what is usual."""
    return answers.over(InitAnswers(**DEFAULTS))


def ask(given: InitAnswers) -> InitAnswers:
    """Ask for everything that was not given; an empty line leaves out what may be left out."""
    found: dict[str, Any] = {name: value for name, value in given if value is not None}

    def put(name: str, question: Said, check: Callable[[str], Any], *, default: str | None = None) -> None:
        if name not in found:
            found[name] = _asked(question, check, default)

    put("party_id", said("This party's id (lower-case letters, digits, hyphens)"), _PARTY.validate_python)
    put("kind", said("Its kind: bank, tax, utility, … client or witness"), _KIND.validate_python, default="bank")
    put("region", said("Region"), _text)
    put("title", said("Its name for persons (may be empty)"), str, default="")
    put("hub_url", said("The hub's address, e.g. https://hub.example.org"), _hub_url)
    if found["hub_url"].startswith("https:"):
        put("ca_file", said("PEM file of a private authority (empty: the system's)"), _file, default="")
        put("proxy", said("Proxy, e.g. http://proxy.example.org:3128, or env (empty: none)"), _proxy, default="")
        if found.get("proxy"):
            put("proxy_auth_file", said("File with name:password for the proxy (empty: none)"), _file, default="")
    if found["kind"] not in WITHOUT_DATA and "dataset" not in found:
        found["dataset"] = tuple(_datasets())
    if found["kind"] == "witness":
        put("approval", said("Who lets models out: automatic, or owner (you, one by one)"), _approval, default="owner")
    budget = said("ε that all campaigns together may cost a merchant")
    put("epsilon", budget, _epsilon, default="8" if found["kind"] == "witness" else "3")
    put("delta", said("δ of the same budget"), _delta, default="1e-5")
    if found["kind"] != "witness":
        put("gateway_port", said("Port of the API for your own systems (empty: none)"), _port, default="")
    put("pages_port", said("Port of the pages for people (empty: none)"), _port, default="")
    return InitAnswers(**{name: value for name, value in found.items() if value is not None})


def _asked(question: Said, check: Callable[[str], Any], default: str | None) -> Any:
    while True:
        text = typer.prompt(tell(question), default=default, show_default=bool(default), err=True)
        try:
            return check(text.strip())
        except (ValueError, ConfigError) as problem:
            typer.echo(f"  {_why(problem)}", err=True)


def _why(problem: ValueError | ConfigError) -> str:
    if isinstance(problem, ValidationError):
        why = str(problem.errors()[0]["msg"]).removeprefix("Value error, ")
        return tell(said("this does not fit: {why}", why=why))
    return problem.message if isinstance(problem, ConfigError) else str(problem)


def _datasets() -> Iterator[str]:
    question = said("A table as SCHEMA=TABLE, a YAML and a CSV or Parquet file (empty: no more)")
    while text := _asked(question, _dataset, ""):
        yield text


def _dataset(text: str) -> str:
    for path in dataset_of(text) if text else ():
        _file(path)
    return text


def _text(text: str) -> str:
    if not text:
        raise ValueError(tell(said("an answer is needed")))
    return text


def _hub_url(text: str) -> str:
    return HubAddress(url=text).url


def _proxy(text: str) -> str | None:
    return HubAddress(url="https://hub.example.org", proxy=text or None).proxy


def _file(text: str) -> Path | None:
    if text and not Path(text).is_file():
        raise ValueError(tell(said("there is no file {path}", path=text)))
    return Path(text) if text else None


def _epsilon(text: str) -> float:
    return BudgetConfig(epsilon=float(text), delta=1e-5).epsilon


def _delta(text: str) -> float:
    return BudgetConfig(epsilon=1.0, delta=float(text)).delta


def _port(text: str) -> int | None:
    return InitAnswers.model_validate({"gateway_port": text or None}).gateway_port


def _approval(text: str) -> str | None:
    return InitAnswers.model_validate({"approval": text}).approval
