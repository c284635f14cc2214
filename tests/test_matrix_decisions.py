"""Every way to a decision × everything that may stand against it, as one table; and nothing reaches a writing tool except by a claim.

page, api: Ana decides there, and whatever follows from it is executed at once. agent: the agent tries to decide what it proposed itself,
as an outside agent or an MCP server would, which has only the agent's credentials (`no`: that is for people; `shut`: it may not even
come in). worker: Ana, or whoever is needed, approved in good time, then it happened, then the worker came. automatic: it was approved
without a person, then it happened, then the worker came.

`runs`: one call. `no:RULE`: the decision was refused and nothing changed. `more`: it counts, and somebody else is needed. `denied:RULE`:
ended by the gate. `back:RULE`: with people again, as a new version. `held`: an incident. `waits`: not called, and tried again later.
`stays`: as it was. `-`: cannot come about on this way.
"""

from __future__ import annotations

import ast
import dataclasses
import html
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, select, text, update

from copilot import db as database
from copilot import jobs
from copilot.db import db, new_id, transaction
from copilot.gate import policy, switches, tools
from copilot.gateway import breaker, mcptools
from copilot.models import Agent, Grant, Message, PolicyVersion, Proposal, ProposalVersion, Ticket, ToolPin, User
from copilot.processes import mcpoffer
from copilot.toolkit import Call, Tool, ToolError
from tests.conftest import Clock
from tests.support import api, browser, work
from tests.support.ledger import Ledger
from tests.support.people import People
from tests.support.tools import WRITES, counting

TABLE = """
SITUATION            page                        api                         agent worker                     automatic
nothing              runs                        runs                        no    runs                       runs
asked_for_it         no:requester-never-approves no:requester-never-approves no    back:approver-not-entitled -
typed_the_ticket     no:requester-never-approves no:requester-never-approves no    back:approver-not-entitled -
typed_a_message      no:requester-never-approves no:requester-never-approves no    back:approver-not-entitled -
owns_the_agent       no:owner-never-approves     no:owner-never-approves     no    back:approver-not-entitled -
only_looks           no:role                     no:role                     no    back:approver-not-entitled -
was_disabled         no:not-authenticated        no:not-authenticated        no    back:approver-not-entitled -
policy_gives_no_say  no:policy-approve           no:policy-approve           no    -                          -
needs_two            more                        more                        no    back:approver-not-entitled -
has_the_other        runs                        runs                        no    runs                       -
approved_it_before   no:conflict                 no:conflict                 no    -                          -
raised_it            more                        more                        no    back:approver-not-entitled -
edited_since         no:stale-digest             no:stale-digest             no    stays                      -
rejected             no:already-decided          no:already-decided          no    stays                      -
withdrawn            no:already-decided          no:already-decided          no    stays                      stays
past_the_deadline    no:already-decided          no:already-decided          no    back:approval-too-old      back:approval-too-old
expired              no:already-decided          no:already-decided          no    stays                      -
digest_forged        no:stale-digest             no:stale-digest             no    held                       held
content_forged       held                        held                        no    held                       held
switch_on_everything waits                       waits                       no    waits                      waits
switch_on_the_agent  waits                       waits                       no    waits                      waits
switch_on_the_tool   waits                       waits                       no    waits                      waits
agent_disabled       denied:agent-disabled       denied:agent-disabled       shut  denied:agent-disabled      denied:agent-disabled
scope_revoked        denied:scope                denied:scope                no    denied:scope               denied:scope
token_narrower       denied:scope                denied:scope                no    denied:scope               denied:scope
level_off            denied:level-off            denied:level-off            no    denied:level-off           denied:level-off
level_lowered        runs                        runs                        no    runs                       back:no-longer-automatic
policy_changed       back:policy-changed         back:policy-changed         no    back:policy-changed        back:policy-changed
policy_forbids       denied:closed-now           denied:closed-now           no    denied:closed-now          denied:closed-now
policy_unreadable    no:policy-broken            no:policy-broken            no    denied:policy-broken       denied:policy-broken
budget_gone          denied:purse                denied:purse                no    denied:purse               denied:purse
tool_missing         no:tool-missing             no:tool-missing             no    back:tool-missing          back:tool-missing
tool_changed         back:tool-changed           back:tool-changed           no    back:tool-changed          back:tool-changed
tool_down            waits                       waits                       no    waits                      waits
tool_failing         waits                       waits                       no    waits                      waits
tool_full            waits                       waits                       no    waits                      waits
tool_suspended       back:tool-suspended         back:tool-suspended         no    back:tool-suspended        back:tool-suspended
target_moved         back:target-moved           back:target-moved           no    back:target-moved          back:target-moved
target_gone          back:no-longer-possible     back:no-longer-possible     no    back:no-longer-possible    back:no-longer-possible
ticket_closed        no:stale-digest             no:stale-digest             no    back:ticket-ended          back:ticket-ended
customer_wrote       no:stale-digest             no:stale-digest             no    back:customer-wrote        back:customer-wrote
"""


