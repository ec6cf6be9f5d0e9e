"""Outcomes of a bank's financings, for its own node's next campaign."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from hub.platform.api.dependencies import BankOf, PlatformOf
from hub.platform.outcome_book import outcomes_of
from hub.platform.outcomes import OutcomeQuery, as_csv, as_parquet

router = APIRouter(prefix="/v1", tags=["outcomes"])


class OutcomeParameters(OutcomeQuery):
    """`OutcomeQuery`, and the form of the file."""

    form: Literal["csv", "parquet"] = "csv"


@router.get("/outcomes", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def read_outcomes(platform: PlatformOf, bank: BankOf, query: Annotated[OutcomeParameters, Query()]) -> Response:
    """Return the outcomes of the calling bank's financings as the file that `digua-node` reads beside its table."""
    found = outcomes_of(platform.db, platform.merchants, bank.party, query)
    if query.form == "parquet":
        return Response(as_parquet(found, query), media_type="application/vnd.apache.parquet")
    return Response(as_csv(found, query), media_type="text/csv; charset=utf-8")
