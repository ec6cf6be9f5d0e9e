"""`digua-hub health`: does the hub of this machine answer? For service managers and container engines."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from hub import console
from hub.admin_client import HubAnswerError
from hub.config import HubConfig, load_config
from hub.own_address import own_address, own_certificate
from models.i18n import language_from_env

TIMEOUT_S = 5.0


def health(
    config: Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")] = Path("hub.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the hub on this machine whether it works; exit code 1 if not. 健康检查。"""
    facts = ask(load_config(config))
    if as_json:
        console.show_json(facts)
    else:
        alarms = facts.pop("alarms")
        console.show_table("The hub works", ("Name", "Value"), list(facts.items()))
        if isinstance(alarms, list) and alarms:
            rows = [tuple(each[name] for name in ("since", "title", "what", "remedy")) for each in alarms]
            console.show_table("Alarms", ("Since", "Alarm", "What", "Remedy"), rows)


def _not_ready(found: dict[str, Any]) -> HubAnswerError:
    missing = [each for each in found["checks"] if each["blocking"] and not each["ok"]]
    return HubAnswerError(
        "The hub is not ready: " + " ".join(f"{each['name']}: {each['what']}" for each in missing),
        field=str(missing[0]["name"]),
        remedy=" ".join(str(each["remedy"]) for each in missing),
    )


def ask(config: HubConfig) -> dict[str, object]:
    """What the hub's health endpoint says.

    Raises:
        HubAnswerError: nobody answers where the hub should listen, or it is not ready.
    """
    address = own_address(config)
    try:
        with httpx.Client(
            base_url=address,
            headers={"Accept-Language": language_from_env()},
            timeout=TIMEOUT_S,
            verify=own_certificate(config),
            trust_env=False,
        ) as client:
            ready = client.get("/readyz")
            if ready.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
                raise _not_ready(ready.json())
            answer = client.get("/v1/health")
            answer.raise_for_status()
    except httpx.HTTPError as problem:
        raise HubAnswerError(
            f"{address} does not answer as a healthy hub: {problem or type(problem).__name__}",
            field="listen",
            remedy="Start it with `digua-hub serve`, or read its log.",
        ) from problem
    return dict(answer.json())
