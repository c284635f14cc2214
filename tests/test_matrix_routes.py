"""Who may do what on every page and every call: one table of routes × roles × ownership, and every cell is really asked for.

A route that is missing from the table fails. Where a cell refuses, and wherever a request only reads, not a byte of the database may be
different afterwards. `in` is the way to the sign-in page; a number is the status.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import select, update

from copilot import config, jobs
from copilot import db as database
from copilot.db import Base, db, new_id, transaction
from copilot.gate import changes, history, library, policy
from copilot.gateway import mcppins
from copilot.models import Agent, Notification, PolicyVersion, Proposal, Run, ToolPin, User
from copilot.people import accounts, principals, sessions, tokens
from tests.support import api, browser, work
from tests.support import people as staff
from tests.support.people import PASSWORD, People

# Who comes: nobody; an agent's access token sent to a page; somebody disabled since; an auditor; the operator who asked for it;
# another operator; a manager, who asked for every change and drafted every policy that waits; an admin; the admin who owns the agent.
PAGES = """
METHOD route                                     nobody agent gone auditor asker operator manager admin owner
GET  /                                           in     in    in   200     200   200      200     200   200
GET  /counts                                     401    401   401  200     200   200      200     200   200
POST /theme                                      in     in    in   303     303   303      303     303   303
GET  /events                                     401    401   401  200     200   200      200     200   200
GET  /actions                                    in     in    in   200     200   200      200     200   200
POST /actions/<agent_id>/<tool>/level            in     in    in   403     403   403      303     303   303
GET  /agents                                     in     in    in   200     403   403      200     200   200
GET  /agents/new                                 in     in    in   403     403   403      403     200   200
POST /agents/new                                 in     in    in   403     403   403      403     200   200
GET  /agents/<agent_id>                          in     in    in   200     403   403      200     200   200
POST /agents/<agent_id>/scopes                   in     in    in   403     403   403      403     303   303
POST /agents/<agent_id>/narrow                   in     in    in   403     403   403      403     303   303
POST /agents/<agent_id>/rotate                   in     in    in   403     403   403      403     200   200
POST /agents/<agent_id>/disable                  in     in    in   403     403   403      403     303   303
POST /agents/<agent_id>/enable                   in     in    in   403     403   403      403     303   303
GET  /tools                                      in     in    in   200     403   403      200     200   200
GET  /tools/<name>                               in     in    in   200     403   403      200     200   200
POST /tools/<name>/definition                    in     in    in   403     403   403      403     303   303
GET  /budgets                                    in     in    in   200     200   200      200     200   200
GET  /changes                                    in     in    in   200     403   403      200     200   200
POST /changes/<change_id>                        in     in    in   403     403   403      403     303   403
GET  /policies                                   in     in    in   200     403   403      200     200   200
GET  /policies/new                               in     in    in   403     403   403      200     200   200
POST /policies/new                               in     in    in   403     403   403      303     303   303
GET  /policies/<version_id>                      in     in    in   200     403   403      200     200   200
POST /policies/<version_id>/replay               in     in    in   403     403   403      303     303   303
POST /policies/<version_id>/publish              in     in    in   403     403   403      409     303   303
POST /policies/<version_id>/discard              in     in    in   403     403   403      303     303   303
POST /policies/<version_id>/roll-back            in     in    in   403     403   403      303     303   303
GET  /escalations                                in     in    in   200     200   200      200     200   200
GET  /runs/<run_id>                              in     in    in   200     200   200      200     200   200
POST /runs/<run_id>/again                        in     in    in   403     303   303      303     303   303
POST /runs/<run_id>/solved                       in     in    in   403     303   303      303     303   303
GET  /notifications                              in     in    in   403     403   403      200     200   200
POST /notifications/<note_id>/retry              in     in    in   403     403   403      303     303   303
GET  /outcomes                                   in     in    in   200     200   200      200     200   200
POST /outcomes/<proposal_id>                     in     in    in   403     403   303      303     303   403
POST /outcomes/<proposal_id>/withdraw            in     in    in   403     403   303      303     303   403
GET  /people                                     in     in    in   403     403   403      403     200   200
GET  /proposals/<proposal_id>                    in     in    in   200     200   200      200     200   200
GET  /proposals/<proposal_id>/status             in     in    in   200     200   200      200     200   200
GET  /proposals/<proposal_id>/row                in     in    in   200     200   200      200     200   200
POST /proposals/<proposal_id>/approve            in     in    in   403     403   303      303     303   403
POST /proposals/<proposal_id>/reject             in     in    in   403     403   303      303     303   403
POST /proposals/<proposal_id>/withdraw           in     in    in   403     303   303      303     303   403
GET  /proposals/<proposal_id>/edit               in     in    in   403     200   200      200     200   200
POST /proposals/<proposal_id>/edit               in     in    in   403     403   303      303     303   403
GET  /record                                     in     in    in   200     200   200      200     200   200
GET  /settings                                   in     in    in   403     403   403      200     200   200
POST /settings/switches                          in     in    in   403     403   403      303     303   303
POST /settings/switches/release                  in     in    in   403     403   403      303     303   303
POST /settings/rules                             in     in    in   403     403   403      403     303   303
GET  /tickets                                    in     in    in   200     200   200      200     200   200
GET  /tickets/new                                in     in    in   403     200   200      200     200   200
POST /tickets/new                                in     in    in   403     303   303      303     303   303
GET  /tickets/<ticket_id>                        in     in    in   200     200   200      200     200   200
POST /tickets/<ticket_id>/status                 in     in    in   403     303   303      303     303   303
POST /sign-out                                   303    303   303  303     303   303      303     303   303
GET  /sign-in                                    200    200   200  303     303   303      303     303   303
POST /sign-in                                    303    303   422  303     303   303      303     303   303
GET  /link/<secret>                              200    200   200  200     200   200      200     200   200
POST /link/<secret>                              303    303   303  303     303   303      303     303   303
GET  /healthz                                    200    200   200  200     200   200      200     200   200
GET  /readyz                                     200    200   200  200     200   200      200     200   200
GET  /metrics                                    200    200   200  200     200   200      200     200   200
GET  /static/<path:filename>                     200    200   200  200     200   200      200     200   200
GET  /bootstrap/static/<path:filename>           200    200   200  200     200   200      200     200   200
"""

# The same with their tokens; an admin's browser cookie and no token; the agent the proposal is of; one of the same scopes that it is
# not of; one that was disabled since. 404 where somebody may not even know that there is such a thing.
CALLS = """
METHOD route                                      nobody cookie gone auditor asker operator manager admin owner agent other dead
POST   /api/v1/token                              401    401    401  401     401   401      401     401   401   200   200   401
GET    /api/v1/openapi.json                       200    200    200  200     200   200      200     200   200   200   200   200
GET    /api/v1/tools                              401    401    401  200     200   200      200     200   200   200   200   401
POST   /api/v1/tools/<name>                       401    401    401  403     403   403      403     403   403   200   200   401
POST   /api/v1/proposals                          401    401    401  403     403   403      403     403   403   201   201   401
GET    /api/v1/proposals                          401    401    401  200     200   200      200     200   200   200   200   401
GET    /api/v1/proposals/<proposal_id>            401    401    401  200     200   200      200     200   200   200   404   401
GET    /api/v1/proposals/<proposal_id>/trace      401    401    401  200     200   200      200     200   200   200   404   401
POST   /api/v1/proposals/<proposal_id>/decisions  401    401    401  403     403   200      200     200   403   403   403   401
POST   /api/v1/proposals/<proposal_id>/withdraw   401    401    401  403     200   200      200     200   403   200   404   401
POST   /api/v1/tickets                            401    401    401  403     201   201      201     201   201   403   403   401
POST   /api/v1/tickets/<path:external_id>/messages 401   401    401  403     201   201      201     201   201   403   403   401
PATCH  /api/v1/tickets/<path:external_id>         401    401    401  403     200   200      200     200   200   403   403   401
GET    /api/v1/budgets                            401    401    401  200     200   200      200     200   200   200   200   401
GET    /api/v1/jwks.json                          200    200    200  200     200   200      200     200   200   200   200   200
GET    /api/v1/actions                            401    401    401  200     200   200      200     200   200   200   200   401
PUT    /api/v1/actions/<agent>/<tool>/level       401    401    401  403     403   403      200     200   200   403   403   401
GET    /api/v1/                                   401    401    401  404     404   404      404     404   404   404   404   401
POST   /api/v1/<path:rest>                        401    401    401  404     404   404      404     404   404   404   404   401
"""

_EVERY_METHOD = {"/api/v1/", "/api/v1/<path:rest>"}  # the catch-alls answer alike whatever the method is
_NOT_STATE = {"user_sessions", "heartbeats", "holders"}  # a session's last sign of life is not anybody's business
_LEAVES_A_TRACE = {("POST", "/sign-in"), ("POST", "/api/v1/token")}  # a failed sign-in is on record; that is what it writes
_numbers = itertools.count(1)


def _rows(table: str) -> dict[tuple[str, str], dict[str, str]]:
    head, *lines = [line.split() for line in table.strip().splitlines()]
    assert all(len(line) == len(head) for line in lines), "a row has a cell too many or too few"
    return {(line[0], line[1]): dict(zip(head[2:], line[2:], strict=True)) for line in lines}


pytestmark = pytest.mark.settings(SLACK_WEBHOOK_URL="http://127.0.0.1:9/hook")  # nobody delivers here; without one nothing is retried

TABLE = {**_rows(PAGES), **_rows(CALLS)}


@dataclass
class Scene:
    """What every cell finds: people in every role, an agent with its owner, one like it, and things of theirs, fresh each time."""

    app: Flask
    people: People
    agent: str
    other: str = ""
    dead: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Add who is missing from the usual people: an admin who owns nothing, somebody disabled since, and two more agents."""
        roles = {"auditor": "cy", "asker": "eli", "operator": "ana", "manager": "bo", "owner": "dee"}
        self.ids = {role: self.people.ids[name] for role, name in roles.items()}
        with transaction():
            for role, called in (("admin", "fay"), ("operator", "gus")):
                row = User(id=new_id("user"), email=f"{called}@example.com", name=called.title(), role=role, active=True)
                row.password_hash, row.created_at = self.people.ana.password_hash, database.now()
                db.session.add(row)
                self.ids["gone" if called == "gus" else "admin"] = row.id
        scopes = tuple(db.session.get_one(Agent, self.agent).scopes)
        for queue in config.QUEUES:
            jobs.beat(f"{queue}-1", queue)
        self.other = staff.add_agent(self.ids["admin"], name="another-desk", scopes=scopes[1:])
        self.dead = staff.add_agent(self.ids["admin"], name="an-old-desk", scopes=scopes[1:])

    def person(self, who: str) -> User:
        """The row of one of the people."""
        return db.session.get_one(User, self.ids[who])

    def proposal(self) -> str:
        """One that waits, on a ticket, asked for by the asker."""
        return work.propose(self.agent, ticket_id=work.ticket(requester_id=self.ids["asker"]), requester_id=self.ids["asker"])

    def forced(self, state: str) -> str:
        """One in a state it takes a mishap to reach."""
        proposal_id = self.proposal()
        with transaction():
            db.session.execute(update(Proposal).where(Proposal.id == proposal_id).values(state=state))
        return proposal_id

    def run(self) -> str:
        """One that ended in people's hands."""
        at, run_id = database.now(), new_id("run")
        made = Run(id=run_id, ticket_id=work.ticket(), agent_id=self.agent, state="NEEDS_HUMAN", code="stuck", reason="Stuck.")
        made.created_at, made.ended_at = at, at + timedelta(seconds=1)
        with transaction():
            db.session.add(made)
        return run_id

    def note(self) -> str:
        """A notification that gave up."""
        made = new_id("note")
        with transaction():
            at = database.now()
            db.session.add(
                Notification(id=made, kind="held", subject="prop_x", dedupe=made, payload={}, state="dead", next_at=at, created_at=at)
            )
        return made

    def version(self, *, replayed: bool = False, published: bool = False) -> str:
        """A draft of the policies by the manager; with a replay where it is to be published, or in force already."""
        with transaction():
            files = dict(policy.current().files)
            name = next(each for each in files if each.endswith(".cedar"))
            changed = files | {name: f"{files[name]}\n// {next(_numbers)}"}
            made = library.draft(changed, by=db.session.get_one(User, self.ids["manager"]), comment="a word more").id
            if replayed:
                history.ask(made, days=30, by=db.session.get_one(User, self.ids["manager"]))
        if replayed:
            history.run(made)
        if published:
            with transaction():
                row = db.session.get_one(PolicyVersion, made)
                row.state, row.published_at = "published", database.now()
        return made

    def earlier(self) -> str:
        """A version that was in force before another."""
        first = self.version(published=True)
        self.version(published=True)
        return first

    def disabled(self) -> str:
        """An agent that was shut out."""
        with transaction():
            principals.disable(self.other)
        return self.other

    def change(self) -> str:
        """A wish of the manager's that waits for a second person."""
        with transaction():
            for waiting in changes.waiting():
                waiting.state = "withdrawn"
            before = db.session.get_one(Agent, self.agent).scopes
            wish = {"before": before, "scopes": [*before, f"other_{next(_numbers)}:write"]}
            return changes.ask("scopes", self.agent, wish, by=db.session.get_one(User, self.ids["manager"]), reason="because").id

    def pin(self) -> str:
        """A foreign tool whose definition changed; its hash."""
        seen = {"name": "read_account", "description": "Reads.", "inputSchema": {"type": "object"}}
        hashed = mcppins.fingerprint(seen)
        with transaction():
            at = database.now()
            db.session.merge(
                ToolPin(
                    tool="read_account", source="mcp:bank", definition={}, hash="a", accepted_at=at, seen=seen, seen_hash=hashed, seen_at=at
                )
            )
        return hashed

    def link(self) -> str:
        """The secret of a one-time link of somebody invited just now."""
        with transaction():
            return accounts.invite(f"new-{next(_numbers)}@example.com", "New", "operator")

    def external(self) -> str:
        """A ticket's number at its source."""
        row = db.session.get_one(Proposal, self.proposal()).ticket
        assert row is not None
        return row.external_id


