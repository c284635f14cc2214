"""The outbox: a notification is written with the change it tells of, and sent afterwards.

Delivery is at least once: when the process dies after the channel took the message, it goes out again. The dedupe
key stands in the message, so a reader recognises a repeat. One row per dedupe key, however often it is added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copilot import config
from copilot.audit import log
from copilot.db import db, new_id, now, transaction
from copilot.errors import Conflict, NotFound
from copilot.models import Notification
from copilot.notify import channels, messages

KINDS = frozenset(messages.TITLES)
ATTEMPTS = 8
_LEASE = timedelta(seconds=60)
_IN_ONE_GO = 50

_notes: Any = Notification.__table__

Send = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Claim:
    """One row to be sent now. `attempt` counts from 1 and is the fence of its settlement."""

    id: str
    kind: str
    subject: str
    dedupe: str
    fields: Mapping[str, Any]
    attempt: int


def add(kind: str, *, subject: str, dedupe: str, fields: Mapping[str, Any]) -> None:
    """Write one notification in the caller's transaction; a second one with the same `dedupe` changes nothing.

    `fields` hold ids, codes, amounts (`{"minor", "currency"}`) and sentences of ours, never a customer's text. Where no
    webhook is set up the row is kept as `unsent`: a page shows it and `retry` sends it later.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no notification kind {kind!r}")
    if not 0 < len(dedupe) <= 200 or not 0 < len(subject) <= 130:
        raise ValueError("a notification's dedupe key has 1 to 200 characters and its subject 1 to 130")
    moment = now()
    insert = postgresql.insert if db.engine.dialect.name == "postgresql" else sqlite.insert
    row = insert(_notes).values(
        id=new_id("note"), kind=kind, subject=subject, dedupe=dedupe, channel="slack", payload=dict(fields), attempts=0,
        state="waiting" if config.current().slack_webhook_url else "unsent", next_at=moment, created_at=moment,
    )  # fmt: skip
    db.session.execute(row.on_conflict_do_nothing(index_elements=[_notes.c.dedupe]))


def drain(send: Send = channels.slack) -> int:
    """Send what is due, one after the other, and return how many went out.

    Opens its own transactions, none while it sends. Stops at the first failure: the channel is down or asks for
    patience, and the failed row has been moved behind the others.
    """
    settings = config.current()
    url = settings.slack_webhook_url
    if url is None:
        with transaction():
            _give_up_waiting()
        return 0
    sent = 0
    for _ in range(_IN_ONE_GO):
        with transaction():
            claimed = claim()
        if claimed is None:
            break
        message = messages.slack(
            claimed.kind, subject=claimed.subject, dedupe=claimed.dedupe, fields=claimed.fields, base_url=settings.base_url
        )
        try:
            send(url, message)
        except channels.Undelivered as failure:
            with transaction():
                fail(claimed, failure)
            break
        with transaction():
            succeed(claimed)
        sent += 1
    return sent


def claim() -> Claim | None:
    """Take the row that has been due longest, for a minute; None when nothing is due or another process took it.

    A row whose last attempt was never settled, because its process died, is dead-lettered here.
    """
    moment = now()
    due = (_notes.c.state == "waiting", _notes.c.next_at <= moment)
    worn = select(_notes.c.id, _notes.c.kind, _notes.c.subject).where(*due, _notes.c.attempts >= ATTEMPTS)
    for old in db.session.execute(worn.order_by(_notes.c.next_at).limit(10)).all():
        _bury(old.id, kind=old.kind, subject=old.subject, attempts=ATTEMPTS, error="the last attempt was never finished")
    first = db.session.execute(select(_notes.c.id, _notes.c.attempts).where(*due).order_by(_notes.c.next_at, _notes.c.id).limit(1)).first()
    if first is None:
        return None
    taken = (
        update(_notes)
        .where(_notes.c.id == first.id, _notes.c.attempts == first.attempts, *due)
        .values(attempts=_notes.c.attempts + 1, next_at=moment + _LEASE)
        .returning(_notes.c.id, _notes.c.kind, _notes.c.subject, _notes.c.dedupe, _notes.c.payload, _notes.c.attempts)
    )
    row = db.session.execute(taken).first()
    return None if row is None else Claim(row.id, row.kind, row.subject, row.dedupe, row.payload, row.attempts)


def succeed(claimed: Claim) -> None:
    """Note that the channel took it."""
    db.session.execute(_mine(claimed).values(state="sent", sent_at=now(), last_error=None))


def fail(claimed: Claim, failure: channels.Undelivered) -> None:
    """Note the failure: again in 5 s · 4ⁿ or when the channel said, and dead after eight attempts or a final no."""
    if failure.final or claimed.attempt >= ATTEMPTS:
        _bury(claimed.id, kind=claimed.kind, subject=claimed.subject, attempts=claimed.attempt, error=str(failure))
        return
    pause = timedelta(seconds=max(5.0 * 4 ** (claimed.attempt - 1), failure.retry_after))
    db.session.execute(_mine(claimed).values(next_at=now() + pause, last_error=str(failure)))


def retry(note_id: str, *, by: str | None = None) -> None:
    """Send a dead or unsent notification again from the start; `by` is the id of the person who asked for it."""
    if config.current().slack_webhook_url is None:
        raise Conflict("No Slack webhook is set up: set SLACK_WEBHOOK_URL and start again, then retry.")
    again = (
        update(_notes)
        .where(_notes.c.id == note_id, _notes.c.state.in_(("dead", "unsent")))
        .values(state="waiting", attempts=0, next_at=now(), last_error=None)
        .returning(_notes.c.kind)
    )
    row = db.session.execute(again).first()
    if row is not None:
        log.append("notification.retried", note_id, notice=row.kind, by=by)
    elif db.session.execute(select(_notes.c.id).where(_notes.c.id == note_id)).first() is None:
        raise NotFound("There is no such notification.")
    else:
        raise Conflict("This notification is sent or still waiting to be sent.")


def counts() -> dict[str, int]:
    """How many notifications are waiting, dead and unsent."""
    by_state = select(_notes.c.state, func.count().label("number")).where(_notes.c.state != "sent").group_by(_notes.c.state)
    return {"waiting": 0, "dead": 0, "unsent": 0} | {row.state: row.number for row in db.session.execute(by_state)}


def _mine(claimed: Claim) -> Any:
    return update(_notes).where(_notes.c.id == claimed.id, _notes.c.state == "waiting", _notes.c.attempts == claimed.attempt)


def _bury(note_id: str, *, kind: str, subject: str, attempts: int, error: str) -> None:
    dead = (
        update(_notes)
        .where(_notes.c.id == note_id, _notes.c.state == "waiting", _notes.c.attempts == attempts)
        .values(state="dead", last_error=error)
        .returning(_notes.c.id)
    )
    if db.session.execute(dead).first() is not None:
        log.append("notification.dead", note_id, notice=kind, about=subject, attempts=attempts)


def _give_up_waiting() -> None:
    moment: datetime = now()
    db.session.execute(update(_notes).where(_notes.c.state == "waiting", _notes.c.next_at <= moment).values(state="unsent"))
