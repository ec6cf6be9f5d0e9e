"""The suite's report as a section of Markdown, which `benchmarks.page` puts on docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.attacks.report import Report, failures

FOLDER = Path(__file__).parent.parent
RESULTS = FOLDER / "results" / "attacks.json"


def section(report: Report) -> str:
    """The strongest attack on every released thing beside what is allowed, and what the controls showed."""

    def of(name: str, epsilon: float) -> list[dict[str, Any]]:
        return [each for each in report["results"] if each["release"] == name and each["epsilon_campaign"] == epsilon]

    def strongest(name: str, epsilon: float) -> dict[str, Any] | None:
        return max(of(name, epsilon), key=lambda each: float(each["advantage"]), default=None)

    def proved(name: str, epsilon: float) -> tuple[float, float] | None:
        attacks = of(name, epsilon)
        if not attacks:
            return None
        return max(max(each["epsilon_low"], each["epsilon_one_run"]) for each in attacks), attacks[0]["epsilon"]

    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  (Markdown of our own figures)
    )
    epsilons = sorted({each["epsilon_campaign"] for each in report["results"]})
    columns = ["released", *(f"ε = {each:g}" for each in epsilons)]
    lines = ["| " + " | ".join(line) + " |" for line in (columns, ["---"] * len(columns))]
    return environment.get_template("attacks.md.jinja").render(
        report=report,
        failures=failures(report),
        epsilons=epsilons,
        names=list(dict.fromkeys(each["release"] for each in report["results"])),
        head="\n".join(lines),
        strongest=strongest,
        proved=proved,
    )
