"""The platform's own process: its API and pages, events for banks, merchants' answers, and deleting what is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import structlog

from crypto.keys import IdentityKey
from hub.bearer import collector_auth
from hub.listener import serve_app
from hub.platform.app import create_platform
from hub.platform.config import PlatformConfig
from hub.platform.following import Following
from hub.platform.installation import front_of, opened, sign_key
from hub.platform.lending_errors import GatewayError
from hub.platform.services import Platform
from hub.platform.web.site import Front
from hub.platform.webhook_courier import Courier

SWEEP_S = 60.0
STATISTICS_S = 600.0
_logger = structlog.get_logger("hub.platform.serving")


def serve_platform(config: PlatformConfig) -> None:
    """Serve until SIGINT or SIGTERM; from the main thread. Raises as `hub.platform.installation.opened`."""
    key, listen = sign_key(config), config.listen
    with opened(config) as (platform, register), _courier(config, platform, key) as courier:
        stopping = threading.Event()
        front = front_of(config, platform, register)
        upkeep = [
            threading.Thread(target=_repeat, args=(part, every, stopping), name=name, daemon=True)
            for name, every, part in (
                ("sweeper", SWEEP_S, partial(_sweep, platform, front)),
                ("follower", SWEEP_S, partial(_follow, Following(platform, register))),
                ("statistics", STATISTICS_S, partial(_take_statistics, platform)),
            )
        ]
        for each in upkeep:
            each.start()
        courier.start()
        try:
            serve_app(
                create_platform(platform, register, front, collector=collector_auth(config.metrics_token_file)),
                listen,
                config.tls,
                started=lambda: _logger.info("platform-serves", at=listen.host, port=listen.port),
            )
        finally:
            stopping.set()
            for each in upkeep:
                each.join()
    _logger.info("platform-stopped")


def _courier(config: PlatformConfig, platform: Platform, key: IdentityKey) -> Courier:
    return Courier(platform.events, config.webhooks, key=key, kid=config.party_id, clock=platform.clock)


def _repeat(part: Callable[[], None], every: float, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            part()
        except Exception:  # the database may be away for a while; the next round tries again
            _logger.exception("upkeep-failed")
        stopping.wait(every)


def _sweep(platform: Platform, front: Front | None) -> None:
    if gone := platform.scores.sweep():
        _logger.info("scores-swept", count=gone)
    if front is not None and (ended := front.registrations.sweep()):
        _logger.info("registrations-expired", count=ended)


def _follow(following: Following) -> None:
    if done := following.round():
        _logger.info("merchants-followed", count=done)


def _take_statistics(platform: Platform) -> None:
    try:
        if taken := platform.statistics.take_new():
            _logger.info("statistics-taken", count=taken)
    except GatewayError as error:
        _logger.warning("statistics-not-told", code=error.code, reason=error.message)
