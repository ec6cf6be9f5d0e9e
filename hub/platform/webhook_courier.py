"""Delivers events to banks' core systems: over HTTPS, to configured addresses alone, again and again until it gives up.

A try that fails waits twice as long as the one before, up to some hours (`tenacity` computes it); after the last the
event is dead, which people see and can have tried again. An address that redirects is not followed.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from datetime import UTC
from typing import Self
from urllib.parse import urlsplit

import httpx
import structlog
from pydantic import BaseModel, ConfigDict, JsonValue, field_validator
from tenacity import RetryCallState, Retrying, wait_exponential

from crypto.canonical import canonical_bytes
from crypto.jws import sign
from crypto.keys import IdentityKey
from hub.clock import Clock
from hub.config import ConfigPath
from hub.platform.webhook_box import Event, WebhookBox

TYP = "platform-event"
MAX_TRIES = 12
_LOG = structlog.get_logger("hub.platform.webhooks")
_WAIT = wait_exponential(multiplier=15, max=6 * 3600)
_BATCH = 20
_TIMEOUT_S = 10.0


class WebhookEndpoint(BaseModel):
    """Where a bank's core system takes events.

    Attributes:
        url: `https://` only, without a query, a fragment or an account.
        ca_file: PEM of a private certificate authority; the system's authorities where left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    ca_file: ConfigPath | None = None

    @field_validator("url")
    @classmethod
    def _secure(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("must be an address such as https://core.bank-01.example.org/digua")
        return url


class Courier:
    """Works on the outbox until it is closed.

    Args:
        box: the outbox.
        endpoints: by bank.
        key, kid: the platform's, for signatures.
        clock: the time.
        transport: of the connections, in the place of a real one.
    """

    def __init__(
        self,
        box: WebhookBox,
        endpoints: Mapping[str, WebhookEndpoint],
        *,
        key: IdentityKey,
        kid: str,
        clock: Clock,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._box = box
        self._endpoints = dict(endpoints)
        self._key = key
        self._kid = kid
        self._clock = clock
        self._clients = {
            bank: httpx.Client(
                timeout=_TIMEOUT_S,
                trust_env=False,
                follow_redirects=False,
                verify=True if each.ca_file is None else ssl.create_default_context(cafile=str(each.ca_file)),
                transport=transport,
            )
            for bank, each in self._endpoints.items()
        }
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def start(self, every_s: float = 1.0) -> None:
        """Deliver in a thread of its own, looking for what is due every so many seconds."""

        def work() -> None:
            while not self._stop.is_set():
                try:
                    worked = self.deliver_due()
                except Exception as error:  # the database may be away for a while; the next look tries again
                    _LOG.error("webhooks-failed", exc_info=error)
                    worked = 0
                if not worked:
                    self._stop.wait(every_s)

        self._thread = threading.Thread(target=work, name="webhooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after its present try, and close all connections."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for client in self._clients.values():
            client.close()

    def deliver_due(self) -> int:
        """Try what is due now, once each; returns how many were tried."""
        events = self._box.claim(_BATCH)
        for event in events:
            failure = self._try(event)
            if failure is None:
                self._box.delivered(event.event_id)
                continue
            again_in = None if event.tries + 1 >= MAX_TRIES else _seconds_before_next(event.tries + 1)
            self._box.failed(event.event_id, failure, again_in=again_in)
            level = _LOG.error if again_in is None else _LOG.warning
            level("webhook-not-delivered", party=event.bank, count=event.tries + 1, reason=failure)
        return len(events)

    def signed(self, event: Event) -> str:
        """The event as it is sent now."""
        sent_at = self._clock().astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        payload: dict[str, JsonValue] = {"sent_at": sent_at, "event": event.body}
        return sign(canonical_bytes(payload), self._key, typ=TYP, kid=self._kid)

    def _try(self, event: Event) -> str | None:
        endpoint = self._endpoints.get(event.bank)
        if endpoint is None:
            return "no address is configured for this bank"
        try:
            answer = self._clients[event.bank].post(
                endpoint.url,
                content=self.signed(event),
                headers={"Content-Type": "application/jose", "Idempotency-Key": event.event_id},
            )
        except httpx.HTTPError as error:
            return type(error).__name__
        return None if answer.is_success else f"HTTP {answer.status_code}"


def _seconds_before_next(tries: int) -> float:
    """How long to wait after so many tries: 15 seconds, then twice as long each time, up to six hours."""
    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = tries
    return float(_WAIT(state))
