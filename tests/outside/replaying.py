"""Outside tasks and calls sent through the product: read at once, proposed, approved by a person, executed; and what was counted.

Everything that waits is approved, so the person is no safety net: what stops a call here is the gate or the tool.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from copilot import jobs
from copilot.db import transaction
from copilot.errors import BadInput, Refused
from copilot.gate import arcs
from copilot.gateway import reads
from copilot.models import User
from copilot.review import decisions, proposals
from copilot.toolkit import Call, Toolbox, ToolRefused
from tests.outside import data
from tests.outside.airline import airline
from tests.outside.retail import earlier, retail
from tests.outside.world import Record, World, same
from tests.support import people as staff
from tests.support import work

BY = ("schema", "policy", "facts", "tool")  # what can stop a call, in the order in which it is asked
_USER = re.compile(r"\b[a-z]+_[a-z]+_\d{4}\b")
_numbers = itertools.count(1)
_NOT_COMPARED = "transfer_to_human_agents"  # a hand-over is a state of a run here, not a tool


@dataclass(frozen=True, slots=True)
class Domain:
    """Somebody's tools, the folder of their written policy, where their tasks are, and how the expected records are to be read."""

    box: Toolbox
    toolkit: str
    policies: str
    tasks: tuple[str, ...]
    kept: Callable[[Any], Any] = lambda records: records


def _told(tables: dict[str, dict[str, Record]]) -> dict[str, dict[str, Record]]:
    """Records without what the earlier data does not write down: fields that are empty, and on a user the user's id."""
    return {
        table: {
            key: {name: value for name, value in record.items() if value is not None and name != "user_id"} for key, record in found.items()
        }
        for table, found in tables.items()
    }


