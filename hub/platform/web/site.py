"""The platform's pages as one site: whose they are, and which parts they have."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, FastAPI

from hub.platform.config import PagesOptions
from hub.platform.following import Following
from hub.platform.merchant_book import MerchantBook
from hub.platform.people import PlatformPeople
from hub.platform.registrations import Registrations
from hub.platform.services import Platform
from hub.platform.web import (
    desks,
    merchant,
    merchant_financings,
    merchant_offers,
    merchant_policies,
    registrations,
    words,
)
from hub.platform.web.access import make_access
from models.web.app import install_pages
from models.web.language import APIS
from models.web.pages import NavItem, Pages

ROUTERS: tuple[APIRouter, ...] = (
    registrations.router,
    merchant.router,
    merchant_offers.router,
    merchant_financings.router,
    merchant_policies.router,
    *desks.ROUTERS,
)
"""The parts; each is a module of this package."""
NAV: tuple[NavItem, ...] = (
    *merchant.NAV,
    *merchant_offers.NAV,
    *merchant_financings.NAV,
    *merchant_policies.NAV,
    *registrations.NAV,
    *desks.NAV,
)


@dataclass(frozen=True)
class Front:
    """What the pages work on beside the platform itself.

    Attributes:
        people: who may open them.
        registrations: merchants who ask for an account.
        following: looks whether merchants have answered.
    """

    people: PlatformPeople
    registrations: Registrations
    following: Following


def open_front(options: PagesOptions, platform: Platform, register: MerchantBook) -> Front:
    """Open the pages of a platform; AccessStateError where their key file cannot be used."""
    access = make_access(options, platform.name, platform.db, platform.audit, platform.clock)
    people = PlatformPeople(platform.db, platform.audit, access, register)
    registrations = Registrations(platform.db, platform.audit, platform.clock, access.vault, register, people)
    return Front(people, registrations, Following(platform, register))


def install(app: FastAPI, platform: Platform, front: Front) -> None:
    """Put the pages on the platform's application, whose handlers of errors are there already."""
    app.state.people = front.people
    app.state.registrations = front.registrations
    app.state.following = front.following
    pages = Pages("hub.platform.web", title=platform.name, nav=[*NAV])
    words.install(pages)
    pages.environment.globals["newcomers"] = "/register"  # at the sign-in
    install_pages(app, front.people.access, pages, uploads=desks.UPLOADS, apart=APIS)
    for router in ROUTERS:
        app.include_router(router)