@dataclass(frozen=True)
class Sent:
    """What to ask for: the address's parts, and a form or a JSON body that is all right."""

    parts: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] | None = None
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)


_WHY = {"note": "because"}


def _level(scene: Scene, name: str) -> Sent:
    agent = {name: scene.agent, "tool": "pay_key"}
    return Sent(agent, {"level": "off", "note": "because"}, {"level": "off", "reason": "because"})


def _ticket_form() -> dict[str, str]:
    number = f"page-{next(_numbers):08d}"
    return {"external_id": number, "subject": "Lamp", "body": "Broken", "customer_id": "C-1", "channel": "email"}


def _ticket_body() -> dict[str, Any]:
    return {"external_id": f"T-{next(_numbers)}", "subject": "Lamp", "body": "Broken", "customer": {"id": "C-1"}}


def _edit(scene: Scene) -> Sent:
    made, client = scene.proposal(), scene.app.test_client()
    _identify(scene, client, "operator", page=True)
    typed = browser.form(client.get(f"/proposals/{made}/edit").text)
    typed.pop("csrf_token")
    return Sent({"proposal_id": made}, typed | {"arg/amount_minor": "9.00", "reason": "wrong_amount", "step": "approve"})


def _seen(scene: Scene, **more: str) -> Sent:
    made = scene.proposal()
    return Sent({"proposal_id": made}, {"seen": work.seen(made), **more})


