"""What is published in versions that never change: banks' products, programmes' rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes, digest
from hub.clock import seconds
from hub.platform.lending import Lending
from hub.platform.tables.lending import ProductRow
from hub.platform.tables.subsidies import ProgrammeRow

Row = TypeVar("Row", ProductRow, ProgrammeRow)


def publish_version(
    its: Lending,
    session: Session,
    actor: str,
    action: str,
    table: type[Row],
    names: Mapping[str, str],
    **document: BaseModel,
) -> tuple[int, str]:
    """Make what differs from its newest version the next one, and write that down; else leave all as it is.

    Args:
        action: as the audit record names it.
        names: columns and values that name it, apart from the version.
        document: the column of its text, and what it says.

    Returns:
        The version that says it, and the SHA-256 of its canonical text, hex.
    """
    ((column, said),) = document.items()
    text = canonical_bytes(said)
    sha256 = digest(text).hex()
    newest = session.scalars(select(table).filter_by(**names).order_by(table.version.desc()).limit(1)).first()
    if newest is not None and newest.sha256 == sha256:
        return newest.version, sha256
    version = 1 if newest is None else newest.version + 1
    at = seconds(its.clock())
    session.add(table(**names, version=version, **{column: text.decode()}, sha256=sha256, published_at=at))
    session.flush()
    what: dict[str, JsonValue] = {"version": version, "sha256": sha256, column: said.model_dump(mode="json")}
    its.audit(session, actor, action, "/".join(names.values()), what)
    return version, sha256
