"""The audit log: one canonical line for each state change, in the same transaction, and its order afterwards.

A line holds ids, states, codes, digests and numbers, never text or personal values, because a leaf is for ever.
Writers only insert; `sequence` gives the contiguous leaf numbers later, so no writer ever waits for another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import rfc8785
from sqlalchemy import BigInteger, CursorResult, bindparam, func, insert, literal, select, update

from copilot import config
from copilot.audit import holders, merkle
from copilot.db import db, now, read_again
from copilot.models import AuditEvent

_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")
_CODE = re.compile(r"[!-?A-~]{0,200}\Z")  # printable ASCII without space and @: no sentence, no address, no name outside ASCII
_LONGEST_SUBJECT = 130
_RESERVED = frozenset({"at", "kind", "subject", "event"})

_AT_ONCE = 5_000

_events: Any = AuditEvent.__table__
_INSERT = insert(_events).inline()


@dataclass(frozen=True, slots=True)
class Leaf:
    """One event with its place in the log, as it is stored."""

    number: int
    kind: str
    subject: str
    line: str
    leaf_hash: str


def append(kind: str, subject: str, *, at: datetime | None = None, **fields: Any) -> None:
    """Append one event to the log, in the caller's transaction.

    `subject` is the id the event is about. A field is an id, state, code, digest, integer, boolean, None, or a list of
    those; anything that could be text raises ValueError, so hand text in as `commitment(text)`. Costs one INSERT, and
    on PostgreSQL one look at the clock unless `at` is given.
    """
    if not _KIND.match(kind) or len(kind) > 64:
        raise ValueError(f"audit kind {kind!r}: write it like proposal.approved")
    if _RESERVED.intersection(fields):
        raise ValueError(f"audit field names {sorted(_RESERVED)} are taken")
    if not subject or len(subject) > _LONGEST_SUBJECT:
        raise ValueError("an audit subject is an id of 1 to 130 characters")
    moment = now() if at is None else at
    event = {"at": _written(moment), "event": secrets.token_hex(16), "kind": kind, "subject": _checked("subject", subject)}
    for name, value in fields.items():
        event[name] = _checked(name, value)
    line = rfc8785.dumps(event)
    row = {"kind": kind, "subject": subject, "line": line.decode(), "leaf_hash": merkle.leaf(line).hex(), "created_at": moment}
    db.session.execute(_INSERT, row)


def sequence(limit: int = 1000) -> int:
    """Give the next waiting events their leaves, at most `limit`; returns how many, 0 when another process is at it.

    An event that another writer commits later under a lower id simply gets a later leaf. The unique constraint on
    the leaf stands behind the holder row: two sequencers can never both commit.
    """
    if db.session.execute(select(_events.c.id).where(_events.c.leaf.is_(None)).limit(1)).first() is None:
        return 0
    if not holders.hold("sequence", holders.me(), 0):
        return 0
    start = size()
    waiting = select(_events.c.id).where(_events.c.leaf.is_(None)).order_by(_events.c.id).limit(limit).subquery()
    place = (func.row_number().over(order_by=waiting.c.id) - literal(1)).cast(BigInteger)
    numbered = select(waiting.c.id, (bindparam("start", type_=BigInteger) + place).label("leaf")).subquery()
    statement = update(_events).where(_events.c.id == numbered.c.id).values(leaf=numbered.c.leaf)
    return cast("CursorResult[Any]", db.session.execute(statement, {"start": start})).rowcount


def read(*, size: int, start: int = 0) -> Iterator[Leaf]:
    """The leaves from `start` up to `size`, in order, a few thousand at a time so that no snapshot stays open for long.

    Runs outside a transaction. A leaf that is missing is simply not there: the caller counts.
    """
    columns = (_events.c.leaf, _events.c.kind, _events.c.subject, _events.c.line, _events.c.leaf_hash)
    while start < size:
        part = select(*columns).where(_events.c.leaf >= start, _events.c.leaf < size).order_by(_events.c.leaf).limit(_AT_ONCE)
        rows = db.session.execute(part).all()
        read_again()
        for row in rows:
            yield Leaf(row.leaf, row.kind, row.subject, row.line, row.leaf_hash)
        if not rows:
            return
        start = rows[-1].leaf + 1


def size() -> int:
    """How many events have a leaf: the size of the tree."""
    return int(db.session.execute(select(func.coalesce(func.max(_events.c.leaf) + 1, 0))).scalar_one())


def waiting() -> int:
    """How many committed events have no leaf yet."""
    return db.session.execute(select(func.count()).select_from(_events).where(_events.c.leaf.is_(None))).scalar_one()


def leaf_hash(line: str) -> str:
    """The leaf's hash (hex) that this line must have."""
    return merkle.leaf(line.encode()).hex()


