"""Accounts, links, sessions, tokens and agents as principals."""

from __future__ import annotations

import json
from datetime import timedelta

import jwt
import pytest
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import select, update

from copilot import config
from copilot import db as database
from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict, NotAuthenticated, NotFound
from copilot.models import Agent, ApiToken, AuditEvent, User, UserSession
from copilot.people import accounts, onetime, passwords, principals, sessions, tokens
from tests.support.people import PASSWORD, People

pytestmark = pytest.mark.usefixtures("app")

GOOD = "four plain words here"


def kinds() -> list[str]:
    database.read_again()
    return list(db.session.execute(select(AuditEvent.kind).order_by(AuditEvent.id)).scalars())


def invited(email: str = "new@example.com") -> str:
    with transaction():
        return accounts.invite(email, "New", "operator")


def test_a_person_is_invited_follows_the_link_once_and_signs_in() -> None:
    secret = invited("New@Example.com ")
    waiting = accounts.linked(secret)
    assert waiting is not None
    assert waiting.email == "new@example.com"
    assert accounts.check("new@example.com", GOOD) is None
    with transaction():
        accounts.follow(secret, hashed=passwords.hash(GOOD))
    signed_in = accounts.check(" NEW@example.com", GOOD)
    assert signed_in is not None
    assert signed_in.name == "New"
    assert accounts.check("new@example.com", GOOD + "!") is None
    with pytest.raises(NotAuthenticated), transaction():
        accounts.follow(secret, hashed=passwords.hash(GOOD))
    assert kinds() == ["user.invited", "user.password_set"]


def test_only_hashes_are_stored() -> None:
    secret = invited()
    with transaction():
        user = accounts.follow(secret, hashed=passwords.hash(GOOD))
        key, token = sessions.start(user, "Firefox"), tokens.issue_person(user, "laptop")
    with db.engine.connect() as connection:
        for table in (User.__table__, UserSession.__table__, ApiToken.__table__):
            stored = repr(connection.execute(select(table)).all())
            assert all(word not in stored for word in (secret, GOOD, key, token))


def test_a_link_ends_after_72_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = invited()
    later = database.now() + timedelta(hours=72, seconds=1)
    monkeypatch.setattr(accounts, "now", lambda: later)
    assert accounts.linked(secret) is None
    with pytest.raises(NotAuthenticated, match="72 hours"), transaction():
        accounts.follow(secret, hashed=passwords.hash(GOOD))


@pytest.mark.parametrize("password", ["short", " " * 12, "a" * 201, "a\0" * 8])
def test_a_bad_password_is_refused_and_the_link_stays_good(password: str) -> None:
    secret = invited()
    with pytest.raises(BadInput) as caught, transaction():
        accounts.follow(secret, hashed=passwords.hash(password))
    assert "password" in caught.value.problems
    assert accounts.linked(secret) is not None


@pytest.mark.parametrize(
    ("email", "role", "field"), [("no address", "operator", "email"), ("a@b", "operator", "email"), ("a@example.com", "god", "role")]
)
def test_an_impossible_invitation_is_refused(email: str, role: str, field: str) -> None:
    with pytest.raises(BadInput) as caught, transaction():
        accounts.invite(email, "X", role)
    assert field in caught.value.problems


def test_an_address_is_invited_once() -> None:
    invited()
    with pytest.raises(Conflict):
        invited("NEW@example.com")


def test_disabling_ends_sessions_tokens_and_sign_in_at_once(people: People) -> None:
    with transaction():
        key, token = sessions.start(people.ana, "Firefox"), tokens.issue_person(people.ana, "laptop")
    assert sessions.find(key) is not None
    assert tokens.person_from(token).email == "ana@example.com"
    with transaction():
        accounts.disable("ana@example.com", by=people.dee)
    assert sessions.find(key) is None
    assert accounts.check("ana@example.com", PASSWORD) is None
    with pytest.raises(NotAuthenticated):
        tokens.person_from(token)
    with transaction():
        accounts.disable("ana@example.com", by=people.dee)
    assert kinds().count("user.disabled") == 1


