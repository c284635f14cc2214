"""Every background job, thin: the spine of the system on one page, and the only place where rooms meet.

Redis and RQ are a doorbell: jobs carry ids only, re-read, check the state, and may run twice. What a lost doorbell
leaves undone, `sweep` finds in the database. No transaction is open while anything outside is talked to.
"""

from __future__ import annotations

import contextlib
import logging
import time
from functools import partial

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from copilot import db as database
from copilot.agents import runs
from copilot.audit import holders, log
from copilot.autonomy import grants
from copilot.db import db, fresh_context, transaction
from copilot.doorbell import enqueue
from copilot.errors import BadInput, Conflict, CopilotError, DuplicateIntent, NotFound, Refused, Unavailable
from copilot.gate import arcs, facts, history
from copilot.gateway import adapters, mcptools, outlog, reads, refusals, reserve, sweeper, writes
from copilot.live import events
from copilot.models import Proposal
from copilot.notify import outbox
from copilot.review import edits, proposals

logger = logging.getLogger(__name__)

SETTLE_TRIES = 5


def run_queued(run_id: str) -> None:
    """After a run was queued: ring for it and tell the pages."""
    enqueue("draft", run_id)
    events.publish("run", run_id)


def proposal_changed(proposal_id: str) -> None:
    """After a proposal changed: ring for its execution, wake the run that waits for it, tell the pages."""
    row = db.session.execute(
        select(Proposal.state, Proposal.run_id, Proposal.agent_id, Proposal.tool).where(Proposal.id == proposal_id)
    ).one()
    database.read_again()
    if row.state == arcs.APPROVED:
        enqueue("execute", proposal_id)
    elif row.state in arcs.TERMINAL and row.run_id is not None:
        with transaction():
            woken = runs.wake(proposal_id)
        if woken is not None:
            enqueue("draft", woken)
    events.publish("proposal", proposal_id, state=row.state)


def ticket_moved(ticket_id: str) -> None:
    """After a ticket's message or status: whatever waits for a person on it is shown anew, so that nobody approves the old picture."""
    waiting = db.session.scalars(select(Proposal.id).where(Proposal.ticket_id == ticket_id, Proposal.state == arcs.PENDING)).all()
    database.read_again()
    for proposal_id in waiting:
        enqueue("refresh", proposal_id)


def draft(run_id: str) -> None:
    """Let an agent work on its ticket until it proposes something, ends, or gives up."""
    with transaction():
        work = runs.claim(run_id)
    if work is None:  # somebody else is at it, it is parked, or it is over
        return
    events.publish("run", run_id)
    reached = runs.advance(work)
    if isinstance(reached, runs.Wants):
        _propose(work, reached)
        return
    with transaction():
        if isinstance(reached, runs.Finished):
            ended = runs.finish(work, "DONE", "done", reached.text)
        else:
            ended = runs.finish(work, "NEEDS_HUMAN", reached.code, reached.reason)
    if not ended:  # the customer wrote meanwhile; harmless when another worker has it
        enqueue("draft", run_id)
    events.publish("run", run_id)


def _propose(work: runs.Work, wants: runs.Wants) -> None:
    """Turn a draft into a proposal and park the run on it, or tell the agent why it could not become one."""
    wish = proposals.Draft(
        agent_id=work.agent_id,
        tool=wants.tool,
        arguments=wants.arguments,
        rationale=wants.rationale,
        confidence=wants.confidence,
        ticket_id=work.ticket_id,
        run_id=work.run_id,
        requester_id=work.requester_id,
        request_key=f"{work.run_id}:{wants.call_id}",
        heard=work.heard,
    )
    try:
        prepared = proposals.prepare(wish)
        with transaction():
            proposal_id = proposals.propose(prepared).id
            runs.park(work, proposal_id, call_id=wants.call_id)
    except runs.ClaimLost:
        return
    except (BadInput, Conflict, NotFound, Refused, Unavailable) as error:
        with contextlib.suppress(runs.ClaimLost):
            _told_why(work, wants.call_id, error)
        events.publish("run", work.run_id)
    else:
        proposal_changed(proposal_id)
        refresh(proposal_id)  # the customer may have written while the agent drafted


def _told_why(work: runs.Work, call_id: str, error: CopilotError) -> None:
    """A wish that became no proposal: later again when a tool was down, else the agent hears why and goes on."""
    if isinstance(error, Unavailable):
        with transaction():
            runs.put_back(work, code="tool-unavailable", reason=str(error))
        return
    outcome = "duplicate" if isinstance(error, DuplicateIntent) else "denied"
    with transaction():
        again = runs.answer(work, call_id, outcome=outcome, message=str(error))
    if again is not None:
        enqueue("draft", again)