def _cells() -> Iterator[tuple[str, str, str]]:
    head, *lines = [line.split() for line in TABLE.strip().splitlines()]
    for line in lines:
        assert len(line) == len(head), line
        yield from ((line[0], way, cell) for way, cell in zip(head[1:], line[1:], strict=True) if cell != "-")


@dataclasses.dataclass
class World:
    """What a situation changes, and what the ways to a decision work with."""

    app: Flask
    people: People
    agent: str
    book: Ledger
    clock: Clock
    way: str
    tool: str = "pay_key"
    amount: int = 1_000
    proposal: str = ""
    ticket: str = ""
    shown: str = ""
    foreign: bool = False

    def begin(self, *, tool: str = "pay_key", amount: int = 1_000) -> None:
        """Let the agent propose, and see what a page would show."""
        self.tool, self.amount = tool, amount
        self.ticket = work.ticket()
        self.proposal = work.propose(self.agent, tool, ticket_id=self.ticket, amount_minor=amount)
        self.shown = work.seen(self.proposal)

    def set(self, table: type[Any], key: str, **values: Any) -> None:
        """Change one row behind everybody's back."""
        with transaction():
            db.session.execute(update(table).where(table.id == key).values(**values))

    def replace(self, **changes: Any) -> None:
        """Let the tool be another one from now on."""
        now = tools.current().by_name
        tools.install(tools.Registry({**now, self.tool: dataclasses.replace(now[self.tool], **changes)}))

    def level(self, level: str) -> None:
        """Set the level as a manager did."""
        with transaction():
            db.session.merge(Grant(agent_id=self.agent, tool=self.tool, level=level, percent=100, changed_at=database.now()))


Step = Callable[[World], None]


def _throw(world: World, scope: str) -> None:
    with transaction():
        switches.throw(scope, by=world.people.bo, reason="an incident")


def _policies(more: str) -> None:
    """Other policies from now on: those of the tests, and more."""
    now = policy.current()
    files = dict(now.files)
    name = next(each for each in files if each.endswith(".cedar"))
    policy.install(policy.from_files(files | {name: f"{files[name]}\n{more}"}, tools=tools.current().all()))


_CLOSED = '@id("closed-now")\n@sentence("Nothing is paid any more.")\nforbid (principal, action == Action::"propose", resource);'


def _unreadable(world: World) -> None:
    with transaction():
        at = database.now()
        db.session.add(
            PolicyVersion(
                id=new_id("polv"), number=1, hash="0" * 64, source="page", files={"a.cedar": "permit (nonsense"}, comment="",
                state="published", replay_state="", created_at=at, published_at=at,
            )
        )  # fmt: skip


def _spend_the_purse(world: World) -> None:
    other = work.propose(world.agent, "pay_capped", amount_minor=1_000)
    if work.state(other) == "PENDING":
        work.approve(other, world.people.eli)
    jobs.execute(other)
    assert work.state(other) == "SUCCEEDED"


def _down(*_: object) -> str:
    raise ToolError("The bank is down.", happened=False)


def _write_again(world: World) -> None:
    with transaction():
        at = database.now() + timedelta(seconds=1)
        db.session.add(
            Message(id=new_id("msg"), ticket_id=world.ticket, external_id="2", author="customer", body="Stop", at=at, created_at=at)
        )


def _type_message(world: World) -> None:
    ana, at = world.people.ids["ana"], database.now() - timedelta(days=1)
    with transaction():
        made = Message(id=new_id("msg"), ticket_id=world.ticket, external_id="1", author="staff", body="Pay", at=at, created_at=at)
        made.requester_id = ana
        db.session.add(made)