DOMAINS = {
    "retail": Domain(retail, "tests.outside.retail:retail", "retail", ("tau2", "retail", "tasks.train.json")),
    "airline": Domain(airline, "tests.outside.airline:airline", "airline", ("tau2", "airline", "tasks.train.json")),
    "earlier": Domain(earlier, "tests.outside.retail:earlier", "retail", ("tau1", "retail", "tasks.train.json"), _told),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one call: done, or stopped by one of `BY` under a rule and with a sentence; `asked`: a person approved it."""

    stopped_by: str | None
    rule: str = ""
    sentence: str = ""
    asked: bool = False


class Desk:
    """One domain's agent and the operator who approves everything, in the application whose context is pushed."""

    def __init__(self, name: str, people: staff.People) -> None:
        self.domain, self.box = DOMAINS[name], DOMAINS[name].box
        self.operator: User = people.ana
        writes = [tool.name for tool in self.box.tools.values() if tool.effect == "write"]
        scopes = tuple(f"{tool}:write" for tool in writes)
        self.agent_id = staff.add_agent(people.ids["dee"], name=f"{name}-desk", scopes=scopes)
        self._about = _what_policies_are_about(self.domain.policies)
        self._tickets: dict[str, str] = {}

    def ticket(self, customer: str) -> str:
        """The ticket of a customer who has been authenticated."""
        if customer not in self._tickets:
            self._tickets[customer] = work.ticket(customer)
        return self._tickets[customer]

    def call(self, name: str, arguments: Record, *, customer: str) -> Step:
        """Send one call the way the product takes it: reads at once, writes through a person."""
        ticket_id = self.ticket(customer)
        if self.box.tools[name].effect == "read":
            return self._read(name, arguments, ticket_id)
        return self._write(name, arguments, ticket_id)

    def _read(self, name: str, arguments: Record, ticket_id: str) -> Step:
        try:
            reads.call(name, arguments, agent_id=self.agent_id, ticket_id=ticket_id)
        except BadInput as error:
            return Step("schema", "schema", str(error))
        except Refused as refusal:
            return Step(self._by(refusal.rule, []), refusal.rule, str(refusal))
        return Step(None)

    def _write(self, name: str, arguments: Record, ticket_id: str) -> Step:
        draft = proposals.Draft(agent_id=self.agent_id, tool=name, arguments=arguments, rationale="as asked", ticket_id=ticket_id)
        try:
            prepared = proposals.prepare(draft)
        except BadInput as error:
            return Step("schema", "schema", str(error))
        with transaction():
            proposal_id = proposals.propose(prepared).id
        asked = work.state(proposal_id) == arcs.PENDING
        if asked:
            seen = work.seen(proposal_id)
            with transaction():
                decisions.decide(proposal_id, reviewer=self.operator, verdict="approve", seen=seen)
            jobs.execute(proposal_id)
        row = work.row(proposal_id)
        if row.state == arcs.SUCCEEDED:
            return Step(None, asked=asked)
        if row.state == arcs.FAILED:
            return Step("tool", "tool-refused", str((row.outcome or {}).get("message", "")), asked)
        rule = str(row.verdict["rule"])
        return Step(self._by(rule, row.verdict["policies"]), rule, str(row.verdict["reason"]), asked)

    def _by(self, rule: str, policies: list[str]) -> str:
        """What stopped it. Where several policies say no, one that needs the arguments alone had said so before any fact was known."""
        if rule == "tool-refused":
            return "tool"
        said = {self._about.get(name, rule) for name in policies or [rule]}
        return next((by for by in BY if by in said), rule)


def _what_policies_are_about(folder: str) -> dict[str, str]:
    """Each policy by what it needs to decide: `facts` when it asks what was looked up, else `policy`: the arguments alone."""
    about = {}
    for file in sorted((data.POLICIES / folder).glob("*.cedar")):
        for part in file.read_text(encoding="utf-8").split('@id("')[1:]:
            name, _, text = part.partition('"')
            about[name] = "facts" if "context.known" in text or "same_customer" in text else "policy"
    return about


def untouched(name: str) -> bool:
    """Whether the records every world of this domain shares are still as the data has them: no tool changed them by mistake."""
    domain = DOMAINS[name]
    with fresh(domain.box) as world:
        return same(world.state(), data.tables(domain.policies, again=True))


@contextmanager
def fresh(box: Toolbox) -> Iterator[World]:
    """A world of its own, as the data has it."""
    assert box.environment_factory is not None
    with box.environment_factory() as world:
        yield world


def straight(box: Toolbox, name: str, arguments: Record) -> str | None:
    """Call a tool with nothing in between; gives its refusal, or None when it was done."""
    call = Call(idempotency_key=f"straight-{next(_numbers)}", deadline=datetime.now(UTC), agent="nobody")
    try:
        box.tools[name].invoke(arguments, call)
    except ToolRefused as refusal:
        return str(refusal)
    return None


def customer_of(task: Record, box: Toolbox, world: World) -> str:
    """Who was authenticated in a task: as its instructions say, or as its own look-up finds, or whose order it is about."""
    if "user_id" in task:
        return str(task["user_id"])
    named = _USER.search(task["instructions"]["known_info"] or "")
    if named and world.find("users", named.group()) is not None:
        return named.group()
    for action in task["actions"]:
        given = action["kwargs"]
        if action["name"].startswith("find_user_id") and not action.get("expected_error"):
            call = Call(idempotency_key="authenticate", deadline=datetime.now(UTC), agent="nobody")
            return str(box.tools[action["name"]].invoke(given, call))
        if "user_id" in given:
            return str(given["user_id"])
        if "order_id" in given and world.find("orders", given["order_id"]) is not None:
            return str(world.get("orders", given["order_id"])["user_id"])
    return ""  # nobody was, in a task that calls nothing


def replay(desk: Desk, *, every: int = 1) -> dict[str, Any]:
    """Replay train tasks. `wrong` names each task whose records differ from what is expected, or whose step went otherwise."""
    wrong: list[str] = []
    counted: Counter[str] = Counter()
    for task in data.read(*desk.domain.tasks)[::every]:
        with fresh(desk.box) as world:
            customer = customer_of(task, desk.box, world)
            for action in task["actions"]:
                if action["name"] == _NOT_COMPARED:
                    counted["handed over, not compared"] += 1
                    continue
                before = world.changes()
                step = desk.call(action["name"], action["kwargs"], customer=customer)
                effect, failing = desk.box.tools[action["name"]].effect, "expected_error" in action
                counted[f"{effect}s {'refused as expected' if failing else 'done'}"] += 1
                if (step.stopped_by is not None) != failing or (failing and not same(world.changes(), before)):
                    wrong.append(f"{task['id']} {action['name']}: {step}")
            if not same(desk.domain.kept(world.changes()), desk.domain.kept(task["expected_changes"])):
                wrong.append(f"{task['id']}: the records differ from what is expected")
        counted["tasks"] += 1
    return {**dict(sorted(counted.items())), "wrong": wrong}


def negative(desk: Desk, *, only: str | None = None) -> dict[str, Any]:
    """Send the wrong calls, or `only` those of one mistake. Each must change nothing.

    Counted by what stopped it; beside it what the tool alone would have done, of the calls that fit its schema.
    """
    stopped: Counter[str] = Counter()
    table: dict[str, Counter[str]] = defaultdict(Counter)
    changed, alone, asked, unsaid = [], 0, 0, 0
    for wrong in data.read("retail_negative_calls.json"):
        if only not in (None, wrong["expect_denied_by"]):
            continue
        with fresh(desk.box) as world:
            for prior in wrong["prior_calls"]:
                assert straight(desk.box, prior["name"], prior["kwargs"]) is None
            before = world.changes()
            step = desk.call(wrong["name"], wrong["kwargs"], customer=wrong["authenticated_user"])
            if not same(world.changes(), before):
                changed.append(wrong["id"])
            if step.stopped_by != "schema":
                alone += straight(desk.box, wrong["name"], wrong["kwargs"]) is None
        by = step.stopped_by or "nothing"
        asked += step.asked
        unsaid += not step.sentence
        stopped[by] += 1
        table[wrong["expect_denied_by"]][by if by not in ("facts", "policy") else f"{by}: {step.rule}"] += 1
    return {
        "calls": sum(stopped.values()),
        "changed_state": changed,
        "stopped_by": {by: stopped[by] for by in (*BY, *sorted(set(stopped) - set(BY)))},
        "reached_a_person": asked,
        "stopped_without_a_sentence": unsaid,
        "the_tool_alone_would_have_done": alone,
        "by_mistake": {mistake: dict(counts.most_common()) for mistake, counts in sorted(table.items())},
    }


def gpt4o(desk: Desk) -> dict[str, Any]:
    """Send the writes GPT-4o drafted, each in the world its earlier ones had left behind when it drafted it.

    A call of GPT-4o's that its own world had accepted is therefore done to ours even where the gate stopped it.
    """
    known = {task["id"]: task for task in data.read("tau2", "airline", "tasks.train.json")}
    kinds = {(True, False): "right", (False, False): "wrong, would have run", (False, True): "wrong, the tool refuses"}
    outcome: dict[str, Counter[str]] = {kind: Counter() for kind in kinds.values()}
    rules: dict[str, Counter[str]] = {kind: Counter() for kind in kinds.values()}
    labelled = labelled_stopped = asked = 0
    for run in _by_run(data.read("gpt4o_airline_writes.json")):
        with fresh(desk.box) as world:
            customer = customer_of(known[run[0]["tau2_task"]], desk.box, world)
            for draft in run:
                step = desk.call(draft["name"], draft["kwargs"], customer=customer)
                kind = kinds[draft["in_ground_truth"], draft["api_error"]]
                outcome[kind][step.stopped_by or "ran"] += 1
                asked += step.asked
                if step.stopped_by in ("policy", "facts"):
                    rules[kind][step.rule] += 1
                if kind == "wrong, would have run" and draft["violations"]:
                    labelled, labelled_stopped = labelled + 1, labelled_stopped + (step.stopped_by is not None)
                if step.stopped_by is not None and not draft["api_error"]:
                    assert straight(desk.box, draft["name"], draft["kwargs"]) is None
    would, right = outcome["wrong, would have run"], outcome["right"]
    return {
        "drafts": sum(sum(counts.values()) for counts in outcome.values()),
        "wrong_that_would_have_run": sum(would.values()),
        "of_those_stopped_by_the_written_policy": sum(would.values()) - would["ran"],
        "of_those_labelled_as_breaking_a_written_rule": labelled,
        "of_those_labelled_stopped": labelled_stopped,
        "right": sum(right.values()),
        "right_blocked": sum(right.values()) - right["ran"],
        "reached_a_person": asked,
        "stopped_by": {kind: dict(counts.most_common()) for kind, counts in outcome.items()},
        "rules": {kind: dict(counts.most_common()) for kind, counts in rules.items()},
    }


def _by_run(drafts: Iterable[Record]) -> list[list[Record]]:
    runs: dict[str, list[Record]] = defaultdict(list)
    for draft in drafts:
        runs[draft["run"]].append(draft)
    return list(runs.values())
