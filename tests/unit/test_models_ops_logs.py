"""Logs: nobody's data, whatever is handed to them; one request id on every line about a request."""

from __future__ import annotations

import ast
import io
import json
import logging
import secrets
import sqlite3
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from crypto.jws import sign
from crypto.keys import IdentityKey
from crypto.synthetic_codes import synthetic_usccs
from hub.errors import StateError
from models.errors import DataError
from models.ops import log_guard
from models.ops.log_guard import FIELDS, NUMBERS, TEXTS, WITHHELD, failures, guard, scrubbed
from models.ops.logs import LogOutput, make_handler
from models.ops.trace_context import TraceContext, carrying

ROOT = Path(__file__).parents[2]
LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What a logger `here` writes, as JSON; filled when it is asked for."""
    handler = make_handler(LogOutput(level="debug"))
    stream = io.StringIO()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    logger = logging.getLogger("here")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)

    class Lines(list[dict[str, Any]]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter(json.loads(line) for line in stream.getvalue().splitlines())

    yield Lines()
    logger.handlers, logger.propagate = [], True


def personal() -> list[str]:
    """What must be in no log, in the forms that it comes in."""
    raw = secrets.token_bytes(32)
    return [
        raw.hex(),
        raw.hex().upper(),
        b64encode(raw).decode(),
        urlsafe_b64encode(raw).decode().rstrip("="),
        repr(raw),
        secrets.token_hex(16),
        sign(b"{}", IdentityKey.generate(), typ="consent", kid="k"),
        "Bearer " + secrets.token_urlsafe(12),
        *synthetic_usccs(["331100"], 7)[:1],
        "11010519491231002X",
        "13800138000",
        "+86 13912345678",
        "330123900101123",
        "wang.wei@example.org",
        "postgresql://digua:geheim@host/name",
    ]


PERSONAL = personal()


@pytest.mark.parametrize("value", PERSONAL, ids=range(len(PERSONAL)))  # two workers must name them alike
def test_texts_lose_what_tells_of_a_person(value: str) -> None:
    secret = "geheim" if "geheim" in value else value
    for sentence in ("{}", "It was {}.", "id={}, code x", "商户{}的授权", '{{"pseudonym": "{}"}}'):
        assert secret not in scrubbed(sentence.format(value))


@given(st.sampled_from([16, 32, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_no_bytes_pass_in_any_form(raw: bytes) -> None:
    for form in (raw.hex(), b64encode(raw).decode(), repr(raw)):
        assert form not in scrubbed(f"refused {form} here")


def test_what_operators_need_stays() -> None:
    sentence = (
        "bank-a.example.org:8443 refused model sha256:" + "ab" * 32 + " of campaign lishui-20261129 at "
        "2026-11-29T08:00:00Z: 12345 rows, /var/lib/digua/data/store.sqlite is full"
    )
    assert scrubbed(sentence) == sentence


def test_unknown_fields_are_withheld(lines: list[dict[str, Any]]) -> None:
    structlog.get_logger("here").warning("refused", merchant="91330000MA2ABCDE1X", code="consent-revoked", size="x")
    (line,) = lines
    assert line["withheld"] == "merchant"
    assert "merchant" not in line
    assert (line["event"], line["code"], line["level"], line["size"]) == (
        "refused", "consent-revoked", "warning", WITHHELD,
    )  # fmt: skip


def test_failures_keep_places_and_kinds_but_not_words(lines: list[dict[str, Any]]) -> None:
    class Body(BaseModel):
        age: int

    def parse() -> None:
        try:
            Body.model_validate_json('{"age": "income 4711 yuan"}')
        except ValidationError as error:
            raise ValueError("merchant 王小明 earns 4711 yuan") from error

    try:
        parse()
    except ValueError:
        structlog.get_logger("here").exception("failed")
        logging.getLogger("here").exception("by the standard library")
    for line in lines:
        assert "4711 yuan" not in str(line)
        assert "王小明" not in str(line)
        assert line["exception"].splitlines()[-1] == "builtins.ValueError"
        assert "pydantic_core._pydantic_core.ValidationError" in line["exception"]
        assert "test_models_ops_logs.py" in line["exception"]
    assert len(list(lines)) == 2


def said_of(error: BaseException) -> str:
    return str(failures(None, "error", {"exc_info": error})["exception"])


def test_words_of_ours_and_of_the_system_stay() -> None:
    assert said_of(StateError("No key.", remedy="x")).endswith("No key.")
    assert said_of(DataError("row 3 has no column")).endswith("data-invalid: row 3 has no column")
    assert said_of(OSError(28, "No space left on device", "/home/wang/x")).endswith("No space left on device")
    assert said_of(OperationalError("SELECT 'wang'", {}, sqlite3.OperationalError("disk is full"))).endswith("is full")


def test_a_databases_complaint_loses_its_values() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (name TEXT PRIMARY KEY)"))
        connection.execute(text("INSERT INTO t VALUES (:name)"), {"name": "wang"})
        with pytest.raises(IntegrityError) as caught:
            connection.execute(text("INSERT INTO t VALUES (:name)"), {"name": "wang"})
    assert "wang" in str(caught.value)
    assert "wang" not in said_of(caught.value)


def test_a_group_of_failures_is_told_one_by_one() -> None:
    told = said_of(ExceptionGroup("wang", [ValueError("wang"), StateError("Gone.")]))
    assert "wang" not in told
    assert "builtins.ValueError" in told
    assert told.endswith("Gone.")


def test_the_request_stands_on_every_line(lines: list[dict[str, Any]]) -> None:
    here = TraceContext.fresh()
    with carrying(here):
        structlog.get_logger("here").info("one")
        logging.getLogger("here").info("two")
    structlog.get_logger("here").info("three")
    assert [line.get("request_id") for line in lines] == [here.trace_id, here.trace_id, None]


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text() | st.integers() | st.none() | st.binary()))
def test_the_guard_never_fails(event: dict[str, Any]) -> None:
    json.dumps(dict(guard(None, "info", dict(event))))


def calls() -> Iterator[tuple[str, ast.Call]]:
    for package in ("hub", "nodes", "models"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and getattr(node.func.value, "id", "") in ("_LOG", "_logger")
                ):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_what_the_program_logs_is_known_and_events_are_names() -> None:
    found = list(calls())
    assert len(found) > 60
    for place, call in found:
        event = call.args[0]
        assert len(call.args) == 1, f"{place}: values go into fields"
        assert isinstance(event, ast.Constant), f"{place}: the event is a fixed name"
        assert str(event.value).replace("-", "").isalpha(), f"{place}: {event.value!r} is no name"
        for keyword in call.keywords:
            assert keyword.arg in FIELDS | {"exc_info"}, f"{place}: {keyword.arg} is not in models/ops/log_guard.py"


def test_fields_are_of_one_kind() -> None:
    assert not TEXTS & NUMBERS
    assert not (TEXTS | NUMBERS) & log_guard.NAMES


def test_commands_write_no_log_to_standard_output() -> None:
    program = (
        "import structlog; from models.ops.logs import quiet_logs; quiet_logs();"
        "log = structlog.get_logger('hub.x'); log.info('unseen'); log.warning('seen', code='c')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "seen" in done.stderr
    assert "unseen" not in done.stderr