def _decision(scene: Scene) -> Sent:
    made = scene.proposal()
    return Sent({"proposal_id": made}, json={"verdict": "approve", "digest": work.seen(made)})


def _credentials(scene: Scene, who: str) -> Sent:
    agent_id = {"agent": scene.agent, "other": scene.other}.get(who, scene.dead)
    secret = "wrong" if who not in ("agent", "other", "dead") else api.new_secret(agent_id)
    if who == "dead":
        _disable(scene)
    return Sent(form={"grant_type": "client_credentials", "client_id": agent_id, "client_secret": secret, "scope": "pay_key:write"})


def _who_signs_in(scene: Scene, who: str) -> Sent:
    name = scene.person(who).email if who in scene.ids else "ana@example.com"
    return Sent(form={"email": name, "password": PASSWORD})


def _agents(scene: Scene, **form: str) -> Sent:
    """About the agent that nobody's proposals are of; its form says what it had."""
    row = db.session.get_one(Agent, scene.other)
    return Sent({"agent_id": row.id}, {"seen": " ".join(row.scopes), **form})


def _new_agent() -> dict[str, str]:
    return {"name": f"desk-{next(_numbers)}", "owner": "bo@example.com", "team": "", "scopes": "pay_key:write", **_WHY}


def _narrower(scene: Scene) -> Sent:
    held = db.session.get_one(Agent, scene.other).scopes
    return _agents(scene, after=" ".join(held[:-1] if len(held) > 1 else held))