def execute(proposal_id: str) -> None:
    """Run one approved action at most once, however often the job is delivered."""
    try:
        observed = reads.observe(proposal_id)
    except Unavailable as error:  # the target cannot be looked at, so nothing is claimed; the sweeper tries again
        logger.warning("execute %s: %s", proposal_id, type(error).__name__)
        with transaction():
            sent_back = refusals.unreachable(proposal_id)
        if sent_back is not None:
            proposal_changed(proposal_id)
        return
    if observed is None:
        return
    with transaction():
        claim = writes.claim(proposal_id, observed)
    if claim is None:  # already running, already done, withdrawn, or stopped by the kill switch
        return
    if isinstance(claim, refusals.NotClaimed):
        if claim.refresh:
            _look_again(proposal_id)
    else:
        result = writes.stopped(claim) or adapters.perform(claim, late=partial(_late, claim))  # no transaction open
        _settle(claim, result)
    proposal_changed(proposal_id)


def _settle(claim: adapters.Claim, result: adapters.Result) -> None:
    """Record the outcome; a database that is busy or away for a moment must not turn a known outcome into an unknown one."""
    for again in range(SETTLE_TRIES):
        try:
            with transaction():
                writes.settle(claim, result)
            return
        except OperationalError:
            if again == SETTLE_TRIES - 1:
                raise
            time.sleep(0.2 * 2**again)


def _late(claim: adapters.Claim, result: adapters.Result) -> None:
    """A call that was given up on has ended after all; runs in the call's own thread."""
    with fresh_context():
        with transaction():
            writes.late(claim, result)
        proposal_changed(claim.proposal_id)


def refresh(proposal_id: str) -> None:
    """Show people how things stand now: a new version of a waiting proposal, when the customer wrote or the ticket moved since."""
    snap = facts.snapshot(proposal_id)
    outdated = snap.proposal.state == arcs.PENDING and facts.outdated(snap) is not None
    database.read_again()
    if outdated:
        _look_again(proposal_id)
        proposal_changed(proposal_id)


def _look_again(proposal_id: str) -> None:
    try:
        edit = edits.prepare_refresh(proposal_id)
        with transaction():
            edits.refresh(proposal_id, edit)
    except CopilotError as error:  # it stays in the queue as it is; approving it leads back here
        logger.warning("refresh %s: %s", proposal_id, type(error).__name__)


def look_up(proposal_id: str) -> None:
    """Ask the tool whether an unknown outcome happened; not found proves nothing."""
    question = reads.question(proposal_id)
    if question is None:
        return
    found = adapters.look_up(question.tool, proposal_id, question.call)
    if found is None:
        return
    with transaction():
        closed = writes.evidence(proposal_id, question.tool, found)
    if closed:
        proposal_changed(proposal_id)


def deliver() -> None:
    """Send what waits in the outbox."""
    outbox.drain()


replay = history.run  # judge what was recorded again with a draft of the policies
look_again = mcptools.look_again  # ask foreign servers whether their tools are still what people accepted


def roll_up() -> None:
    """Take back what no longer earns running alone, forget old counters and calls, ring again for replays nobody began."""
    with transaction():
        fallen = grants.recheck()
        reserve.forget(database.now())
        outlog.forget(database.now())
    if fallen:
        events.publish("grants", "all")
    for version_id in history.asked():
        enqueue("replay", version_id)


def sequence() -> None:
    """Give committed audit events their leaves."""
    while True:
        with transaction():
            count = log.sequence()
        if count < 1000:
            return


def sweep() -> None:
    """Repair from the database whatever a lost job, a dead worker or a late person left behind.

    Each step stands alone: one that fails is logged and tried again in five seconds, and keeps no other from its work.
    """
    with transaction():
        if not holders.hold("sweep", holders.me(), 30):
            return
    for step in (_sweep_runs, _sweep_lapsed, _sweep_approved, _sweep_unknown, _sweep_waiting):
        try:
            step()
        except Exception:
            logger.exception("the sweep's step %s failed", step.__name__.removeprefix("_sweep_"))


def _sweep_runs() -> None:
    now = database.now()
    with transaction():
        ready = [*runs.expired(now), *runs.stranded(), *runs.undispatched(now)]
    for run_id in dict.fromkeys(ready):
        enqueue("draft", run_id)


def _sweep_lapsed() -> None:
    for proposal_id in sweeper.lapsed():
        with transaction():
            changed = sweeper.lapse(proposal_id)
        if changed is not None:
            proposal_changed(proposal_id)


def _sweep_approved() -> None:
    with transaction():
        waiting = sweeper.undispatched()
    for proposal_id in waiting:
        enqueue("execute", proposal_id)


def _sweep_unknown() -> None:
    with transaction():
        questions = sweeper.to_look_up()
        sweeper.escalate()
    for proposal_id in questions:
        enqueue("look_up", proposal_id)


def _sweep_waiting() -> None:
    with transaction():
        sweeper.forget_intents()
        due = sweeper.due()
    for proposal_id in due:
        with transaction():
            ended = sweeper.remind_or_expire(proposal_id)
        if ended is not None:
            proposal_changed(proposal_id)


def beat(name: str, kind: str) -> None:
    """Leave a sign of life of this process."""
    with transaction():
        holders.beat(name, kind)
