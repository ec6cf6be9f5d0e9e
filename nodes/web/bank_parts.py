"""The bank's pages put on an application: their desks, their routes, their places in the navigation."""

from __future__ import annotations

from fastapi import FastAPI

from models.web.pages import Pages
from nodes.gateway_batches import BatchDesk
from nodes.services import Services
from nodes.web import bank_batch_pages, bank_book_pages, bank_score_pages, bank_ticket_pages
from nodes.web.bank import BankDesks, navigation, put_on

ROUTERS = (bank_score_pages.router, bank_batch_pages.router, bank_book_pages.router, bank_ticket_pages.router)
UPLOADS = bank_batch_pages.UPLOADS


def install(app: FastAPI, pages: Pages, services: Services) -> None:
    """Put the bank's pages on the application of a node's pages; `app.state.batch_desk` works on their batches."""
    desk: BatchDesk = app.state.batch_desk
    put_on(app, BankDesks.of(services, desk))
    pages.nav.extend(navigation())
    for each in ROUTERS:
        app.include_router(each)
