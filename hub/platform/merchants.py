"""A merchant of the programme: what is known of it, who is eligible, and what is wrong with facts as they come. Pure.

Small supermarkets and small inns of people from Lishui, wherever in China they do business.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from crypto.errors import IdentifierError
from crypto.identifiers import normalise
from hub.platform.products import MerchantKind
from models.lishui.places import COUNTIES, PROVINCES
from models.said import Said, said

IdType: TypeAlias = Literal["uscc", "resident-id"]
State: TypeAlias = Literal["active", "closed", "merged"]
KINDS: tuple[MerchantKind, ...] = get_args(MerchantKind)
ID_TYPES: tuple[IdType, ...] = get_args(IdType)
MAX_NAME = 100
_IndustryCode = Annotated[str, Field(pattern=r"^[0-9]{4}$")]
_PLACE = re.compile(r"[1-9][0-9]{5}")


class Industries(BaseModel):
    """Classes of GB/T 4754-2017 that each kind of merchant may be of.

    Attributes:
        supermarket: supermarkets, convenience stores, other general retail.
        inn: economy hotels, other hostels, homestays, other lodging; hotels for tourists (6110) are no small inns.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    supermarket: Annotated[tuple[_IndustryCode, ...], Field(min_length=1)] = ("5212", "5213", "5219")
    inn: Annotated[tuple[_IndustryCode, ...], Field(min_length=1)] = ("6121", "6129", "6130", "6190")

    def of(self, kind: str) -> tuple[str, ...]:
        """Codes of a kind; none for what is no kind."""
        return {"supermarket": self.supermarket, "inn": self.inn}.get(kind, ())


@dataclass(frozen=True)
class Facts:
    """What may be known of a merchant besides its identifier, as it came; unchecked.

    Attributes:
        kind: ``supermarket`` or ``inn``.
        industry: GB/T 4754-2017, four digits.
        origin: GB/T 2260, the county or district of Lishui that its owner comes from.
        place: GB/T 2260, six digits, where it does business; zeros at the end where only prefecture or province is
            known.
    """

    kind: str
    name: str
    industry: str
    origin: str
    place: str


@dataclass(frozen=True)
class Merchant:
    """A merchant's account; its identifier is asked for apart.

    Attributes:
        version: counts the changes of its facts and state, from 1.
        merged_into: the account that stands in the place of a merged one.
    """

    account_id: str
    facts: Facts
    state: State
    registered_at: datetime
    version: int
    merged_into: str | None = None

    @property
    def kind(self) -> str:
        """``supermarket`` or ``inn``."""
        return self.facts.kind

    @property
    def origin(self) -> str:
        """County that it comes from."""
        return self.facts.origin

    @property
    def place(self) -> str:
        """Where it does business."""
        return self.facts.place


@dataclass(frozen=True)
class Fault:
    """What is wrong with a field; both texts are messages of the catalogue."""

    field: str
    what: Said
    remedy: Said


def canonical_identifier(id_type: str, value: str) -> str | Fault:
    """Return an identifier's one spelling, or what is wrong with it; its middle is masked in every message."""
    if id_type not in ID_TYPES:
        return Fault(
            "id_type", said("The type of identifier is not known."), said("Write {known}.", known="uscc, resident-id")
        )
    try:
        return normalise("uscc" if id_type == "uscc" else "resident-id", value)
    except IdentifierError as error:
        return Fault(
            "identifier",
            said("The identifier does not pass its check: {why}", why=error.message),
            said("Compare it with the business licence or the identity card."),
        )


def faults_in(facts: Facts, industries: Industries) -> list[Fault]:
    """Return everything that is wrong with facts; nothing if they hold."""
    found: list[Fault] = []
    if facts.kind not in KINDS:
        found.append(
            Fault("kind", said("This is no kind of merchant."), said("Write {known}.", known=" / ".join(KINDS)))
        )
    elif facts.industry not in industries.of(facts.kind):
        found.append(
            Fault(
                "industry",
                said("This class of GB/T 4754 is not eligible for the kind of merchant."),
                said("Write {known}.", known=" / ".join(industries.of(facts.kind))),
            )
        )
    if not _is_name(facts.name):
        found.append(
            Fault(
                "name",
                said("A name has 1 to {most} characters, no blanks around it, no control characters.", most=MAX_NAME),
                said("Write the name as on the business licence."),
            )
        )
    if facts.origin not in COUNTIES:
        found.append(
            Fault(
                "origin",
                said("This is none of Lishui's nine counties and districts."),
                said("Write {known}.", known=" / ".join(COUNTIES)),
            )
        )
    if _PLACE.fullmatch(facts.place) is None or f"{facts.place[:2]}0000" not in PROVINCES:
        found.append(
            Fault(
                "place",
                said("This is no six-digit code of GB/T 2260 in a province of the mainland."),
                said("Write the county's code, or the prefecture's or province's with zeros at its end."),
            )
        )
    return found


def differences(before: Facts, after: Facts) -> dict[str, tuple[str, str]]:
    """Return what differs, by field: before and after."""
    old, new = vars(before), vars(after)
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def changed_apart(read: Facts, mine: Facts, now: Facts) -> tuple[list[str], Facts]:
    """Put changes on facts that others have changed since they were read.

    Args:
        read: what both changed.
        mine: as they are to be.
        now: as the others left them.

    Returns:
        Names of the facts that both changed, each otherwise; and the facts as they are now, with my changes.
    """
    changes, others = differences(read, mine), differences(read, now)
    both = [name for name in changes if name in others and changes[name] != others[name]]
    return both, replace(now, **{name: after for name, (_, after) in changes.items()})


def facts_of(columns: Mapping[str, str]) -> Facts:
    """Return facts from a mapping that has all of their names."""
    return Facts(**{name: columns[name] for name in Facts.__dataclass_fields__})


def _is_name(name: str) -> bool:
    return (
        1 <= len(name) <= MAX_NAME
        and name == name.strip()
        and not any(unicodedata.category(char) in ("Cc", "Cs", "Cn") for char in name)
    )
