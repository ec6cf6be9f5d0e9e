"""Every text that commands hand to their console has a Chinese translation in the catalogue of its package."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from hub.campaign_book import Status
from hub.campaign_plan import Step
from hub.commands.comparison import CHANGES, READINGS
from hub.commands.simulate import _FIGURES as FIGURES
from models.advice import VERDICTS, Verdict
from models.comparison import Change
from models.drift import Reading
from models.findings import STATES as STATES_OF_FINDINGS
from models.i18n import catalogue
from nodes.commands.witness_models import STATES
from nodes.witness.model_approvals import State

ROOT = Path(__file__).parents[2]
TEXTS = {
    "hub": {"say": 1, "text": 1, "show_table": 2},
    "nodes": {"say": 1, "print_table": 2, "print_facts": 1},
}
"""Package → function of its console → how many leading arguments are texts or hold some."""
UNTRANSLATED_TITLES = {"print_table"}  # it takes its title from `say`


def literals(node: ast.expr) -> Iterator[str]:
    """Texts in an argument; a formatted one, which no catalogue can have, as its source."""
    if isinstance(node, ast.JoinedStr):
        yield ast.unparse(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)
    elif isinstance(node, ast.Tuple | ast.List):
        for each in node.elts:
            yield from literals(each)
    elif isinstance(node, ast.Dict):
        for key in node.keys:
            if key is not None:
                yield from literals(key)


def called(function: ast.expr) -> str:
    """The console's function that is called: imported by name, or `console.name`; else nothing."""
    if isinstance(function, ast.Attribute):
        return function.attr if getattr(function.value, "id", "") == "console" else ""
    return getattr(function, "id", "")


def texts_of(package: str) -> Iterator[tuple[str, str]]:
    """(place, text) of everything handed to the package's console."""
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = called(node.func)
            arguments = node.args[: TEXTS[package].get(name, 0)]
            for argument in arguments[1 if name in UNTRANSLATED_TITLES else 0 :]:
                for text in literals(argument):
                    if any(char.isalpha() for char in text):
                        yield f"{file.relative_to(ROOT)}:{node.lineno}", text


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("package", sorted(TEXTS))
def test_every_text_of_a_console_is_translated(package: str) -> None:
    texts = catalogue(package)
    found = list(texts_of(package))
    assert len(found) > 25
    missing = [f"{place}: {text}" for place, text in found if not texts.has("zh", text)]
    assert not missing, "\n".join(missing)
    for place, text in found:
        assert places(texts.translate("zh", text)) == places(text), place


def arguments_of(paths: Iterable[Path], function: str, position: int) -> Iterator[str]:
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function:
                yield from literals(node.args[position])


def test_what_is_wrong_with_a_table_is_translated() -> None:
    texts = [
        *arguments_of((ROOT / "nodes").rglob("*.py"), "said", 0),
        *arguments_of([ROOT / "models" / "bins.py"], "said", 0),
        *arguments_of([ROOT / "crypto" / "identifiers.py"], "_refuse", 2),
    ]
    assert len(texts) > 40
    missing = sorted({text for text in texts if not catalogue("nodes").has("zh", text)})
    assert not missing, "\n".join(missing)
    for text in texts:
        assert places(catalogue("nodes").translate("zh", text)) == places(text)


def test_what_a_doctor_finds_is_translated() -> None:
    places_of_hub = [ROOT / "hub" / "doctor.py", *(ROOT / "hub" / "examination").glob("*.py")]
    checks = {
        package: {*arguments_of(files, "Findings", 0), *STATES_OF_FINDINGS}
        for package, files in {
            "hub": places_of_hub,
            "nodes": [*(ROOT / "nodes" / "checks").glob("*.py"), *(ROOT / "nodes" / "examination").glob("*.py")],
        }.items()
    }
    assert {"log", "consents"} <= checks["hub"]
    assert {"clock", "ledger"} <= checks["nodes"]
    texts = {"hub": {*arguments_of(places_of_hub, "said", 0), *checks["hub"]}, "nodes": checks["nodes"]}
    missing = sorted(
        (package, each) for package, found in texts.items() for each in found if not catalogue(package).has("zh", each)
    )
    assert not missing, missing
    for text in texts["hub"]:
        assert places(catalogue("hub").translate("zh", text)) == places(text)


def test_what_a_campaign_and_a_simulation_report_is_translated() -> None:
    names = [
        *get_args(Status),
        *get_args(Step),
        *(title for title, _ in FIGURES),
        "Seconds",
        "Field",
        "Party",
        "Remedy",
    ]
    missing = [name for name in names if not catalogue("hub").has("zh", name)]
    assert not missing, "\n".join(missing)


def test_states_of_models_and_changes_between_two_are_translated() -> None:
    assert set(CHANGES) == set(get_args(Change))
    assert set(STATES) == set(get_args(State))
    assert set(READINGS) == set(get_args(Reading))
    assert set(VERDICTS) == set(get_args(Verdict))
    assert not [text for text in READINGS.values() if not catalogue("hub").has("zh", text)]
    assert not [text for text in VERDICTS.values() if not catalogue("models").has("zh", text)]
    assert not [text for text in CHANGES.values() if not catalogue("hub").has("zh", text)]
    assert not [text for text in STATES.values() if not catalogue("nodes").has("zh", text)]
