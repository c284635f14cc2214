"""Signed-in browsers: a row per session, whose key only the cookie holds."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, select, update

from copilot.audit import log
from copilot.db import db, now
from copilot.models import User, UserSession
from copilot.people import onetime

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=7)
REFRESH = timedelta(minutes=5)  # `seen_at` is that coarse, so that looking around is not writing

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def start(user: User, user_agent: str = "") -> str:
    """Begin a session and return the key for its cookie."""
    key = secrets.token_urlsafe(32)
    at = now()
    db.session.add(
        UserSession(
            id=onetime.hashed(key), user_id=user.id, created_at=at, seen_at=at, expires_at=at + ABSOLUTE,
            user_agent=_UNPRINTABLE.sub("?", user_agent)[:200],
        )
    )  # fmt: skip
    db.session.flush()
    log.append("session.started", user.id, session=onetime.hashed(key)[:16])
    return key


def find(key: str) -> User | None:
    """Whose session this is, unless it ended, was idle for 12 hours, is 7 days old, or its person was disabled."""
    query = select(User).join(UserSession, UserSession.user_id == User.id).where(_alive(key, now()), User.active)
    return db.session.execute(query).scalar_one_or_none()


def stale(key: str) -> bool:
    """Whether the session is alive and was last seen long enough ago that `touch` should note it."""
    at = now()
    query = select(UserSession.id).where(_alive(key, at), UserSession.seen_at < at - REFRESH)
    return db.session.execute(query).scalar_one_or_none() is not None


def touch(key: str) -> None:
    """Note that the session was used; at most one write every 5 minutes."""
    at = now()
    db.session.execute(update(UserSession).where(_alive(key, at), UserSession.seen_at < at - REFRESH).values(seen_at=at))


def end(key: str) -> None:
    """Sign out; ending an ended session changes nothing."""
    ended = (
        update(UserSession)
        .where(UserSession.id == onetime.hashed(key), UserSession.ended_at.is_(None))
        .values(ended_at=now())
        .returning(UserSession.user_id)
    )
    user_id = db.session.execute(ended).scalar_one_or_none()
    if user_id is not None:
        log.append("session.ended", user_id, session=onetime.hashed(key)[:16])


def _alive(key: str, at: datetime) -> ColumnElement[bool]:
    return and_(
        UserSession.id == onetime.hashed(key),
        UserSession.ended_at.is_(None),
        UserSession.seen_at > at - IDLE,
        UserSession.expires_at > at,
    )
