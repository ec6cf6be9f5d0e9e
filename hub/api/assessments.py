"""Impact assessments: for the administrator and the witness."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from crypto.wire.assessment import AssessmentList, AssessmentSubmission, ImpactAssessment
from hub.api.dependencies import AdminOnly, HubOf, RawBody, answer, parse, signed_party
from hub.api.described import about
from hub.errors import ForbiddenError
from hub.parties import WITNESS

router = APIRouter(prefix="/v1/assessments", tags=["assessments"])


@router.post(
    "",
    dependencies=[AdminOnly],
    **about(takes=AssessmentSubmission, gives=ImpactAssessment, status=201, caller="administrator"),
)
def register_assessment(hub: HubOf, body: RawBody) -> Response:
    """Register the report on a campaign's models, for good."""
    return answer(hub.assessments.register(parse(body, AssessmentSubmission)), 201)


@router.get("", dependencies=[AdminOnly], **about(gives=AssessmentList, caller="administrator"))
def list_assessments(hub: HubOf) -> Response:
    """List all assessments, the newest first."""
    return answer(AssessmentList(assessments=hub.assessments.all()))


@router.get("/{sha256}", **about(gives=("text/markdown", "application/pdf"), caller="administrator"))
def read_report(hub: HubOf, request: Request, sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]) -> Response:
    """Return a report's exact bytes to the administrator, or to the witness with its signature."""
    authorization = request.headers.get("authorization") or ""
    if authorization.lower().startswith("digua "):
        if signed_party(request, hub).kind != WITNESS:
            raise ForbiddenError("Reports are for the witness.", field="Authorization", remedy="Ask the operator.")
    else:
        hub.admin.check(authorization)
    found = hub.assessments.report(sha256)
    headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
    return Response(found.document, media_type=found.media_type, headers=headers)
