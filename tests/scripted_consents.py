"""The platform's gateway as a script: what merchants answer, what their bands are; counts what was asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.platform.gateway import ConsentPurpose, IdType, Request, ScoreFound
from hub.platform.lending_errors import ConsentMissingError, GatewayError
from hub.platform.products import Band
from models.statistics.published import PublishedStatistics


@dataclass
class ScriptedConsents:
    """Attributes:
    words: request → where it or its consent stands.
    bands: identifier → band.
    scored: (identifier, purpose) of every score that was asked for.
    published: campaign → its published report; those of None are refused.
    """

    words: dict[str, str] = field(default_factory=dict)
    bands: dict[str, Band] = field(default_factory=dict)
    asked: dict[str, tuple[str, str, Mapping[str, Any]]] = field(default_factory=dict)
    scored: list[tuple[str, str]] = field(default_factory=list)
    published: dict[str, PublishedStatistics | None] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)

    def ask(self, identifier: str, template: str, fields: Mapping[str, Any], *, key: str, id_type: IdType) -> Request:
        name = self._keys.setdefault(key, f"{len(self._keys):032x}")
        self.asked.setdefault(name, (identifier, template, fields))
        self.words.setdefault(name, "open")
        return Request(name, self.words[name], f"https://hub.example.org/me/requests/{name}", None)

    def standing(self, request_id: str) -> str:
        return self.words[request_id]

    def usable(self, identifier: str, request_id: str) -> bool:
        return self.words.get(request_id) == "given" and self.asked[request_id][0] == identifier

    def score(self, identifier: str, request_id: str, purpose: ConsentPurpose, *, key: str) -> ScoreFound:
        if not self.usable(identifier, request_id):
            raise ConsentMissingError("no consent", field="consent", remedy="ask for it")
        self.scored.append((identifier, purpose))
        band = self.bands[identifier]
        return ScoreFound(640, 0.03, band, ("用电稳定",), "sha256:" + "a" * 64)

    def revoke_link(self, identifier: str, request_id: str) -> str:
        return f"https://hub.example.org/me/consents/{request_id}"

    def reports(self) -> tuple[str, ...]:
        return tuple(self.published)

    def report(self, campaign_id: str) -> PublishedStatistics:
        found = self.published[campaign_id]
        if found is None:
            raise GatewayError("it does not verify", field="opened", remedy="do not use it")
        return found

    def newest(self) -> str:
        """The request that was made last."""
        return list(self.asked)[-1]
