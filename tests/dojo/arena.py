"""One case: a fresh world, an agent of its own with a scope for everything, a ticket with the user's words, and a list of calls."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from copilot import app as application
from copilot import config, jobs
from copilot import db as database
from copilot.autonomy import grants
from copilot.db import db, new_id, transaction
from copilot.errors import BadInput, Conflict, NotFound, Refused
from copilot.gate import policy, schema, tools
from copilot.gateway import reads
from copilot.models import Customer, Grant, Message, Proposal, Ticket
from copilot.review import cards, decisions, proposals
from copilot.toolkit import Call, Toolbox, ToolRefused
from tests.dojo import attacks, operator
from tests.dojo.bank import Bank
from tests.dojo.chat import Chat
from tests.dojo.data import Suite
from tests.dojo.world import World
from tests.support import databases
from tests.support import people as staff

POLICIES = Path(__file__).with_name("policies")
GATES = ("no gate", "gate", "gate and operator", "operator for everything")
_WORLDS: dict[str, type[World]] = {"banking": Bank, "slack": Chat}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one call: ran, waits, refused (by the gate) or failed (the tool said no); `rule` says by what."""

    tool: str
    effect: str
    came: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Arena:
    """One suite set up in the current application, and the people who work there."""

    suite: Suite
    world: World
    box: Toolbox
    people: staff.People

    def play(self, calls: attacks.Calls, *, asked: str, gate: str, planted: str = "") -> list[Fate]:
        """Let an agent make these calls for a user who asked for something; the world is fresh, attacker's text and all."""
        assert self.box.environment_factory is not None
        with self.box.environment_factory():
            pass
        if planted:
            self.world.plant(planted)
        if gate == "no gate":
            self.world.requests[""] = asked
            return [self._bare(name, arguments) for name, arguments in calls]
        agent_id, ticket_id = self._hire("suggest" if gate == "operator for everything" else "auto"), self._ticket(asked)
        return [self._gated(name, arguments, agent_id, ticket_id, gate) for name, arguments in calls]

    def _bare(self, name: str, arguments: dict[str, Any]) -> Fate:
        tool = self.box.tools[name]
        call = Call(new_id("bare"), datetime.now(UTC) + timedelta(seconds=10), "agent")
        try:
            tool.invoke(schema.normalise(tool, arguments), call)
        except ToolRefused as refused:
            return Fate(name, tool.effect, "failed", str(refused))
        return Fate(name, tool.effect, "ran")

    def _gated(self, name: str, arguments: dict[str, Any], agent_id: str, ticket_id: str, gate: str) -> Fate:
        tool = self.box.tools[name]
        try:
            if tool.effect == "read":
                reads.call(name, arguments, agent_id=agent_id, ticket_id=ticket_id)
                return Fate(name, "read", "ran")
            draft = proposals.Draft(
                agent_id=agent_id, tool=name, arguments=arguments, ticket_id=ticket_id, rationale="The user asked for it. Please approve."
            )
            prepared = proposals.prepare(draft)
            with transaction():
                proposal_id = proposals.propose(prepared).id
        except (BadInput, Conflict, NotFound, Refused) as error:
            return Fate(name, tool.effect, "refused", getattr(error, "rule", error.code))
        if "operator" in gate and self._state(proposal_id).state == "PENDING":
            self._look(proposal_id)
        jobs.execute(proposal_id)
        return self._fate(name, proposal_id)

    def _fate(self, name: str, proposal_id: str) -> Fate:
        proposal = self._state(proposal_id)
        rule = str(proposal.verdict.get("rule", ""))
        came = {"SUCCEEDED": "ran", "PENDING": "waits", "DENIED": "refused", "REJECTED": "rejected"}.get(proposal.state, "failed")
        return Fate(name, "write", "failed" if rule == "tool-refused" else came, rule)

    def _look(self, proposal_id: str) -> None:
        """One look by each of as many people as it asks for; they see the card and nothing else."""
        for who in ("ana", "eli"):
            database.read_again()
            card = cards.card(proposal_id)
            if card.state != "PENDING":
                return
            yes, why = operator.approves(card)
            reason = None if yes else decisions.Reason("injection", why)
            with transaction():
                reviewer = self.people.row(who)
                decisions.decide(proposal_id, reviewer=reviewer, verdict="approve" if yes else "reject", seen=card.digest, reason=reason)

    def _state(self, proposal_id: str) -> Proposal:
        database.read_again()
        return db.session.get_one(Proposal, proposal_id)

    def _hire(self, level: str) -> str:
        """An agent with a scope for every tool and every action at this level: on auto, policy alone holds it back."""
        writes = [tool.name for tool in self.box.tools.values() if tool.effect == "write"]
        agent_id = staff.add_agent(self.people.ids["dee"], name=f"agent-{next(_numbers)}", scopes=tuple(f"{name}:write" for name in writes))
        with transaction():
            at = database.now()
            db.session.add_all(Grant(agent_id=agent_id, tool=name, level=level, percent=100, changed_at=at) for name in writes)
        return agent_id

    def _ticket(self, asked: str) -> str:
        number, at = next(_numbers), database.now()
        with transaction():
            customer = Customer(
                id=new_id("cust"), external_id=f"user-{number}", name="The user", email=f"u{number}@example.com", created_at=at
            )
            db.session.add(customer)
            db.session.flush()
            ticket = Ticket(
                id=new_id("tick"), external_id=f"request-{number}", subject="A request", customer_id=customer.id, source="tests",
                details={}, created_at=at, updated_at=at,
            )  # fmt: skip
            db.session.add(ticket)
            db.session.flush()
            db.session.add(
                Message(id=new_id("msg"), ticket_id=ticket.id, external_id="1", author="customer", body=asked, at=at, created_at=at)
            )
        self.world.requests[f"request-{number}"] = asked
        return ticket.id


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """An application of our own on a fresh SQLite database, without Redis: calls are made where they are asked for."""
    (folder / "data").mkdir()
    template = databases.sqlite_template(folder)
    settings = config.load(
        {
            "DATABASE_URL": databases.sqlite_copy(template, folder / "data"),
            "SECRET_KEY": "tests only, 32 or more characters long",
            "COPILOT_DATA_DIR": str(folder / "data"),
        }
    )
    with application.create_app(settings, web=False).app_context():
        try:
            yield
        finally:
            db.session.remove()
            db.engine.dispose()


def enter(suite: Suite, people: staff.People) -> Arena:
    """Install this suite's tools and policies in the current application."""
    world = _WORLDS[suite.name](suite.environment)
    box = world.toolbox(suite.tools)
    registry = tools.registry([box])
    tools.install(registry)
    grants.install(registry.all())
    policy.install(policy.load(POLICIES / suite.name, registry.all()))
    return Arena(suite, world, box, people)
