"""The desks of banks, the programme office, operators and the regulator: their routes and places in the navigation."""

from __future__ import annotations

from fastapi import APIRouter

from hub.platform.merchant_import import MAX_BYTES
from hub.platform.web import (
    bank,
    bank_financings,
    office,
    office_grants,
    office_policies,
    office_statistics,
    operator_access,
    operator_facts,
    operator_register,
    regulator,
    regulator_merchants,
)
from models.web.pages import NavItem

ROUTERS: tuple[APIRouter, ...] = (
    bank.router,
    bank_financings.router,
    office.router,
    office_grants.router,
    office_policies.router,
    office_statistics.router,
    operator_register.router,
    operator_facts.router,
    operator_access.router,
    regulator.router,
    regulator_merchants.router,
)
NAV: tuple[NavItem, ...] = (
    *bank.NAV,
    *office.NAV,
    *office_policies.NAV,
    *operator_register.NAV,
    *operator_access.NAV,
    *regulator.NAV,
)
UPLOADS = {operator_register.IMPORT: MAX_BYTES}
"""Beginnings of paths that take files, and how many bytes."""