def commitment(value: str) -> str:
    """A keyed HMAC-SHA256 (hex) of a personal value: equal values compare equal, nobody without the key can guess them.

    The key is derived from SECRET_KEY, so a new SECRET_KEY starts new commitments.
    """
    return hmac.new(_commitment_key(config.current().secret), value.encode(), hashlib.sha256).hexdigest()


def guards(dialect: str) -> list[str]:
    """The DDL that makes events immutable in the database itself: no change but NULL → leaf, no deletion.

    Run by the migration, statement by statement, and again by any later one that rebuilds the table. A database owner
    can still drop a trigger; that is what an exported checkpoint in somebody else's hands is for.
    """
    return [" ".join(statement.split()) for statement in _GUARDS[dialect].values()]


def _checked(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if not _CODE.match(value):
            raise ValueError(f"audit field {name!r} holds text; the log takes only ids, states, codes and digests")
        return value
    if isinstance(value, list | tuple | set | frozenset):
        items = [_checked(name, item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    raise ValueError(f"audit field {name!r} holds a {type(value).__name__}; the log takes only ids, states, codes, digests and integers")


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@lru_cache(maxsize=4)
def _commitment_key(secret: str) -> bytes:
    return hmac.new(secret.encode(), b"copilot audit commitment v1", hashlib.sha256).digest()


_REFUSE_FUNCTION = """
CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'an audit event is immutable and never deleted'; END $$
"""
_DIFFERS = {"sqlite": "IS NOT", "postgresql": "IS DISTINCT FROM"}


def _forbidden_update(dialect: str) -> str:
    columns = ("id", "kind", "subject", "line", "leaf_hash", "created_at")
    changes = [f"NEW.{column} {_DIFFERS[dialect]} OLD.{column}" for column in columns]
    return " OR ".join(["OLD.leaf IS NOT NULL", "NEW.leaf IS NULL", *changes])


_GUARDS: Mapping[str, Mapping[str, str]] = {
    "sqlite": {
        "immutable": f"""
            CREATE TRIGGER audit_events_immutable BEFORE UPDATE ON audit_events WHEN {_forbidden_update("sqlite")}
            BEGIN SELECT RAISE(ABORT, 'an audit event is immutable'); END""",
        "kept": """
            CREATE TRIGGER audit_events_kept BEFORE DELETE ON audit_events
            BEGIN SELECT RAISE(ABORT, 'an audit event is never deleted'); END""",
    },
    "postgresql": {
        "function": _REFUSE_FUNCTION,
        "immutable": f"""
            CREATE TRIGGER audit_events_immutable BEFORE UPDATE ON audit_events FOR EACH ROW
            WHEN ({_forbidden_update("postgresql")}) EXECUTE FUNCTION audit_events_refuse()""",
        "kept": """
            CREATE TRIGGER audit_events_kept BEFORE DELETE ON audit_events
            FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()""",
        "not emptied": """
            CREATE TRIGGER audit_events_not_emptied BEFORE TRUNCATE ON audit_events
            FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()""",
    },
}
