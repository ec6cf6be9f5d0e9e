"""A platform's folder: made once with configuration, keys and database, and opened from its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crypto.keys import IdentityKey, encode_pem
from hub.clock import Clock, utc_now
from hub.db import Database, open_database
from hub.fresh_folder import first_config
from hub.keys import read_secret, write_secret
from hub.platform.audit import AuditRecord
from hub.platform.callers import CallerBook
from hub.platform.config import PlatformConfig, load_platform_config, sample_platform_config
from hub.platform.errors import PlatformStateError
from hub.platform.financing_book import FinancingBook
from hub.platform.gateway import gateway_at
from hub.platform.lending import Lending
from hub.platform.merchant_book import MerchantBook
from hub.platform.migrations.runner import VERSIONS
from hub.platform.people import PlatformPeople
from hub.platform.product_book import ProductBook
from hub.platform.services import Platform, open_platform
from hub.platform.web.access import make_access
from hub.platform.web.site import Front, open_front
from hub.platform.webhook_box import WebhookBox
from models.web.vault import open_vault

CONFIG_FILE = "platform.yaml"


@dataclass(frozen=True)
class Desk:
    """What commands on the platform's machine need; no gateway.

    Attributes:
        callers: keys of the API.
        register: merchants.
        people: who may open the pages; None where there are none.
        products, financings: of the banks.
        box: events for banks.
    """

    db: Database
    audit: AuditRecord
    callers: CallerBook
    register: MerchantBook
    people: PlatformPeople | None
    products: ProductBook
    financings: FinancingBook
    box: WebhookBox


def initialise(directory: Path, *, party_id: str, port: int) -> PlatformConfig:
    """Make a new platform in a folder; nothing that is there is overwritten.

    Raises:
        PlatformStateError: the folder holds a platform's files.
        PlatformConfigError: the id or the port cannot be used.
    """
    others = ("keys", "platform.sqlite")
    config = first_config(
        directory / CONFIG_FILE,
        sample_platform_config(party_id, port),
        load_platform_config,
        others=others,
        error=PlatformStateError,
    )
    write_secret(config.sign_key_file, encode_pem(IdentityKey.generate()))
    open_vault(config.key_file)
    migrate(config)
    return config


def migrate(config: PlatformConfig) -> None:
    """Bring the database to the newest schema."""
    db = open_database(config)
    try:
        VERSIONS.migrate(db)
    finally:
        db.close()


def sign_key(config: PlatformConfig) -> IdentityKey:
    """The key that signs events."""
    return IdentityKey.from_pem(read_secret(config.sign_key_file))


@contextmanager
def at_desk(config: PlatformConfig, *, clock: Clock = utc_now) -> Iterator[Desk]:
    """Open register, lending and keys of the API.

    Raises:
        StateError: the database has another schema.
        PlatformStateError: the key file is absent.
    """
    db = open_database(config)
    try:
        VERSIONS.check_schema(db)
        audit = AuditRecord(db, clock)
        register = _register(config, db, audit, clock)
        box = WebhookBox(db, clock, config.webhooks)
        lending = Lending(db, audit.write, clock, register.applicant, box)
        products = ProductBook(lending)
        people = _people(config, db, audit, clock, register)
        callers, financings = CallerBook(db, audit, clock), FinancingBook(lending, products)
        yield Desk(db, audit, callers, register, people, products, financings, box)
    finally:
        db.close()


@contextmanager
def opened(config: PlatformConfig, *, clock: Clock = utc_now) -> Iterator[tuple[Platform, MerchantBook]]:
    """Open the whole platform; raises as `at_desk`, and StateError where the gateway's token cannot be read."""
    token = read_secret(config.gateway.token_file).decode().strip()
    db = open_database(config)
    try:
        VERSIONS.check_schema(db)
        register = _register(config, db, AuditRecord(db, clock), clock)
        gateway = gateway_at(config.gateway.url, token)
        try:
            yield open_platform(config.party_id, db, register, gateway, told=config.webhooks, clock=clock), register
        finally:
            gateway.close()
    finally:
        db.close()


def front_of(config: PlatformConfig, platform: Platform, register: MerchantBook) -> Front | None:
    """The pages of an open platform; None where it has none. AccessStateError: their key file cannot be used."""
    return None if config.pages is None else open_front(config.pages, platform, register)


def _people(
    config: PlatformConfig, db: Database, audit: AuditRecord, clock: Clock, register: MerchantBook
) -> PlatformPeople | None:
    if config.pages is None:
        return None
    return PlatformPeople(db, audit, make_access(config.pages, config.party_id, db, audit, clock), register)


def _register(config: PlatformConfig, db: Database, audit: AuditRecord, clock: Clock) -> MerchantBook:
    if not config.key_file.exists():  # a new one would open no identifier, and find none
        raise PlatformStateError(
            f"{config.key_file} is not there.", field="key_file", remedy="Restore it from its backup."
        )
    return MerchantBook(db, audit, clock, open_vault(config.key_file), config.industries)
