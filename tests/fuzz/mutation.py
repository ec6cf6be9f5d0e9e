"""Changes inside JSON, which libFuzzer's changes of bytes nearly always break before any field is reached."""

from __future__ import annotations

import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, {}, [], "", "a", "\x00", "\u202e", "１", "a" * 300, 0, 1, -1, 1.5, 1e300, -0.0),
    *((1 << 31) - 1, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 64, 10**400, float("nan"), float("inf")),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-31T08:00:00", "2026-01-31", "9999-12-31"),
    *("2026-01-31T08:00:00.5Z", "AA==", "A" * 43 + "=", "0" * 64, "sha256:" + "0" * 64, "a.b.c", "\ud800"),
)


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes | None:
    """Change one place of a JSON document: whole, behind one byte, or one line of several; None where there is none."""
    draw = random.Random(seed)
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    cut = next((place for place, byte in enumerate(lines[at][:64]) if byte == ord("{")), None)
    if cut is None:
        return None
    try:
        document = json.loads(lines[at][cut:])
    except (ValueError, RecursionError):
        return None
    places = list(_places(document))
    if not places:
        return None
    holder, key = draw.choice(places)
    match draw.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder[key], str):
            inner = mutate_json(holder[key].encode("utf-8", "surrogatepass"), max_size, seed + 1)
            holder[key] = holder[key] + "\n" if inner is None else inner.decode("utf-8", "surrogatepass")
        case 2:
            holder[key] = [holder[key]]
        case 3:
            other, name = draw.choice(places)
            holder[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else None))
        case _:
            holder[key] = draw.choice(VALUES)
    canonical = draw.random() < 0.9
    text = json.dumps(document, sort_keys=canonical, separators=(",", ":"), ensure_ascii=not canonical)
    lines[at] = lines[at][:cut] + text.encode("utf-8", "surrogatepass")
    made = b"\n".join(lines)
    return made if len(made) <= max_size else None


def _places(value: Any) -> Any:
    """Holder and key of everything in a document."""
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield value, place
            yield from _places(each)