def _rotated(scene: Scene) -> Sent:
    row = db.session.get_one(Agent, scene.other)
    return Sent({"agent_id": row.id}, {"overlap": "24", "seen": principals.mark(row), **_WHY})


def _drafted() -> dict[str, str]:
    files = policy.current().files
    typed = {f"file-{name}": body for name, body in files.items()}
    name = next(each for each in typed if each.endswith(".cedar"))
    return typed | {name: f"{typed[name]}\n// {next(_numbers)}", "comment": "a word more"}


Maker = Callable[[Scene, str], Sent]
_PROPOSAL: Maker = lambda scene, who: Sent({"proposal_id": scene.proposal()})  # noqa: E731 - a line of the table

MAKERS: dict[tuple[str, str], Maker] = {
    ("POST", "/theme"): lambda scene, who: Sent(form={"theme": "dark"}),
    ("POST", "/actions/<agent_id>/<tool>/level"): lambda scene, who: _level(scene, "agent_id"),
    ("POST", "/agents/new"): lambda scene, who: Sent(form=_new_agent()),
    ("GET", "/agents/<agent_id>"): lambda scene, who: Sent({"agent_id": scene.agent}),
    ("POST", "/agents/<agent_id>/scopes"): lambda scene, who: _agents(scene, scopes="pay_key:write", **_WHY),
    ("POST", "/agents/<agent_id>/narrow"): lambda scene, who: _narrower(scene),
    ("POST", "/agents/<agent_id>/rotate"): lambda scene, who: _rotated(scene),
    ("POST", "/agents/<agent_id>/disable"): lambda scene, who: _agents(scene, **_WHY),
    ("POST", "/agents/<agent_id>/enable"): lambda scene, who: Sent({"agent_id": scene.disabled()}, _WHY),
    ("GET", "/tools/<name>"): lambda scene, who: Sent({"name": "pay_key"}),
    ("POST", "/tools/<name>/definition"): lambda scene, who: Sent({"name": "read_account"}, {"seen": scene.pin()}),
    ("POST", "/changes/<change_id>"): lambda scene, who: Sent({"change_id": scene.change()}, {"answer": "confirm", "note": ""}),
    ("POST", "/policies/new"): lambda scene, who: Sent(form=_drafted()),
    ("GET", "/policies/<version_id>"): lambda scene, who: Sent({"version_id": scene.version()}),
    ("POST", "/policies/<version_id>/replay"): lambda scene, who: Sent({"version_id": scene.version()}, {"days": "30"}),
    ("POST", "/policies/<version_id>/publish"): lambda scene, who: Sent({"version_id": scene.version(replayed=True)}, _WHY),
    ("POST", "/policies/<version_id>/discard"): lambda scene, who: Sent({"version_id": scene.version()}, {}),
    ("POST", "/policies/<version_id>/roll-back"): lambda scene, who: Sent({"version_id": scene.earlier()}, {"comment": "because"}),
    ("GET", "/runs/<run_id>"): lambda scene, who: Sent({"run_id": scene.run()}),
    ("POST", "/runs/<run_id>/again"): lambda scene, who: Sent({"run_id": scene.run()}, {}),
    ("POST", "/runs/<run_id>/solved"): lambda scene, who: Sent({"run_id": scene.run()}, {}),
    ("POST", "/notifications/<note_id>/retry"): lambda scene, who: Sent({"note_id": scene.note()}, {}),
    ("POST", "/outcomes/<proposal_id>"): lambda scene, who: Sent(
        {"proposal_id": scene.forced("OUTCOME_UNKNOWN")}, {"happened": "yes", **_WHY}
    ),
    ("POST", "/outcomes/<proposal_id>/withdraw"): lambda scene, who: Sent({"proposal_id": scene.forced("HELD")}, _WHY),
    ("GET", "/proposals/<proposal_id>"): _PROPOSAL,
    ("GET", "/proposals/<proposal_id>/status"): _PROPOSAL,
    ("GET", "/proposals/<proposal_id>/row"): _PROPOSAL,
    ("GET", "/proposals/<proposal_id>/edit"): _PROPOSAL,
    ("POST", "/proposals/<proposal_id>/approve"): lambda scene, who: _seen(scene),
    ("POST", "/proposals/<proposal_id>/reject"): lambda scene, who: _seen(scene, reason="wrong_amount", note=""),
    ("POST", "/proposals/<proposal_id>/withdraw"): lambda scene, who: _seen(scene, **_WHY),
    ("POST", "/proposals/<proposal_id>/edit"): lambda scene, who: _edit(scene),
    ("POST", "/settings/switches"): lambda scene, who: Sent(form={"scope": "tool:pay_both", **_WHY}),
    ("POST", "/settings/switches/release"): lambda scene, who: Sent(form={"scope": "tool:pay_both", **_WHY}),
    ("POST", "/settings/rules"): lambda scene, who: Sent(form={"name": "two-people", "on": "no", **_WHY}),
    ("POST", "/tickets/new"): lambda scene, who: Sent(form=_ticket_form()),
    ("GET", "/tickets/<ticket_id>"): lambda scene, who: Sent({"ticket_id": scene.external()}),
    ("POST", "/tickets/<ticket_id>/status"): lambda scene, who: Sent({"ticket_id": scene.external()}, {"status": "solved"}),
    ("POST", "/sign-out"): lambda scene, who: Sent(form={}),
    ("POST", "/sign-in"): _who_signs_in,
    ("GET", "/link/<secret>"): lambda scene, who: Sent({"secret": scene.link()}),
    ("POST", "/link/<secret>"): lambda scene, who: Sent({"secret": scene.link()}, {"password": PASSWORD, "again": PASSWORD}),
    ("GET", "/static/<path:filename>"): lambda scene, who: Sent({"filename": "copilot.css"}),
    ("GET", "/bootstrap/static/<path:filename>"): lambda scene, who: Sent({"filename": "css/bootstrap.min.css"}),
    ("POST", "/api/v1/token"): _credentials,
    ("POST", "/api/v1/tools/<name>"): lambda scene, who: Sent({"name": "read_account"}, json={"arguments": {"account": "c1/main"}}),
    ("POST", "/api/v1/proposals"): lambda scene, who: Sent(
        json={"tool": "pay_key", "arguments": work.arguments(), "rationale": "because"}, headers={"Idempotency-Key": new_id("key")}
    ),
    ("GET", "/api/v1/proposals/<proposal_id>"): _PROPOSAL,
    ("GET", "/api/v1/proposals/<proposal_id>/trace"): _PROPOSAL,
    ("POST", "/api/v1/proposals/<proposal_id>/decisions"): lambda scene, who: _decision(scene),
    ("POST", "/api/v1/proposals/<proposal_id>/withdraw"): lambda scene, who: Sent({"proposal_id": scene.proposal()}, json={}),
    ("POST", "/api/v1/tickets"): lambda scene, who: Sent(json=_ticket_body()),
    ("POST", "/api/v1/tickets/<path:external_id>/messages"): lambda scene, who: Sent(
        {"external_id": scene.external()}, json={"external_id": new_id("m"), "author": "customer", "body": "Hello"}
    ),
    ("PATCH", "/api/v1/tickets/<path:external_id>"): lambda scene, who: Sent({"external_id": scene.external()}, json={"status": "solved"}),
    ("PUT", "/api/v1/actions/<agent>/<tool>/level"): lambda scene, who: _level(scene, "agent"),
    ("POST", "/api/v1/<path:rest>"): lambda scene, who: Sent({"rest": "nowhere/at/all"}, json={}),
}