def _expire(world: World) -> None:
    world.clock.advance(hours=9)
    jobs.sweep()


def _remove_tool(world: World) -> None:
    tools.install(tools.Registry({name: tool for name, tool in tools.current().by_name.items() if name != world.tool}))


SITUATIONS: dict[str, Step] = {
    "nothing": lambda w: None,
    "asked_for_it": lambda w: w.set(Proposal, w.proposal, requester_id=w.people.ids["ana"]),
    "typed_the_ticket": lambda w: w.set(Ticket, w.ticket, requester_id=w.people.ids["ana"]),
    "typed_a_message": _type_message,
    "owns_the_agent": lambda w: w.set(Agent, w.agent, owner_id=w.people.ids["ana"]),
    "only_looks": lambda w: w.set(User, w.people.ids["ana"], role="auditor"),
    "was_disabled": lambda w: w.set(User, w.people.ids["ana"], active=False),
    "policy_gives_no_say": lambda w: None,
    "needs_two": lambda w: w.set(User, w.people.ids["eli"], role="auditor"),
    "has_the_other": lambda w: None,
    "approved_it_before": lambda w: None,
    "raised_it": lambda w: None,
    "edited_since": lambda w: None,
    "rejected": lambda w: None,
    "withdrawn": lambda w: None,
    "past_the_deadline": lambda w: w.clock.advance(hours=9),
    "expired": lambda w: None,
    "digest_forged": lambda w: w.set(Proposal, w.proposal, digest="0" * 64),
    "content_forged": lambda w: _forge(w),
    "switch_on_everything": lambda w: _throw(w, "all"),
    "switch_on_the_agent": lambda w: _throw(w, f"agent:{w.agent}"),
    "switch_on_the_tool": lambda w: _throw(w, f"tool:{w.tool}"),
    "agent_disabled": lambda w: w.set(Agent, w.agent, enabled=False),
    "scope_revoked": lambda w: w.set(Agent, w.agent, scopes=["*:read"]),
    "token_narrower": lambda w: w.set(Proposal, w.proposal, token_scopes=["pay_key:write;customer=somebody-else"]),
    "level_off": lambda w: w.level("off"),
    "level_lowered": lambda w: w.level("suggest"),
    "policy_changed": lambda w: _policies("// a word of explanation"),
    "policy_forbids": lambda w: _policies(_CLOSED),
    "policy_unreadable": _unreadable,
    "budget_gone": _spend_the_purse,
    "tool_missing": _remove_tool,
    "tool_changed": lambda w: w.replace(description="Pays twice."),
    "tool_down": lambda w: w.replace(revision=_down),
    "tool_failing": lambda w: _fail(w),
    "tool_full": lambda w: _fill(w),
    "tool_suspended": lambda w: _suspend(w),
    "target_moved": lambda w: w.book.move("c1/main"),
    "target_gone": lambda w: w.book.close("c1/main"),
    "ticket_closed": lambda w: w.set(Ticket, w.ticket, status="closed", updated_at=database.now()),
    "customer_wrote": _write_again,
}
BEGIN: dict[str, dict[str, Any]] = {
    "policy_gives_no_say": {"amount": 60_000},
    "needs_two": {"amount": 20_000},
    "has_the_other": {"amount": 20_000},
    "approved_it_before": {"amount": 20_000},
    "budget_gone": {"tool": "pay_capped"},
}


def _fail(world: World) -> None:
    """Let the tool's breaker open, as after five calls in a row that got no answer."""
    with transaction():
        for _ in range(breaker.FAILURES):
            breaker.record(world.tool, ok=False, now=database.now())


def _fill(world: World) -> None:
    """Let the tool's only slot be taken by a call that is under way."""
    other = work.propose(world.agent, world.tool)
    world.set(Proposal, other, state="EXECUTING", lease_until=database.now() + timedelta(minutes=1))
    world.replace(concurrency=1)


def _suspend(world: World) -> None:
    """Let the tool be a foreign one whose server now says something else about it."""
    with transaction():
        at, seen = database.now(), {"name": world.tool, "description": "Pays twice.", "inputSchema": {"type": "object"}}
        db.session.add(
            ToolPin(tool=world.tool, source="mcp:bank", definition={}, hash="a", accepted_at=at, seen=seen, seen_hash="b", seen_at=at)
        )
    world.foreign = True
    world.replace(source="mcp:bank")
    mcptools._in_use[world.tool] = "a"