def test_a_reset_takes_the_password_and_gives_a_new_link(people: People) -> None:
    with transaction():
        key = sessions.start(people.ana)
        secret = accounts.reset("ana@example.com", by=people.dee)
    assert accounts.check("ana@example.com", PASSWORD) is None
    assert sessions.find(key) is None
    with transaction():
        accounts.follow(secret, hashed=passwords.hash(GOOD))
    assert accounts.check("ana@example.com", GOOD) is not None
    with pytest.raises(NotFound), transaction():
        accounts.reset("nobody@example.com")


def test_an_unknown_address_costs_as_much_as_a_wrong_password(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = passwords._hasher

    class Counting:
        def __init__(self, hasher: PasswordHasher) -> None:
            self.hasher = hasher

        def verify(self, hashed: str, password: str) -> bool:
            asked.append(True)
            return self.hasher.verify(hashed, password)

    accounts.check("nobody@example.com", "the first call also makes the stand-in")
    monkeypatch.setattr(passwords, "_hasher", lambda profile: Counting(real(profile)))
    for email in ("ana@example.com", "nobody@example.com", "a\0b"):
        assert accounts.check(email, "not the password") is None
    assert len(asked) == 3


def test_a_failed_sign_in_is_recorded_without_the_address(people: People) -> None:
    with transaction():
        accounts.failed("Ana@Example.com")
        accounts.failed("ana@example.com")
    rows = db.session.execute(select(AuditEvent.line).where(AuditEvent.kind == "signin.failed")).scalars().all()
    assert len(rows) == 2
    assert all("example" not in line for line in rows)
    assert len({json.loads(line)["account"] for line in rows}) == 1


def test_a_session_ends_when_it_is_signed_out_idle_or_a_week_old(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction():
        key = sessions.start(people.ana, "Fire\nfox")
    at = database.now()

    def later(delta: timedelta) -> None:
        monkeypatch.setattr(sessions, "now", lambda: at + delta)

    assert not sessions.stale(key)
    later(timedelta(minutes=6))
    assert sessions.stale(key)
    with transaction():
        sessions.touch(key)
    assert not sessions.stale(key)
    later(timedelta(hours=12, minutes=5))
    assert sessions.find(key) is not None
    later(timedelta(hours=12, minutes=7))
    assert sessions.find(key) is None
    with transaction():
        sessions.touch(key)
    assert sessions.find(key) is None
    later(timedelta(0))
    with transaction():
        sessions.end(key)
        sessions.end(key)
    assert sessions.find(key) is None
    assert kinds().count("session.ended") == 1
    for _ in range(14):
        with transaction():
            fresh = sessions.start(people.ana)
    with transaction():
        db.session.execute(update(UserSession).values(seen_at=at + timedelta(days=7)))
    later(timedelta(days=7, seconds=2))
    assert sessions.find(fresh) is None


def test_an_agent_token_carries_its_scopes_and_dies_with_the_secret_or_the_agent(people: People) -> None:
    with transaction():
        secret = principals.add("helpdesk", ["tickets:write", "*:read"], "dee@example.com")
    agent = principals.check("helpdesk", secret)
    assert agent is not None
    assert principals.check(agent.id, secret) is not None
    assert principals.check("helpdesk", secret + "x") is None
    assert principals.check("nobody", "") is None
    token, seconds = tokens.agent_token(agent.id, ["tickets:write", "get_order:read"])
    assert 0 < seconds <= 900
    principal = tokens.agent_from(token)
    assert (principal.agent_id, principal.name, principal.scopes) == (agent.id, "helpdesk", ("tickets:write", "get_order:read"))
    with transaction():
        db.session.execute(update(Agent).values(scopes=["*:read"]))
    assert tokens.agent_from(token).scopes == ("get_order:read",)
    with transaction():
        again = principals.rotate("helpdesk", by=people.dee)
    with pytest.raises(NotAuthenticated):
        tokens.agent_from(token)
    assert principals.check("helpdesk", secret) is None
    assert principals.check("helpdesk", again) is not None
    token, _ = tokens.agent_token(agent.id, ["tickets:write"])
    with transaction():
        principals.disable("helpdesk", by=people.dee)
        principals.disable("helpdesk", by=people.dee)
    with pytest.raises(NotAuthenticated):
        tokens.agent_from(token)
    with pytest.raises(NotAuthenticated):
        tokens.agent_token(agent.id, [])
    assert principals.check("helpdesk", again) is None
    assert kinds() == ["agent.added", "agent.rotated", "agent.disabled"]
    assert [one.name for one in principals.listed()] == ["helpdesk"]


@pytest.mark.parametrize(
    "change",
    [{"aud": "else"}, {"iss": "else"}, {"exp": 1}, {"sub": "agent_unknown"}, {"gen": "0"}, {"jti": None}],
    ids=lambda change: next(iter(change)),
)
def test_a_token_with_any_other_claim_is_refused(agent: str, change: dict[str, object]) -> None:
    good = jwt.decode(tokens.agent_token(agent, ["*:read"])[0], options={"verify_signature": False})
    claims = {key: value for key, value in {**good, **change}.items() if value is not None}
    with pytest.raises(NotAuthenticated):
        tokens.agent_from(jwt.encode(claims, tokens._key(), algorithm="HS256"))


def test_a_token_signed_otherwise_is_refused(agent: str) -> None:
    token, _ = tokens.agent_token(agent, ["*:read"])
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = [
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, tokens._key() * 2, algorithm="HS512"),
        jwt.encode(claims, config.current().secret, algorithm="HS256"),
        token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
        "a.b.c",
        "",
    ]
    for one in forged:
        with pytest.raises(NotAuthenticated):
            tokens.agent_from(one)


def test_a_personal_token_ends_after_a_year_or_when_it_is_withdrawn(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction():
        token = tokens.issue_person(people.ana, "laptop")
        token_id = db.session.execute(select(ApiToken.id)).scalar_one()
    with pytest.raises(NotFound), transaction():
        tokens.withdraw_person(token_id, by=people.bo)
    assert tokens.person_from(token).id == people.ids["ana"]
    in_a_year = database.now() + timedelta(days=366)
    with monkeypatch.context() as patched:
        patched.setattr(tokens, "now", lambda: in_a_year)
        with pytest.raises(NotAuthenticated):
            tokens.person_from(token)
    with transaction():
        tokens.withdraw_person(token_id, by=people.dee)
    with pytest.raises(NotAuthenticated):
        tokens.person_from(token)
    with pytest.raises(BadInput), transaction():
        tokens.issue_person(people.ana, " ")


@pytest.mark.parametrize(
    ("name", "scopes", "field"),
    [
        ("Big Name", ["*:read"], "name"),
        ("agent_x", ["*:read"], "name"),
        ("x", ["*:write"], "scopes"),
        ("x", ["get_order"], "scopes"),
        ("x", [], "scopes"),
    ],
)
def test_an_impossible_agent_is_refused(people: People, name: str, scopes: list[str], field: str) -> None:
    with pytest.raises(BadInput) as caught, transaction():
        principals.add(name, scopes, "dee@example.com")
    assert field in caught.value.problems


def test_an_agent_needs_an_active_owner_and_a_name_of_its_own(people: People) -> None:
    with pytest.raises(NotFound), transaction():
        principals.add("x", ["*:read"], "nobody@example.com")
    with transaction():
        accounts.disable("dee@example.com")
    with pytest.raises(BadInput), transaction():
        principals.add("x", ["*:read"], "dee@example.com")
    with transaction():
        principals.add("x", ["*:read"], "bo@example.com")
    with pytest.raises(Conflict), transaction():
        principals.add("x", ["*:read"], "bo@example.com")


def test_secrets_are_long_and_never_twice_the_same(app: Flask) -> None:
    made = {onetime.fresh("cps")[0] for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) >= 43 for secret in made)