@pytest.fixture
def scene(app: Flask, people: People, agent: str) -> Scene:
    """Everybody and everything."""
    made = Scene(app, people, agent)
    made.prepare()
    return made


def _requests(app: Flask) -> set[tuple[str, str]]:
    found = {(method, rule.rule) for rule in app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    caught = {(method, rule) for method, rule in TABLE if rule in _EVERY_METHOD}
    return {each for each in found if each[1] not in _EVERY_METHOD} | caught


def test_every_route_stands_in_the_table(app: Flask) -> None:
    assert sorted(_requests(app) - set(TABLE)) == [], "say in the table who may do this"
    assert sorted(set(TABLE) - _requests(app)) == [], "the table speaks of what is gone"


@pytest.mark.parametrize(("method", "route"), [pytest.param(*key, id=" ".join(key)) for key in TABLE])
def test_every_cell_is_as_the_table_says(scene: Scene, method: str, route: str) -> None:
    wrong = [found for who, expected in TABLE[method, route].items() if (found := _ask(scene, method, route, who, expected))]
    assert wrong == []


def _ask(scene: Scene, method: str, route: str, who: str, expected: str) -> str | None:
    """Ask as one of them; what is wrong with the answer, or None."""
    sent = MAKERS.get((method, route), lambda scene, who: Sent())(scene, who)
    client = scene.app.test_client()
    headers = sent.headers | _identify(scene, client, who, page=not route.startswith("/api/"))
    on_page = not route.startswith("/api/")
    forgery = {"csrf_token": _csrf(scene, client)} if on_page and method == "POST" else {}  # else a missing one would hide a missing check
    body: dict[str, Any] = {"json": sent.json} if sent.json is not None and not on_page else {"data": (sent.form or {}) | forgery}
    before = _state()
    answer = client.open(_path(route, sent.parts), method=method, headers=headers, **body)
    to_sign_in = answer.status_code in (302, 303) and "/sign-in" in answer.headers.get("Location", "") and route != "/sign-out"
    got = "in" if to_sign_in else str(answer.status_code)
    said = "" if got == expected or answer.is_streamed else re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))[-300:]
    answer.close()
    changed = _state() != before and (method, route) not in _LEAVES_A_TRACE
    if got != expected:
        return f"{who}: {got} instead of {expected} {said}"
    if changed and (method == "GET" or got == "in" or got[0] == "4"):
        return f"{who}: was answered {got}, and yet the database is different"
    if not changed and got == "201":
        return f"{who}: was answered {got}, and yet nothing is there"
    return None