def _forge(world: World) -> None:
    """Change what is stored, by whoever owns the database."""
    with transaction():
        stored = work.arguments(invoice="inv-forged", amount_minor=world.amount)
        forged = json.dumps(stored)
        db.session.execute(update(ProposalVersion).where(ProposalVersion.proposal_id == world.proposal).values(arguments=forged))


def _already(world: World, situation: str) -> None:
    """What others did before Ana comes, where that is the situation."""
    people = world.people
    if situation in ("has_the_other", "approved_it_before"):
        work.approve(world.proposal, people.eli if situation == "has_the_other" else people.ana)
    elif situation == "raised_it":
        work.edit(world.proposal, people.ana, save_only=True, amount_minor=9_000)
        world.shown = work.seen(world.proposal)
    elif situation == "edited_since":
        work.edit(world.proposal, people.eli, save_only=True, amount_minor=900)
    elif situation == "rejected":
        work.reject(world.proposal, people.eli)
    elif situation == "withdrawn":
        work.withdraw(world.proposal, people.eli)
    elif situation == "expired":
        _expire(world)


def _by_page(world: World, situation: str) -> str:
    client = world.app.test_client()
    browser.sign_in(client, "ana@example.com")
    forgery = browser.token(client)
    _already(world, situation)
    SITUATIONS[situation](world)
    answer = client.post(f"/proposals/{world.proposal}/approve", data={"seen": world.shown, "csrf_token": forgery})
    if answer.status_code == 303 and "/sign-in" in answer.location:
        return "no:not-authenticated"
    if answer.status_code == 303:
        return _then(world)
    same = _as_api(world)  # the page's sentence is the API's, and so is its rule
    assert answer.status_code == same.status_code, answer.text
    assert same.json["detail"] in html.unescape(answer.text)
    return f"no:{same.json.get('rule') or same.json['code']}"


def _by_api(world: World, situation: str) -> str:
    caller = api.as_person(world.app.test_client(), world.people.ana)
    _already(world, situation)
    SITUATIONS[situation](world)
    answer = caller("POST", f"/proposals/{world.proposal}/decisions", {"verdict": "approve", "digest": world.shown})
    return _then(world) if answer.status_code == 200 else f"no:{answer.json.get('rule') or answer.json['code']}"


def _as_api(world: World) -> Any:
    caller = api.as_person(world.app.test_client(), world.people.ana)
    return caller("POST", f"/proposals/{world.proposal}/decisions", {"verdict": "approve", "digest": world.shown})


def _by_agent(world: World, situation: str) -> str:
    caller = api.as_agent(world.app.test_client(), world.agent)
    _already(world, situation)
    SITUATIONS[situation](world)
    before = work.state(world.proposal)
    answer = caller("POST", f"/proposals/{world.proposal}/decisions", {"verdict": "approve", "digest": world.shown})
    assert work.state(world.proposal) == before
    return "shut" if answer.status_code == 401 else {"person-only": "no"}[answer.json["rule"]]


def _by_worker(world: World, situation: str) -> str:
    people = world.people
    if situation in ("edited_since", "rejected", "withdrawn", "expired"):
        _already(world, situation)
    elif situation == "raised_it":  # she could once, while the rule was off
        with transaction():
            switches.set_rule("other-than-editor", on=False, by=people.dee, reason="an experiment")
        work.edit(world.proposal, people.ana, amount_minor=9_000)
        with transaction():
            switches.set_rule("other-than-editor", on=True, by=people.dee, reason="it was a bad one")
    else:
        work.approve(world.proposal, people.ana)
        if world.amount > 10_000:
            work.approve(world.proposal, people.eli)
    SITUATIONS[situation](world)
    return _then(world)


def _automatically(world: World, situation: str) -> str:
    assert work.state(world.proposal) == "APPROVED"
    _already(world, situation)
    SITUATIONS[situation](world)
    return _then(world)


WAYS: dict[str, Callable[[World, str], str]] = {
    "page": _by_page,
    "api": _by_api,
    "agent": _by_agent,
    "worker": _by_worker,
    "automatic": _automatically,
}


