"""Proposals: an agent proposes and withdraws its own, people see all, anyone may wait for the next change."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

from flask import Response, request
from sqlalchemy import func, select

from copilot import db as database
from copilot import jobs
from copilot.agents import intake
from copilot.api import answers, bodies, edge
from copilot.api.edge import bp
from copilot.db import db, transaction
from copilot.errors import BadInput, NotFound
from copilot.gate import arcs, identity
from copilot.models import Agent, Decision, Proposal, User
from copilot.people.tokens import Principal
from copilot.review import decisions, inbox
from copilot.review import proposals as proposing

MOST_WAITING = 16  # requests that wait at once in this process; one more is answered at once instead of taking a thread

_KEY = re.compile(r"[!-~]{1,128}\Z")
_waiting = threading.BoundedSemaphore(MOST_WAITING)


@bp.post("/proposals")
def propose() -> Response:
    """Propose one action: 201 whatever the gate made of it, 200 when the idempotency key was used before."""
    principal = edge.agent()
    key = _idempotency_key()
    sent = edge.body(bodies.ProposalBody)
    _covered(principal, sent.tool)
    ticket = intake.by_either_id(sent.ticket_id) if sent.ticket_id else None
    draft = proposing.Draft(
        agent_id=principal.agent_id,
        tool=sent.tool,
        arguments=sent.arguments,
        rationale=sent.rationale,
        confidence=sent.confidence,
        ticket_id=ticket.id if ticket else None,
        requester_id=ticket.requester_id if ticket else None,
        request_key=f"{principal.agent_id}:{key}",
        token_scopes=principal.scopes,
    )
    repeated = db.session.scalar(select(Proposal.id).where(Proposal.request_key == draft.request_key)) is not None
    database.read_again()
    prepared = proposing.prepare(draft)
    database.read_again()
    with transaction():
        proposal_id = proposing.propose(prepared).id
    jobs.proposal_changed(proposal_id)
    return answers.reply(answers.proposal(proposal_id), 200 if repeated else 201)


@bp.get("/proposals")
def list_proposals() -> Response:
    """One page: those that wait by oldest deadline, any other state by newest; an agent sees its own."""
    known = edge.caller()
    asked = edge.query(bodies.ProposalsQuery)
    page = inbox.queue(
        known if isinstance(known, User) else None,
        state=asked.state,
        tool=asked.tool,
        risk=asked.risk,
        agent=known.agent_id if isinstance(known, Principal) else None,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return answers.reply(answers.ProposalsAnswer(items=answers.proposals(item.id for item in page.items), next=page.next))


@bp.get("/proposals/<proposal_id>")
def show_proposal(proposal_id: str) -> Response:
    """One proposal; with `wait`, as soon as it changes or when that time is over."""
    visible(proposal_id)
    asked = edge.query(bodies.WaitQuery)
    if asked.wait:
        _wait(proposal_id, seconds=asked.wait)
    return answers.reply(answers.proposal(proposal_id))


@bp.post("/proposals/<proposal_id>/withdraw")
def withdraw(proposal_id: str) -> Response:
    """Take a proposal back before anything happened."""
    known = edge.caller()
    visible(proposal_id)
    sent = edge.body(bodies.WithdrawBody, may_be_empty=True)
    with transaction():
        if isinstance(known, Principal):
            decisions.withdraw(proposal_id, by_agent=known.agent_id, note=sent.note, via="api")
        else:
            decisions.withdraw(proposal_id, by_user=known, note=sent.note, via="api")
    jobs.proposal_changed(proposal_id)
    return answers.reply(answers.proposal(proposal_id))


def visible(proposal_id: str) -> None:
    """NotFound unless the caller may see this proposal: an agent its own, a person any."""
    known = edge.caller()
    owner = db.session.scalar(select(Proposal.agent_id).where(Proposal.id == proposal_id))
    if owner is None or (isinstance(known, Principal) and owner != known.agent_id):
        raise NotFound("There is no such proposal.")


def _idempotency_key() -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not _KEY.match(key):
        sentence = "is needed: 1 to 128 printable ASCII characters without blanks, the same for each repeat of one request"
        raise BadInput(f"The header Idempotency-Key {sentence}.", problems={"Idempotency-Key": sentence})
    return key


def _covered(principal: Principal, tool: str) -> None:
    """Refuse what this token leaves out. What the agent itself was never granted goes on to the gate, which records it."""
    granted = db.session.get_one(Agent, principal.agent_id).scopes
    if identity.allows_somewhere(granted, tool, "write") and not identity.allows_somewhere(principal.scopes, tool, "write"):
        raise edge.uncovered(tool, "write")


def _wait(proposal_id: str, *, seconds: float) -> None:
    """Return at the next change, when `seconds` are over, or at once when the proposal is final or too many wait."""
    if not _waiting.acquire(blocking=False):
        return
    try:
        first, ends, pause = _marks(proposal_id), time.monotonic() + seconds, 0.05
        while first[0] not in arcs.TERMINAL and (left := ends - time.monotonic()) > 0:
            database.read_again()  # nothing is held open while it sleeps
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.4)
            if _marks(proposal_id) != first:
                return
    finally:
        database.read_again()
        _waiting.release()


def _marks(proposal_id: str) -> tuple[Any, ...]:
    """What a change of any kind would change."""
    decided = select(func.count()).select_from(Decision).where(Decision.proposal_id == Proposal.id).scalar_subquery()
    statement = select(Proposal.state, Proposal.version, Proposal.digest, Proposal.fence, decided).where(Proposal.id == proposal_id)
    return tuple(db.session.execute(statement).one())