def _path(route: str, parts: dict[str, str]) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: parts[found[1]], route)


def _identify(scene: Scene, client: FlaskClient, who: str, *, page: bool) -> dict[str, str]:
    """Sign this client in, or give it the token to send."""
    if who == "nobody":
        return {}
    if who in ("agent", "other", "dead"):
        agent_id = getattr(scene, who)
        with transaction():
            db.session.get_one(Agent, agent_id).enabled = True
        token, _ = tokens.agent_token(agent_id, tuple(db.session.get_one(Agent, agent_id).scopes))
        if who == "dead":
            _disable(scene)
        return {"Authorization": f"Bearer {token}"}
    person = scene.person("admin" if who == "cookie" else who)
    with transaction():
        person.active = True
        key, token = sessions.start(person), tokens.issue_person(person, "tests")
    if who == "gone":
        with transaction():
            db.session.get_one(User, person.id).active = False  # the row alone: neither session nor token was ended
    if page or who == "cookie":
        with client.session_transaction() as cookie:
            cookie["_user_id"] = key
        return {}
    return {"Authorization": f"Bearer {token}"}


def _csrf(scene: Scene, client: FlaskClient) -> str:
    """A token against forgery as the pages of this browser carry it."""
    with client.session_transaction() as cookie:
        cookie["csrf_token"] = hashlib.sha1(b"a browser").hexdigest()
        return str(URLSafeTimedSerializer(scene.app.secret_key or "", salt="wtf-csrf-token").dumps(cookie["csrf_token"]))


def _disable(scene: Scene) -> None:
    with transaction():
        db.session.get_one(Agent, scene.dead).enabled = False


def _state() -> str:
    """A fingerprint of every row there is."""
    db.session.rollback()
    told = hashlib.sha256()
    for table in Base.metadata.sorted_tables:
        if table.name not in _NOT_STATE:
            rows = sorted(repr(tuple(row)) for row in db.session.execute(select(table)))
            told.update(f"{table.name}{rows}".encode())
    db.session.rollback()
    return told.hexdigest()