def _then(world: World) -> str:
    """Let the worker come, twice; what became of the proposal, in the table's words."""
    before = work.state(world.proposal)
    jobs.execute(world.proposal)
    jobs.execute(world.proposal)
    row = work.row(world.proposal)
    calls = world.book.calls(world.proposal)
    if row.state == "SUCCEEDED":
        assert calls == 1
        return "runs"
    assert calls == 0, f"{row.state}, and yet it was called"
    sent_back = row.verdict.get("sent_back", {}).get("rule")
    if row.state == "PENDING" and before == "PENDING" and not sent_back and world.way in ("page", "api"):
        return "more"
    if row.state == "PENDING" and sent_back:
        return f"back:{sent_back}"
    if row.state == "DENIED":
        return f"denied:{row.verdict['rule']}"
    return {"HELD": "held", "APPROVED": "waits"}.get(row.state, "stays")


@pytest.fixture
def guard(app: Flask) -> Iterator[list[str]]:
    """Look over the shoulder of every writing tool: what it was called for without a claim of this very moment."""
    wrong: list[str] = []
    engine = db.engine
    watched = {name: _watched(tool, engine, wrong) for name, tool in tools.current().by_name.items() if tool.effect == "write"}
    tools.install(tools.Registry({**tools.current().by_name, **watched}))
    yield wrong
    assert wrong == []


def _watched(tool: Tool, engine: Engine, wrong: list[str]) -> Tool:
    def look(call: Call, arguments: dict[str, Any]) -> Any:
        wrong.extend(_unclaimed(engine, tool.name, call.idempotency_key))
        return tool.function(**arguments, call=call)

    return dataclasses.replace(tool, function=lambda *, call, **arguments: look(call, arguments))


_CLAIMED = text(
    "SELECT p.state, p.fence, p.digest, p.tool, (SELECT count(*) FROM executions e WHERE e.proposal_id = p.id AND e.fence = p.fence AND "
    "e.state = 'started' AND e.digest = p.digest) FROM proposals p WHERE p.id = :key"
)
_INTENT = text("SELECT line FROM audit_events WHERE subject = :key AND kind = 'proposal.executing'")


def _unclaimed(engine: Engine, tool: str, key: str) -> Iterator[str]:
    """What a call under this key lacks: its proposal EXECUTING, one started attempt under its fence, an intent with its digest."""
    with engine.connect() as reading:
        row = reading.execute(_CLAIMED, {"key": key}).one_or_none()
        intents = [json.loads(line) for (line,) in reading.execute(_INTENT, {"key": key})]
    if row is None:
        yield f"{tool} was called for nothing that was proposed ({key})"
        return
    state, fence, digest, named, attempts = row
    if (state, named, attempts) != ("EXECUTING", tool, 1):
        yield f"{tool} was called for {key}, which is {state}, for {named}, with {attempts} attempts under its fence"
    if [(each["fence"], each["digest"]) for each in intents][-1:] != [(fence, digest)]:
        yield f"{tool} was called for {key} before its intent was on record"


@pytest.mark.parametrize(("situation", "way", "cell"), [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in _cells()])
def test_every_way_to_a_decision_ends_as_the_table_says(
    app: Flask, people: People, agent: str, book: Ledger, clock: Clock, guard: list[str], situation: str, way: str, cell: str
) -> None:
    world = World(app, people, agent, book, clock, way)
    if way == "automatic":
        world.tool = BEGIN.get(situation, {}).get("tool", "pay_key")
        world.level("auto")
    world.begin(**BEGIN.get(situation, {}))
    try:
        assert WAYS[way](world, situation) == cell
    finally:
        if world.foreign:
            mcptools._in_use.pop(world.tool)


def test_the_table_covers_every_situation() -> None:
    assert {situation for situation, _, _ in _cells()} == set(SITUATIONS)


def test_the_look_over_the_shoulder_sees_a_call_without_a_claim(app: Flask, agent: str, guard: list[str]) -> None:
    proposal_id = work.propose(agent)
    for key in (proposal_id, "prop_nobody"):
        tools.current().get("pay_key").invoke(
            work.arguments(), Call(idempotency_key=key, deadline=database.now() + timedelta(seconds=5), agent="an agent")
        )
    assert len(guard) == 3, "state and intent of the first, and the second was never proposed"
    guard.clear()


