"""Tests beside policies: `tests.toml` of a policy folder, run through the evaluator that judges for real.

    [[case]]
    name = "A refund above 500.00 needs two people"
    tool = "issue_refund"
    arguments = { order_id = "1043", amount_minor = 60_000, currency = "EUR", reason = "late" }
    facts = { region = "EU", used = { refunds-per-customer-day = 3 } }
    expect = "two people"       # allowed, one person, two people, refused
    rule = "two-people-above-500"

With `role = "operator"` (and `team` if you like) the case asks instead whether such a person may decide it, and
expects "may decide" or "may not decide". A tool that is not installed gives its `effect`, `risk` and `reversible`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from copilot.errors import BadInput
from copilot.gate import budgets, check, glyphs, proofread, schema, vocabulary
from copilot.gate.check import Allowed, Input, NeedsApproval, Refused, Verdict
from copilot.gate.policy import Policies
from copilot.toolkit import Tool

EXPECTED = ("allowed", "one person", "two people", "refused", "may decide", "may not decide")
_FIELDS = {"name", "tool", "arguments", "facts", "expect", "rule", "role", "team", "agent", "effect", "risk", "reversible"}
_USUAL: dict[str, Any] = {
    "level": "suggest",
    "team": "",
    "region": "",
    "channel": "mail",
    "ticket_status": "open",
    "hour": 12,
    "weekday": 3,
    "business_hours": True,
    "tainted": True,
}
_WHEN = datetime(2026, 1, 7, 12, tzinfo=UTC)  # only windows' keys depend on it, and a case names what is used itself


@dataclass(frozen=True, slots=True)
class Case:
    """One question with the answer it should get."""

    name: str
    tool: str
    expect: str
    rule: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    agent: str = "agent"
    role: str = ""
    team: str = ""
    effect: str = "write"
    risk: str = "medium"
    reversible: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case got. `rule` is what decided, `reason` what people would read."""

    name: str
    ok: bool
    expected: str
    got: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All outcomes, the policies that decided nothing in any case, and a sentence for each tool of a budget that is not installed.

    `skipped` names the cases that were left out because their tool is not installed.
    """

    outcomes: tuple[Outcome, ...]
    unreached: tuple[str, ...]
    absent: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every case got what it expects and every budget can apply."""
        return all(outcome.ok for outcome in self.outcomes) and not self.absent


def run(policies: Policies, tools: Iterable[Tool] = (), *, absent_too: bool = True) -> Report:
    """Run the folder's own cases; BadInput says what is wrong with `tests.toml`.

    A case whose tool is not installed runs with the kind of tool it names itself; without `absent_too` it is left out.
    """
    installed = {tool.name: tool for tool in tools}
    outcomes, skipped, reached = [], [], set()
    for case in read(policies.files.get("tests.toml", "")):
        tool = installed.get(case.tool)
        if tool is None and not absent_too:
            skipped.append(case.name)
            continue
        given, arguments = _input(case, tool, policies)
        answers = _answers(case, given, arguments, policies)
        reached |= {decided for answer in answers for decided in answer.policies}
        outcomes.append(_person(case, answers[0], policies) if case.role else _verdict(case, given, arguments, answers, policies))
    unreached = tuple(each.id for each in policies.statements if each.id not in reached)
    return Report(tuple(outcomes), unreached, tuple(_absent(policies, installed)), tuple(skipped))


def _absent(policies: Policies, installed: Mapping[str, Tool]) -> Iterator[str]:
    """A budget for a tool that does not exist limits nothing. It is no mistake at load, where a tool may be gone for a day."""
    for rule in policies.budget_rules if installed else ():
        for name in rule.tools:
            if name not in installed and name != "*":
                yield f"budget {rule.id}: there is no tool called {name}{proofread.meant(name, installed)}"


def read(text: str) -> list[Case]:
    """The cases of one TOML text."""
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(str(error)) from error
    entries = whole.get("case", [])
    if set(whole) - {"case"} or not isinstance(entries, list):
        raise _wrong("it holds [[case]] tables and nothing else")
    return [_case(entry) for entry in entries]


