"""Pages of merchants' tickets: what waits, one of them opened by whoever answers it, its answer.

The list names no merchant. Opening a text is a look at personal data: it is recorded before anything is shown.
"""

from __future__ import annotations

from typing import Annotated, cast, get_args

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from crypto.errors import CryptoError
from crypto.wire.ticket import TEXT_CHARACTERS, TicketDecision
from models.errors import ModelsError
from models.i18n import LANGUAGES, catalogue, language_of, title_of
from models.web.access import needs
from models.web.language import language_of_reader
from models.web.listing import Column, Ident, Moment, State, Term, arrange
from models.web.people import Person
from models.web.problems import PageProblem
from models.web.rights import Right
from nodes.errors import NodeError, PeerError
from nodes.explanations import EXPLAINED
from nodes.tickets import ReceivedTicket
from nodes.web.bank import look_at, pages_of
from nodes.web.state import services_of

router = APIRouter(prefix="/bank/tickets")
Officer = Annotated[Person, needs(Right.ANSWER_TICKETS)]

KINDS = {
    "review": "Human review",
    "explanation": "Explanation of the score",
    "correction": "Correction of data",
    "deletion": "Deletion of data",
}
SUBJECTS = {"query": "A query, by its place in the log", "consent": "A consent", "record": "This bank's own record"}
STATES = {"open": "To be answered", "answered": "Answered", "closed": "Closed by the merchant"}
_TONES = {"open": "warn", "answered": "good", "closed": "neutral"}
LANGUAGE_NAMES = {"zh": "中文", "en": "English"}
DECISIONS = {"granted": "Granted", "partly-granted": "Granted in part", "declined": "Not granted"}
COLUMNS: tuple[Column[ReceivedTicket], ...] = (
    Column(
        "ticket",
        "Request",
        lambda row: Ident(row.ticket.ticket_id, f"/bank/tickets/{row.ticket.ticket_id}"),
    ),
    Column("kind", "Asks for", lambda row: Term(KINDS[row.ticket.kind]), lambda row: row.ticket.kind),
    Column("state", "State", lambda row: State(STATES[row.state], _TONES[row.state]), lambda row: row.state),
    Column("received", "Received", lambda row: Moment(row.received_at), lambda row: row.received_at),
    Column("due", "Answer by", lambda row: Moment(row.due_at), lambda row: row.due_at),
)


@router.get("")
def list_tickets(request: Request, person: Officer) -> Response:
    """List the tickets that are not closed; no merchant is named."""
    waiting = services_of(request).tickets.waiting()
    return pages_of(request).render(
        request,
        "tickets/list.html.j2",
        listing=arrange(waiting, COLUMNS, request.query_params, text=lambda row: (row.ticket.ticket_id,)),
        open=sum(each.state == "open" for each in waiting),
    )


@router.get("/{ticket_id}")
def show_ticket(request: Request, ticket_id: str, person: Officer) -> Response:
    """Show a ticket with its text sealed."""
    return _ticket(request, services_of(request).tickets.find(ticket_id))


@router.post("/{ticket_id}/open")
def open_ticket(request: Request, ticket_id: str, person: Officer) -> Response:
    """Open a ticket's text: a look at personal data."""
    received = services_of(request).tickets.find(ticket_id)
    return _ticket(request, received, text=_read(request, received, person))


@router.post("/{ticket_id}/explain")
def draft_explanation(
    request: Request,
    ticket_id: str,
    person: Officer,
    score: Annotated[str, Form()] = "",
    words_in: Annotated[str, Form()] = "zh",
) -> Response:
    """Draft an answer that says how this bank's data about the merchant count; nothing is sent."""
    received = services_of(request).tickets.find(ticket_id)
    text = _read(request, received, person)
    problem, words = None, ""
    if score.strip() and not score.strip().isdecimal():
        problem = PageProblem(title="", detail="A score is a whole number.")
    else:
        try:
            words = services_of(request).explanations.draft(
                received,
                author=person.person_id,
                lang=language_of(words_in),
                score=int(score) if score.strip() else None,
            )
        except (CryptoError, ModelsError, NodeError) as error:
            problem = _problem(error, request)
    status = 200 if problem is None else 422
    return _ticket(request, received, text=text, problem=problem, words=words, known=score, status=status)


@router.post("/{ticket_id}/answer")
def answer_ticket(
    request: Request,
    ticket_id: str,
    person: Officer,
    decision: Annotated[str, Form()] = "",
    words: Annotated[str, Form()] = "",
) -> Response:
    """Answer a ticket, once."""
    tickets = services_of(request).tickets
    received = tickets.find(ticket_id)
    problem = None
    if decision not in get_args(TicketDecision):
        problem = PageProblem(title="", detail="Choose what was decided.")
    else:
        try:
            chosen = cast("TicketDecision", decision)
            tickets.answer(received, chosen, words.replace("\r\n", "\n").strip(), author=person.person_id)
        except (CryptoError, NodeError) as error:
            problem = _problem(error, request)
    if problem is None:
        return RedirectResponse(f"/bank/tickets/{ticket_id}", 303)
    text = _read(request, received, person)
    return _ticket(request, received, text=text, problem=problem, chosen=decision, words=words, status=422)


def _read(request: Request, received: ReceivedTicket, person: Person) -> str:
    look_at(request, person, "ticket", received.merchant or received.ticket.pii_principal_id.hex())
    return services_of(request).tickets.read(received, reader=person.person_id)


def _ticket(
    request: Request,
    received: ReceivedTicket,
    *,
    text: str | None = None,
    problem: PageProblem | None = None,
    chosen: str = "",
    words: str = "",
    known: str = "",
    status: int = 200,
) -> Response:
    return pages_of(request).render(
        request,
        "tickets/ticket.html.j2",
        status,
        of=received,
        kind=KINDS[received.ticket.kind],
        about=SUBJECTS[received.ticket.about.sort],
        state=State(STATES[received.state], _TONES[received.state]),
        decision=None if received.decision is None else DECISIONS[received.decision],
        text=text,
        problem=problem,
        decisions=[("", "Choose"), *DECISIONS.items()],
        chosen=chosen,
        words=words,
        longest=TEXT_CHARACTERS,
        explained=received.ticket.kind in EXPLAINED,
        known=known,
        draft_languages=[(lang, LANGUAGE_NAMES[lang]) for lang in LANGUAGES],
    )


def _problem(error: CryptoError | ModelsError | NodeError, request: Request) -> PageProblem:
    code = (error.peer_code if isinstance(error, PeerError) else None) or error.code
    title = title_of(code, language_of_reader(request), catalogue("nodes")) or code
    return PageProblem(title=title, detail=error.message, remedy=error.remedy, code=code, field=error.field)