def _calls_of(tree: ast.AST, *names: str) -> bool:
    return any(isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names for node in ast.walk(tree))


def test_the_code_has_one_place_that_calls_a_tool_and_one_that_performs_a_claim() -> None:
    root = Path(__file__).resolve().parent.parent / "copilot"
    sources = {path.relative_to(root).as_posix(): ast.parse(path.read_text()) for path in root.rglob("*.py") if "demo" not in path.parts}
    called = {
        name
        for name, tree in sources.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "invoke" and not _is_super(node.func)
    }
    assert called - {"gateway/asking.py"} == {"gateway/adapters.py"}, (
        "only the adapter calls a tool; asking.py calls the adapter, for reads"
    )
    assert {name for name, tree in sources.items() if _calls_of(tree, "perform")} == {"jobs.py"}
    assert {name for name, tree in sources.items() if _calls_of(tree, "claim") and "writes" in ast.dump(tree)} == {"jobs.py"}
    assert {name for name, tree in sources.items() if _makes_claims(tree)} == {"gateway/writes.py"}
    assert {name for name, tree in sources.items() if _calls_of(tree, "function")} <= {"toolkit.py"}


def _is_super(called: ast.Attribute) -> bool:
    return isinstance(called.value, ast.Call) and isinstance(called.value.func, ast.Name) and called.value.func.id == "super"


def _makes_claims(tree: ast.AST) -> bool:
    """Whether this module makes a Claim of the adapters', by whatever name it got hold of the class."""
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "copilot.gateway.adapters"]
    named = {each.asname or each.name for node in froms for each in node.names if each.name == "Claim"}
    made = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(isinstance(each, ast.Name) and each.id in named for each in made) or any(
        isinstance(each, ast.Attribute) and each.attr == "Claim" for each in made
    )


def test_a_read_call_never_reaches_a_writing_tool(app: Flask, agent: str, book: Ledger, guard: list[str]) -> None:
    caller = api.as_agent(app.test_client(), agent)
    for tool in WRITES:
        answer = caller("POST", f"/tools/{tool}", {"arguments": work.arguments()})
        assert (answer.status_code, answer.json["rule"]) == (409, "write-needs-proposal")
    assert book.effects() == []
    assert db.session.scalar(select(Proposal.id)) is None


class _Door:
    """The client an MCP server speaks through, here without a socket between."""

    def __init__(self, caller: api.Caller) -> None:
        self.caller = caller

    def tools(self) -> list[dict[str, Any]]:
        return list(self.caller("GET", "/tools").json["items"])

    def read(self, tool: str, *, arguments: Any, ticket_id: str | None = None) -> Any:
        return self.caller("POST", f"/tools/{tool}", {"arguments": arguments}).json["result"]

    def propose(self, tool: str, *, arguments: Any, idempotency_key: str, **about: Any) -> Any:
        body = {"tool": tool, "arguments": arguments, "rationale": about["rationale"]}
        return self.caller("POST", "/proposals", body, headers={"Idempotency-Key": idempotency_key}).json

    def proposal(self, proposal_id: str, *, wait: int = 0) -> Any:
        return self.caller("GET", f"/proposals/{proposal_id}").json


def test_an_mcp_server_offers_tools_and_no_way_to_decide(app: Flask, agent: str, book: Ledger, guard: list[str]) -> None:
    door: Any = _Door(api.as_agent(app.test_client(), agent))
    offered = mcpoffer.offers(door)
    assert set(offered) == {*counting.tools, "proposal_status", "wait_for_decision", "withdraw"}
    for tool in WRITES:
        told = mcpoffer.call(door, offered[tool], work.arguments())
        assert (told.error, told.data["state"]) == (False, "PENDING"), "calling a write proposes it"
    assert book.effects() == []


def test_the_mcp_servers_code_knows_no_call_that_decides() -> None:
    root = Path(__file__).resolve().parent.parent / "copilot" / "processes"
    called = {
        node.func.attr
        for path in root.glob("mcp*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert {"propose", "read", "proposal", "withdraw"} <= called
    assert called & {"decide", "set_level", "create_ticket", "add_message", "set_status"} == set()