def _case(entry: Mapping[str, Any]) -> Case:
    name = str(entry.get("name", "without a name"))[:200]
    if unknown := sorted(set(entry) - _FIELDS):
        raise _wrong(f"case “{name}”: unknown fields {', '.join(unknown)}")
    if not all(isinstance(entry.get(key), str) and entry[key] for key in ("name", "tool", "expect")):
        raise _wrong(f"case “{name}”: it needs name, tool and expect")
    expected = EXPECTED[4:] if entry.get("role") else EXPECTED[:4]
    if entry["expect"] not in expected:
        raise _wrong(f"case “{name}”: expect is one of {', '.join(expected)}")
    if not all(isinstance(entry.get(key, {}), dict) for key in ("arguments", "facts")):
        raise _wrong(f"case “{name}”: arguments and facts are tables")
    words = {*vocabulary.FACT, "used", "known"}
    for fact in entry.get("facts", {}):
        if fact not in words:
            raise _wrong(f"case “{name}”: there is no fact {fact}{proofread.meant(fact, words)}")
    return Case(**entry)


def _input(case: Case, tool: Tool | None, policies: Policies) -> tuple[Input, Mapping[str, Any]]:
    arguments, stopped = _normal(case, tool)
    amount = None if tool is None or tool.amount is None or stopped else tool.amount(dict(arguments))
    context = {**_USUAL, "suspicious_text": any(glyphs.suspicious(text) for text in glyphs.strings(arguments))}
    if amount is not None:
        context |= {"amount_minor": amount.minor, "currency": amount.currency}
    context |= {**case.facts, "used": case.facts.get("used", {}), "known": {case.tool: case.facts.get("known", {})}}
    effect = tool.effect if tool else case.effect
    drawn = budgets.charges(
        policies.budget_rules,
        tool=case.tool,
        agent_id="agent",
        customer_id="customer",
        amount_minor=context.get("amount_minor"),
        currency=context.get("currency"),
        now=_WHEN,
        effect=effect,
        team=context["team"],
        session="session",
    )
    given = Input(
        agent=case.agent,
        team=context["team"],
        tool=case.tool,
        effect=effect,
        risk=tool.risk if tool else case.risk,
        reversible=tool.reversible if tool else case.reversible,
        level=context["level"],
        context=context,
        charges=tuple(check.drawn(each, context["used"].get(each.rule, 0)) for each in drawn),
        facts_known=(),
        stopped=stopped,
    )
    return given, arguments


def _normal(case: Case, tool: Tool | None) -> tuple[Mapping[str, Any], dict[str, str] | None]:
    if tool is None:
        return case.arguments, None
    try:
        return schema.normalise(tool, dict(case.arguments)), None
    except BadInput as error:
        listed = "; ".join(f"{name or 'arguments'} {why}" for name, why in sorted(error.problems.items()))
        return case.arguments, {"rule": "schema", "reason": f"The arguments do not fit the tool: {listed}."}


def _answers(case: Case, given: Input, arguments: Mapping[str, Any], policies: Policies) -> list[check.Answer]:
    """Every question this case could be asked, those that its level leaves out included, so that no policy hides behind a level."""
    context = {**given.context, "args": {} if given.stopped else {given.tool: arguments}}
    if case.role:
        teams = (case.team,) if case.team else ()
        return [check.may_approve(policies, user_id="person", role=case.role, teams=teams, tool=given, context=context)]
    if given.stopped is not None:
        return []
    actions = ("read",) if given.effect == "read" else ("propose", "approve_alone", "run_unattended")
    return policies.ask_all(actions, principal=("Agent", given.agent), parents=check.teams(given.team), tool=given, context=context)


def _verdict(case: Case, given: Input, arguments: Mapping[str, Any], answers: list[check.Answer], policies: Policies) -> Outcome:
    verdict = check.evaluate(given, arguments, policies)
    got, rule = _told(verdict), _rule(verdict)
    permitted = answers[0].policies if answers else ()
    ok = got == case.expect and case.rule in ("", rule, *verdict.policies, *permitted)
    return Outcome(case.name, ok, _expected(case), got, rule, verdict.reason)


def _person(case: Case, answer: check.Answer, policies: Policies) -> Outcome:
    got = "may decide" if answer.allowed else "may not decide"
    ok = got == case.expect and (not case.rule or case.rule in answer.policies)
    reason = " ".join(policies.sentence(policy) for policy in answer.policies)
    return Outcome(case.name, ok, _expected(case), got, ", ".join(answer.policies), reason)


def _told(verdict: Verdict) -> str:
    match verdict:
        case Allowed():
            return "allowed"
        case NeedsApproval(count=count):
            return "one person" if count == 1 else "two people"
        case Refused():
            return "refused"


def _rule(verdict: Verdict) -> str:
    return ", ".join(verdict.policies) if isinstance(verdict, Allowed) else verdict.rule


def _expected(case: Case) -> str:
    return f"{case.expect} by {case.rule}" if case.rule else case.expect


def _wrong(why: str) -> BadInput:
    return BadInput(f"tests.toml: {why}.", problems={"tests.toml": why})
