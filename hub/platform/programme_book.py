"""Keeps the programmes of subsidies: versions are published and never change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hub.platform.lending import Lending
from hub.platform.publishing import publish_version
from hub.platform.subsidy_errors import ProgrammeError, ProgrammeUnknownError
from hub.platform.subsidy_rules import RULES, PremiumRule, SubsidyRule
from hub.platform.tables.subsidies import ProgrammeRow


@dataclass(frozen=True)
class Programme:
    """A version of a programme, as it stays."""

    version: int
    rule: SubsidyRule | PremiumRule
    sha256: str


class ProgrammeBook:
    """All programmes."""

    def __init__(self, lending: Lending) -> None:
        self._its = lending
        self._parsed: dict[tuple[str, int], Programme] = {}

    def publish_in(self, session: Session, actor: str, rules: Sequence[SubsidyRule | PremiumRule]) -> list[Programme]:
        """Publish rules; each that differs from its newest version becomes the next one. All, or none."""
        return [self._publish(session, actor, each) for each in rules]

    def newest_in(self, session: Session, programme: str) -> Programme:
        """Return the newest version of a programme.

        Raises:
            ProgrammeUnknownError: there is none.
        """
        version = session.scalar(select(func.max(ProgrammeRow.version)).where(ProgrammeRow.programme == programme))
        if version is None:
            raise ProgrammeUnknownError(
                f"There is no programme {programme}.",
                field="programme",
                remedy="Publish its rule first, or name one that is published.",
            )
        return self.version_in(session, programme, version)

    def version_in(self, session: Session, programme: str, version: int) -> Programme:
        """Return a version that is known to be there."""
        known = self._parsed.get((programme, version))
        if known is None:
            row = session.get_one(ProgrammeRow, (programme, version))
            known = Programme(row.version, RULES.validate_json(row.rule), row.sha256)
            self._parsed[programme, version] = known  # a version never changes
        return known

    def all(self) -> list[Programme]:
        """Return the newest version of every programme."""
        with self._its.db.reading() as session:
            names = session.scalars(select(ProgrammeRow.programme).distinct().order_by(ProgrammeRow.programme)).all()
            return [self.newest_in(session, name) for name in names]

    def _publish(self, session: Session, actor: str, rule: SubsidyRule | PremiumRule) -> Programme:
        kinds = select(ProgrammeRow.rule).where(ProgrammeRow.programme == rule.programme).limit(1)
        other = session.scalars(kinds).first()
        if other is not None and RULES.validate_json(other).kind != rule.kind:
            raise ProgrammeError(
                f"Programme {rule.programme} subsidises something else.",
                field="kind",
                remedy="Publish the rule under another name.",
            )
        names = {"programme": rule.programme}
        version, sha256 = publish_version(
            self._its, session, actor, "programme-publish", ProgrammeRow, names, rule=rule
        )
        return Programme(version, rule, sha256)
