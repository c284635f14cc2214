"""People's accounts: invited by a one-time link, signed in by password, disabled at once."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from copilot.audit import log
from copilot.db import db, now, read_again
from copilot.errors import BadInput, Conflict, NotAuthenticated, NotFound
from copilot.models import ApiToken, User, UserSession
from copilot.models.people import ROLES
from copilot.people import onetime, passwords

LINK_LIFETIME = timedelta(hours=72)

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,180}\.[^@\s\x00-\x1f\x7f.]{2,63}\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def invite(email: str, name: str, role: str, *, by: User | None = None) -> str:
    """Add a person and return the secret of the one-time link by which they set their password."""
    address = _address(email)
    called = name.strip() or address.split("@")[0]
    if role not in ROLES:
        raise BadInput(f"{role!r} is no role: use {', '.join(ROLES)}.", problems={"role": f"use one of {', '.join(ROLES)}"})
    if len(called) > 200 or _UNPRINTABLE.search(called):
        raise BadInput("The name is too long or holds characters one cannot print.", problems={"name": "at most 200 printable characters"})
    if db.session.execute(select(User.id).where(User.email == address)).scalar() is not None:
        raise Conflict(f"{address} is already here; reset the account to give it a new link.")
    secret, hashed = onetime.fresh("link")
    at = now()
    user = User(email=address, name=called, role=role, link_hash=hashed, link_expires_at=at + LINK_LIFETIME, active=True, created_at=at)
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError as error:  # somebody invited the same address at the same moment
        raise Conflict(f"{address} is already here; reset the account to give it a new link.") from error
    log.append("user.invited", user.id, role=role, **_by(by))
    return secret


def linked(secret: str) -> User | None:
    """Whose link this is, if it can still be followed."""
    query = select(User).where(User.link_hash == onetime.hashed(secret), User.link_expires_at > now(), User.active)
    return db.session.execute(query).scalar_one_or_none()


def follow(secret: str, *, hashed: str) -> User:
    """Set the password by a one-time link, which then is spent; every earlier session and token ends.

    `hashed` comes from `passwords.hash`, called before the transaction: while it works nobody else could write.
    """
    spent = (
        update(User)
        .where(User.link_hash == onetime.hashed(secret), User.link_expires_at > now(), User.active)
        .values(password_hash=hashed, link_hash=None, link_expires_at=None)
        .returning(User.id)
    )
    user_id = db.session.execute(spent).scalar_one_or_none()
    if user_id is None:
        raise NotAuthenticated("This link was used already, is older than 72 hours, or was replaced. Ask an admin for a new one.")
    _end_everything(user_id)
    log.append("user.password_set", user_id)
    return find(user_id)


def reset(email: str, *, by: User | None = None) -> str:
    """Take the password away, enable the account and return a new one-time link's secret; sessions and tokens end."""
    user = find(email)
    secret, hashed = onetime.fresh("link")
    db.session.execute(
        update(User)
        .where(User.id == user.id)
        .values(password_hash=None, link_hash=hashed, link_expires_at=now() + LINK_LIFETIME, active=True)
    )
    _end_everything(user.id)
    log.append("user.reset", user.id, **_by(by))
    return secret


def disable(email: str, *, by: User | None = None) -> None:
    """Shut a person out at once: sessions, tokens and links end, and their earlier approvals no longer count."""
    user = find(email)
    done = db.session.execute(
        update(User).where(User.id == user.id, User.active).values(active=False, link_hash=None, link_expires_at=None).returning(User.id)
    )
    if done.scalar_one_or_none() is None:
        return
    _end_everything(user.id)
    log.append("user.disabled", user.id, **_by(by))


def find(email_or_id: str) -> User:
    """The person with this e-mail address or id; NotFound otherwise."""
    text = email_or_id.strip()
    user = db.session.execute(select(User).where((User.id == text) | (User.email == text.lower()))).scalar_one_or_none()
    if user is None:
        raise NotFound(f"There is no account {text[:254]!r}.")
    return user


def listed() -> list[User]:
    """Everybody, by e-mail address."""
    return list(db.session.execute(select(User).order_by(User.email)).scalars())


def check(email: str, password: str) -> User | None:
    """The person who signs in with these, or None. Call it with no transaction open: it takes long on purpose.

    It takes equally long for an address nobody has, so that one cannot ask who works here.
    """
    address = email.replace("\0", "").strip().lower()[:254]
    user = db.session.execute(select(User).where(User.email == address)).scalar_one_or_none()
    hashed = user.password_hash if user else None
    read_again()  # nothing is held open meanwhile, and somebody disabled meanwhile does not get in
    matches = passwords.verify(hashed, password)
    return user if user is not None and matches and user.active else None


def failed(email: str) -> None:
    """Record a sign-in that failed, under a keyed commitment: the log never learns the address."""
    log.append("signin.failed", "signin", account=log.commitment(email.strip().lower()[:254]))


def _address(email: str) -> str:
    address = email.strip().lower()
    if len(address) > 254 or not _EMAIL.match(address):
        raise BadInput(f"{email[:80]!r} is no e-mail address.", problems={"email": "is no e-mail address"})
    return address


def _by(person: User | None) -> dict[str, Any]:
    """Who did it; nobody stands for the command line of the installation."""
    return {"by": person.id if person else "cli"}


def _end_everything(user_id: str) -> None:
    at = now()
    db.session.execute(update(UserSession).where(UserSession.user_id == user_id, UserSession.ended_at.is_(None)).values(ended_at=at))
    db.session.execute(update(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None)).values(revoked_at=at))
