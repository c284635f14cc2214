"""Every rule is walked into: what people and programs are told has a sentence, the rule's name and a next step, and no code in it.

The rules of the gate itself are each produced as they come about, on a page and by API. The policies and budgets of the shipped sets are
decided by the evaluator over each set's own cases, and shown by the product's own way from a verdict to a page and an answer.
"""

from __future__ import annotations

import ast
import dataclasses
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from copilot import db as database
from copilot import jobs
from copilot.autonomy import grants
from copilot.db import db, transaction
from copilot.demo import tools as shop
from copilot.errors import CopilotError
from copilot.gate import cases, changes, check, history, library, policy, rules, switches, tools
from copilot.gateway import mcptools, reads, writes
from copilot.gateway.adapters import Claim
from copilot.models import Agent, Grant, Ticket, ToolPin, User
from copilot.review import decisions, proposals
from copilot.toolkit import Call, Money, Preview, Toolbox
from tests import test_matrix_decisions as matrix
from tests.conftest import Clock
from tests.support import api, browser, work
from tests.support import people as staff
from tests.support.ledger import Ledger
from tests.support.people import People
from tests.support.tools import WRITES

ROOT = Path(__file__).resolve().parent.parent

# Words with an underscore, a double colon, a dot between two names, brackets of a call, braces, or a scope: what a programmer writes.
_CODE = re.compile(r"\w_\w|::|\b(?:context|principal|resource|self|args)\.\w|\w\(\)|[{}]|\b[a-z]+:(?:read|write)\b|\bNone\b|<[a-z]")

_ID = re.compile(r"\bprop_[a-z0-9]{16,}\b")  # the number of a proposal is no code


def assert_plain(sentence: str, *, rule: str = "") -> None:
    """A sentence for people: begins and ends as one, and holds no code."""
    assert re.match(r"[A-Z“\d$€]", sentence), f"{rule}: does not begin like a sentence: {sentence!r}"
    assert sentence.rstrip("”)").endswith((".", "!", "?")), f"{rule}: does not end like a sentence: {sentence!r}"
    found = _CODE.search(_ID.sub("", sentence))
    assert found is None, f"{rule}: {found[0]!r} is code: {sentence!r}"


@dataclass
class Stage:
    """Where the rules are walked into: everybody's browser and token, and the matrix's ways to get into trouble."""

    app: Flask
    people: People
    agent: str
    book: Ledger
    clock: Clock

    def browser(self, name: str) -> FlaskClient:
        """Somebody's browser, signed in."""
        client = self.app.test_client()
        browser.sign_in(client, f"{name}@example.com")
        return client

    def person(self, name: str) -> api.Caller:
        """Somebody with their token."""
        return api.as_person(self.app.test_client(), self.people.row(name))

    def bot(self, *scopes: str) -> api.Caller:
        """The agent with its token."""
        return api.as_agent(self.app.test_client(), self.agent, *scopes)

    def world(self, way: str) -> matrix.World:
        """The matrix's world on this stage."""
        return matrix.World(self.app, self.people, self.agent, self.book, self.clock, way)

    def trouble(self, situation: str, *, way: str = "worker") -> str:
        """Get a proposal into one of the matrix's situations after its approval; its id."""
        world = self.world(way)
        if way == "automatic":
            world.level("auto")
        world.begin(**matrix.BEGIN.get(situation, {}))
        matrix.WAYS[way](world, situation)
        return world.proposal

    def level(self, level: str) -> None:
        """Set the level of paying."""
        with transaction():
            db.session.merge(Grant(agent_id=self.agent, tool="pay_key", level=level, percent=100, changed_at=database.now()))


@dataclass(frozen=True)
class Heard:
    """What somebody heard: the sentence, the rule and the next step, by API (or from the error itself), and the page's text."""

    sentence: str
    rule: str
    next_step: str
    page: str | None


def _text(answer: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", answer.text))


# ----- how each kind of refusal is heard


def stored(stage: Stage, proposal_id: str) -> Heard:
    """A verdict kept with the proposal: the proposal's page, and the API's answer about it."""
    verdict = stage.person("ana")("GET", f"/proposals/{proposal_id}").json["verdict"]
    page = _text(stage.browser("ana").get(f"/proposals/{proposal_id}"))
    back = verdict.get("sent_back")
    told = back or verdict
    if told is verdict and verdict["kind"] == "needs_approval":
        assert "Your decision" in page, "what to do next is on the very page"
        return Heard(told["reason"], told["rule"], told["next_step"], f"{page} {told['next_step']}")
    return Heard(told["reason"], told["rule"], told["next_step"], page)


def outcome(stage: Stage, proposal_id: str) -> Heard:
    """What stopped something after it was approved for good: the outcome kept with the proposal."""
    found = stage.person("ana")("GET", f"/proposals/{proposal_id}").json["outcome"]
    page = _text(stage.browser("ana").get(f"/proposals/{proposal_id}"))
    sentence = found["message"] if found["known"] == "unknown" else "What would run is not what was approved, so it was stopped."
    return Heard(sentence, found["rule"], policy.current().next_step(found["rule"]), page)


def problem(answer: Any, page: Any | None = None) -> Heard:
    """A problem document, and the page that refused the same."""
    document = answer.json
    assert answer.mimetype == "application/problem+json", answer.text
    assert page is None or page.status_code == answer.status_code, (page.status_code, document)
    return Heard(document["detail"], document.get("rule", ""), document["next_step"], None if page is None else _text(page))


def on_page(page: Any, rule: str) -> Heard:
    """A page whose matter has no call in the API: what it says of this rule."""
    text, next_step = _text(page), policy.current().next_step(rule)
    assert page.status_code in (403, 409), text
    before = text.split(next_step)[0].rstrip().removesuffix("<p>").rstrip().removesuffix("</p>")
    sentence = re.split(r"</strong>|<p>", before)[-1].strip()
    return Heard(sentence, rule, next_step, text)


def error(stage: Stage, work_: Callable[[], object]) -> Heard:
    """An error that pages and calls turn away earlier by role; both would show it as they show every other."""
    with pytest.raises(CopilotError) as raised, transaction():
        work_()
    named = str(getattr(raised.value, "rule", "")) or raised.value.code
    return Heard(str(raised.value), named, policy.current().next_step(named), None)


def decided(stage: Stage, proposal_id: str, *, who: str = "ana") -> Heard:
    """Approving, refused on the page and by API."""
    seen = work.seen(proposal_id)
    page = browser.post(stage.browser(who), f"/proposals/{proposal_id}/approve", {"seen": seen})
    answer = stage.person(who)("POST", f"/proposals/{proposal_id}/decisions", {"verdict": "approve", "digest": seen})
    return problem(answer, page)


def read(stage: Stage, tool: str = "read_account", arguments: Any = None) -> Heard:
    """A read, refused by API; pages call no tools."""
    return problem(stage.bot()("POST", f"/tools/{tool}", {"arguments": arguments or {"account": "c1/main"}}))


# ----- the rules of the gate itself, each walked into


def _scope(stage: Stage) -> Heard:
    other = staff.add_agent(stage.people.ids["dee"], name="no-scopes")
    return stored(stage, work.propose(other))


def _scope_of_token(stage: Stage) -> Heard:
    body = {"tool": "pay_key", "arguments": work.arguments(), "rationale": ""}
    return problem(stage.bot("pay_both:write")("POST", "/proposals", body, headers={"Idempotency-Key": "k"}))


def _disabled(stage: Stage) -> Heard:
    with transaction():
        db.session.get_one(Agent, stage.agent).enabled = False
    return stored(stage, work.propose(stage.agent))


def _off(stage: Stage) -> Heard:
    stage.level("off")
    return stored(stage, work.propose(stage.agent))


def _switched(stage: Stage) -> Heard:
    with transaction():
        switches.throw("tool:pay_key", by=stage.people.bo, reason="an incident")
    wish = {"tool": "pay_key", "arguments": work.arguments()}
    return problem(stage.bot()("POST", "/proposals", wish, headers={"Idempotency-Key": "once"}))


def _switched_read(stage: Stage) -> Heard:
    with transaction():
        switches.throw("all", by=stage.people.bo, reason="an incident")
    return read(stage)


def _policies(text: str) -> None:
    files = {name: body for name, body in policy.current().files.items() if name.endswith(".toml")}
    policy.install(policy.from_files(files | {"only.cedar": text}, tools=tools.current().all()))


def _default_deny(stage: Stage) -> Heard:
    only_small = (
        'permit (principal, action == Action::"propose", resource) when { context has amount_minor && context.amount_minor <= 500 };'
    )
    _policies(f'@id("small")\n@sentence("Payments up to 5.00 may be proposed.")\n{only_small}')
    return stored(stage, work.propose(stage.agent))


def _broken(stage: Stage) -> Heard:
    matrix._unreadable(stage.world("page"))
    return stored(stage, work.propose(stage.agent))


def _attended(stage: Stage) -> Heard:
    stage.level("auto")
    return stored(stage, work.propose(stage.agent, amount_minor=6_000))


def _suspicious(stage: Stage) -> Heard:
    stage.level("auto")
    return stored(stage, work.propose(stage.agent, memo="p\u0430ypal \u202egnp"))


def _tool_refused(stage: Stage) -> Heard:
    stage.book.close("c1/main")
    return stored(stage, work.propose(stage.agent))


def _missing(stage: Stage) -> Heard:
    proposal_id = work.propose(stage.agent)
    tools.install(tools.Registry({name: tool for name, tool in tools.current().by_name.items() if name != "pay_key"}))
    return decided(stage, proposal_id)


def _suspended(stage: Stage) -> Heard:
    foreign = dataclasses.replace(tools.current().get("read_account"), source="mcp:bank")
    tools.install(tools.Registry({**tools.current().by_name, "read_account": foreign}))
    with transaction():
        at = database.now()
        db.session.add(
            ToolPin(
                tool="read_account", source="mcp:bank", definition={}, hash="a", accepted_at=at, seen={"x": 1}, seen_hash="b", seen_at=at
            )
        )
    mcptools._in_use["read_account"] = "a"
    try:
        return read(stage)
    finally:
        mcptools._in_use.pop("read_account")


def _duplicate(stage: Stage) -> Heard:
    body = {"tool": "pay_key", "arguments": work.arguments(), "rationale": ""}
    assert stage.bot()("POST", "/proposals", body, headers={"Idempotency-Key": "first"}).status_code == 201
    return problem(stage.bot()("POST", "/proposals", body, headers={"Idempotency-Key": "second"}))


def _asked_for(stage: Stage) -> Heard:
    return decided(stage, work.propose(stage.agent, requester_id=stage.people.ids["ana"]))


def _owned(stage: Stage) -> Heard:
    return decided(stage, work.propose(stage.agent), who="dee")


def _looks(stage: Stage) -> Heard:
    return decided(stage, work.propose(stage.agent), who="cy")


def _no_say(stage: Stage) -> Heard:
    return decided(stage, work.propose(stage.agent, amount_minor=60_000))


def _twice(stage: Stage) -> Heard:
    proposal_id = work.propose(stage.agent, amount_minor=20_000)
    work.approve(proposal_id, stage.people.ana)
    page = _text(stage.browser("ana").get(f"/proposals/{proposal_id}"))
    sentence = "You approved this already; it waits for somebody else."
    return Heard(sentence, "already-approved", policy.current().next_step("already-approved"), page)


def _unreachable(stage: Stage) -> Heard:
    world = stage.world("worker")
    world.begin()
    work.approve(world.proposal, stage.people.ana)
    world.replace(revision=matrix._down)
    stage.clock.advance(hours=1, seconds=1)
    jobs.execute(world.proposal)
    return stored(stage, world.proposal)


def _key_expired(stage: Stage) -> Heard:
    world = stage.world("worker")
    world.begin()
    work.approve(world.proposal, stage.people.ana)
    observed = reads.observe(world.proposal)
    assert observed is not None
    with transaction():
        assert isinstance(writes.claim(world.proposal, observed), Claim)
    stage.clock.advance(minutes=5)
    jobs.sweep()  # the worker is gone, so it may be tried again
    world.replace(key_lifetime=100)  # and by then the bank has forgotten
    jobs.execute(world.proposal)
    return outcome(stage, world.proposal)


def _second_word(stage: Stage) -> Heard:
    with transaction():
        wish = changes.ask("scopes", stage.agent, {"before": [], "scopes": ["pay_key:write"]}, by=stage.people.bo, reason="more").id
    return on_page(browser.post(stage.browser("bo"), f"/changes/{wish}", {"answer": "confirm", "note": ""}), "change-second-person")


def _others_wish(stage: Stage) -> Heard:
    with transaction():
        wish = changes.ask("scopes", stage.agent, {"before": [], "scopes": ["pay_key:write"]}, by=stage.people.bo, reason="more").id
    return on_page(browser.post(stage.browser("dee"), f"/changes/{wish}", {"answer": "withdraw", "note": ""}), "change-own-withdrawal")


def _draft(stage: Stage, *, tests: str = "") -> str:
    files = {**policy.current().files, **({"tests.toml": tests} if tests else {})}
    name = next(name for name in files if name.endswith(".cedar"))
    with transaction():
        made = library.draft(files | {name: f"{files[name]}\n// a word"}, by=stage.people.bo, comment="a word more")
        return made.id


def _publish(stage: Stage, version_id: str, rule: str, *, who: str) -> Heard:
    return on_page(browser.post(stage.browser(who), f"/policies/{version_id}/publish", {"note": "because"}), rule)


def _unproved(stage: Stage) -> Heard:
    """A draft whose own tests fail, after its replay was looked at."""
    arguments = 'arguments = {invoice = "i", account = "c1/main", amount_minor = 1}'
    broken = f'[[case]]\nname = "Nothing may be paid"\ntool = "pay_key"\nexpect = "refused"\n{arguments}\n'
    version_id = _draft(stage, tests=broken)
    with transaction():
        history.ask(version_id, days=30, by=stage.people.bo)
    history.run(version_id)
    return _publish(stage, version_id, "policy-tests", who="dee")


def _evidence(stage: Stage) -> Heard:
    body = {"level": "auto", "reason": "because"}
    page = browser.post(stage.browser("bo"), f"/actions/{stage.agent}/pay_key/level", {"level": "auto", "note": "because"})
    return problem(stage.person("bo")("PUT", f"/actions/{stage.agent}/pay_key/level", body), page)


def _later(stage: Stage) -> Heard:
    return problem(stage.person("bo")("PUT", f"/actions/{stage.agent}/pay_key/level", {"level": "canary", "reason": "because"}))


def _not_own(stage: Stage) -> Heard:
    proposal_id = work.propose(stage.agent)
    return error(stage, lambda: decisions.withdraw(proposal_id, by_agent="agent_other"))


def _inactive(stage: Stage) -> Heard:
    proposal_id = work.propose(stage.agent)
    with transaction():
        db.session.get_one(User, stage.people.ids["eli"]).active = False
    return error(stage, lambda: decisions.decide(proposal_id, reviewer=stage.people.eli, verdict="approve", seen=work.seen(proposal_id)))


WALK: dict[str, Callable[[Stage], Heard]] = {
    "scope": _scope,
    "scope (a token)": _scope_of_token,
    "agent-disabled": _disabled,
    "level-off": _off,
    "kill-switch": _switched,
    "kill-switch (a read)": _switched_read,
    "agent-only": lambda s: problem(s.person("ana")("POST", "/tools/read_account", {"arguments": {"account": "c1/main"}})),
    "person-only": lambda s: problem(
        s.bot()("POST", f"/proposals/{work.propose(s.agent)}/decisions", {"verdict": "approve", "digest": "0" * 64})
    ),
    "own-proposals-only": _not_own,
    "role": _looks,
    "role (a page)": lambda s: on_page(s.browser("ana").get("/settings"), "role"),
    "inactive-account": _inactive,
    "manager-only": lambda s: error(s, lambda: switches.throw("all", by=s.people.ana, reason="because")),
    "admin-only": lambda s: error(s, lambda: switches.set_rule("two-people", on=False, by=s.people.bo, reason="because")),
    "default-deny": _default_deny,
    "policy-broken": _broken,
    "two-people-by-default": lambda s: stored(s, work.propose(s.agent, amount_minor=20_000)),
    "attended-by-default": _attended,
    "level-suggest": lambda s: stored(s, work.propose(s.agent)),
    "suspicious-text": _suspicious,
    "policy-approve": _no_say,
    "policy-manager": lambda s: error(s, lambda: library.draft(policy.current().files, by=s.people.ana, comment="because")),
    "policy-replay": lambda s: _publish(s, _draft(s), "policy-replay", who="dee"),
    "policy-second-person": lambda s: _publish(s, _draft(s), "policy-second-person", who="bo"),
    "policy-tests": _unproved,
    "tool-missing": _missing,
    "tool-changed": lambda s: stored(s, s.trouble("tool_changed")),
    "tool-refused": _tool_refused,
    "tool-suspended": _suspended,
    "write-needs-proposal": lambda s: read(s, "pay_key", work.arguments()),
    "duplicate-intent": _duplicate,
    "no-longer-possible": lambda s: stored(s, s.trouble("target_gone")),
    "target-moved": lambda s: stored(s, s.trouble("target_moved")),
    "target-unreachable": _unreachable,
    "ticket-ended": lambda s: stored(s, s.trouble("ticket_closed")),
    "customer-wrote": lambda s: stored(s, s.trouble("customer_wrote")),
    "policy-changed": lambda s: stored(s, s.trouble("policy_changed")),
    "approval-too-old": lambda s: stored(s, s.trouble("past_the_deadline")),
    "approver-not-entitled": lambda s: stored(s, s.trouble("needs_two")),
    "no-longer-automatic": lambda s: stored(s, s.trouble("level_lowered", way="automatic")),
    "key-expired": _key_expired,
    "digest-mismatch": lambda s: outcome(s, s.trouble("digest_forged")),
    "requester-never-approves": _asked_for,
    "owner-never-approves": _owned,
    "already-approved": _twice,
    "change-second-person": _second_word,
    "change-manager": lambda s: error(s, lambda: changes.ask("level", s.agent, {}, by=s.people.ana, reason="because")),
    "change-own-withdrawal": _others_wish,
    "autonomy-manager": lambda s: error(s, lambda: grants.set_level(s.agent, "pay_key", "off", by=s.people.ana, reason="because")),
    "autonomy-evidence": _evidence,
    "autonomy-level": _later,
}

# Rules that never turn anybody away with a sentence of their own, and where they show instead.
NO_REFUSAL = {
    "schema": "arguments are made to fit before the gate is asked, so a page and a call name each field instead",
    "not-entitled": "the name for a refusal that has no other; none of ours is without one",
    "two-people": "an approval counts, and the page and the answer say that one more person is needed",
    "other-than-editor": "an approval counts, and the page and the answer say that another person is needed",
    "scopes-second-person": "the wish waits under Changes, and the page says so",
    "autonomy-second-person": "the wish waits under Changes, and the page says so",
}


@pytest.fixture
def stage(app: Flask, people: People, agent: str, book: Ledger, clock: Clock) -> Stage:
    """Everybody on it."""
    return Stage(app, people, agent, book, clock)


def test_every_rule_of_the_gate_is_walked_into() -> None:
    walked = {name.partition(" ")[0] for name in WALK}
    assert walked & set(NO_REFUSAL) == set()
    assert sorted(walked | set(NO_REFUSAL)) == sorted(rules.RULES), "a rule that nobody walks into, or one that is not in the catalogue"


@pytest.mark.parametrize("name", sorted(rules.RULES))
def test_every_rule_has_words_for_people(name: str) -> None:
    for sentence in (rules.RULES[name].sentence, rules.RULES[name].next_step):
        assert_plain(sentence, rule=name)


@pytest.mark.parametrize("name", sorted(WALK))
def test_a_refusal_tells_what_happened_by_which_rule_and_what_next(stage: Stage, name: str) -> None:
    heard = WALK[name](stage)
    assert heard.rule == name.partition(" ")[0]
    assert_plain(heard.sentence, rule=name)
    assert_plain(heard.next_step, rule=name)
    if heard.page is not None:
        for part in (heard.sentence, heard.rule, heard.next_step):
            assert part in heard.page, f"the page does not say {part!r}"


def _raised() -> Iterator[str]:
    """Every rule that the code names where it says no."""
    for path in sorted((ROOT / "copilot").rglob("*.py")):
        if "demo" in path.parts or path.name == "rules.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield from (each.value.value for each in node.keywords if each.arg == "rule" and isinstance(each.value, ast.Constant))
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
                first = node.value.elts[0]
                if isinstance(first, ast.Constant) and re.fullmatch(r"[a-z]+(-[a-z]+)+", str(first.value)):
                    yield str(first.value)


def test_every_rule_named_in_the_code_is_in_the_catalogue() -> None:
    assert sorted({name for name in _raised() if name and not rules.known(name)}) == []


# ----- the shipped policies and budgets


SETS = {"starter": "copilot/gate/starter", "sample company": "copilot/demo/policies", "article": "copilot/gate/examples/article"}


def _shipped(name: str) -> policy.Policies:
    return policy.load(ROOT / SETS[name], shop.shop.tools.values() if name == "sample company" else ())


def _verdicts(policies: policy.Policies, installed: dict[str, Any]) -> dict[str, check.Verdict]:
    """What the evaluator says over the set's own cases, by the rule that decided; and what each budget says when it is full."""
    found: dict[str, check.Verdict] = {}
    for case in cases.read(policies.files["tests.toml"]):
        if case.role:
            continue
        given, arguments = cases._input(case, installed.get(case.tool), policies)
        verdict = check.evaluate(given, arguments, policies)
        if not isinstance(verdict, check.Allowed):
            found.setdefault(verdict.rule, verdict)
    for rule in policies.budget_rules:
        if not rule.measure:
            found.setdefault(rule.id, check.Refused(rule.id, rule.sentence, next_step=policies.next_step(rule.id)))
    return found


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_shipped_sets_say_no_in_plain_words_on_page_and_by_api(stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = _shipped(name)
    installed = dict(shop.shop.tools) if name == "sample company" else {}
    found = _verdicts(policies, installed)
    forbidding = {each.id for each in policies.statements if not each.permits and not each.concerns("approve")}
    assert found
    policy.install(policies)
    for rule, verdict in found.items():
        with monkeypatch.context() as patched:
            patched.setattr(check, "evaluate", lambda *_, verdict=verdict, **__: verdict)
            proposal_id = work.propose(stage.agent, WRITES[0])
        heard = stored(stage, proposal_id)
        assert heard.rule == rule
        assert_plain(heard.sentence, rule=rule)
        assert_plain(heard.next_step, rule=rule)
        for part in (heard.sentence, heard.rule, heard.next_step):
            assert part in str(heard.page), f"{rule}: the page does not say {part!r}"
    assert forbidding - set(found) == set(), "a forbidding policy that no case of the set walks into"


@pytest.mark.parametrize("name", sorted(SETS))
def test_every_sentence_of_a_shipped_set_is_plain(name: str) -> None:
    policies = _shipped(name)
    for rule in (*policies.sentences, *(each.id for each in policies.budget_rules)):
        sentence = policies.sentence(rule) or next(each.sentence for each in policies.budget_rules if each.id == rule)
        assert_plain(sentence, rule=rule)
        assert_plain(policies.next_step(rule), rule=rule)


def test_who_must_wait_for_a_second_person_is_told_on_page_and_by_api(stage: Stage) -> None:
    first, second = (work.propose(stage.agent, amount_minor=20_000) for _ in range(2))
    answer = stage.person("ana")("POST", f"/proposals/{first}/decisions", {"verdict": "approve", "digest": work.seen(first)})
    assert (answer.status_code, answer.json["state"], answer.json["missing"]) == (200, "PENDING", "one more person")
    client = stage.browser("ana")
    page = client.get(browser.post(client, f"/proposals/{second}/approve", {"seen": work.seen(second)}).location)
    assert "It waits for one more person." in _text(page)


def test_arguments_that_do_not_fit_are_named_by_field_on_page_and_by_api(stage: Stage) -> None:
    body = {"tool": "pay_key", "arguments": work.arguments(amount_minor=0), "rationale": ""}
    answer = stage.bot()("POST", "/proposals", body, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, list(answer.json["problems"])) == (422, ["amount_minor"])
    assert_plain(answer.json["next_step"])
    proposal_id = work.propose(stage.agent)
    client = stage.browser("ana")
    typed = browser.form(client.get(f"/proposals/{proposal_id}/edit").text)
    page = client.post(f"/proposals/{proposal_id}/edit", data=typed | {"arg/amount_minor": "0", "reason": "wrong_amount"})
    assert page.status_code == 422
    assert "aria-invalid" in page.text
    assert work.row(proposal_id).version == 1, "nothing was saved"


# ----- the same for real: a desk whose tools have the shipped sets' names, and every forbidding policy and budget walked into


_MONEY: dict[str, Any] = {
    "effect": "write",
    "risk": "medium",
    "idempotency": {"key"},
    "key_lifetime": 86_400,
    "amount": lambda a: Money(a["amount_minor"], a["currency"]),
}


def _desk() -> Toolbox:
    """Tools that do nothing, as the shipped sets call them; a target named `c1/…` is the customer c1's."""
    box = Toolbox("desk")

    def owned(arguments: dict[str, Any], call: Call) -> Preview:
        known = {"paid_in": "EUR"} if "order_id" in arguments else {"to_own_address": arguments["recipient_email"] == "c1@example.com"}
        return Preview(
            "Do what is asked", customer_id=(arguments.get("order_id") or arguments["customer_id"]).partition("/")[0], known=known
        )

    def about(arguments: dict[str, Any], call: Call) -> Preview:
        return Preview("Do what is asked", customer_id=arguments["case"].partition("/")[0])

    @box.tool(**_MONEY, preview=owned, known={"type": "object", "properties": {"paid_in": {"type": "string"}}})
    def issue_refund(order_id: str, amount_minor: int, currency: str, reason: str = "") -> dict[str, Any]:
        """Refund an order."""
        return {}

    @box.tool(**_MONEY, preview=owned, known={"type": "object", "properties": {"to_own_address": {"type": "boolean"}}})
    def send_gift_card(customer_id: str, recipient_email: str, amount_minor: int, currency: str) -> dict[str, Any]:
        """Send a gift card."""
        return {}

    @box.tool(**_MONEY, reversible=True)
    def hold_amount(case: str, amount_minor: int, currency: str) -> dict[str, Any]:
        """Hold an amount for a while."""
        return {}

    @box.tool(effect="write", risk="low", reversible=True, preview=about)
    def amend_case(case: str, note: str = "") -> dict[str, Any]:
        """Amend a case."""
        return {}

    @box.tool(effect="write", risk="high", preview=about)
    def close_case(case: str) -> dict[str, Any]:
        """Close a case for good."""
        return {}

    @box.tool(effect="read", risk="low")
    def look_up(case: str) -> dict[str, Any]:
        """Look a case up."""
        return {}

    return box


@dataclass
class Desk:
    """A shipped set in force over the desk's tools, and an agent with every scope."""

    stage: Stage
    agent: str
    ticket: str

    def propose(self, tool: str, *, ticket: str | None = None, sure: float | None = 0.99, **arguments: Any) -> str:
        """Let the agent propose; the proposal's id."""
        draft = proposals.Draft(
            agent_id=self.agent, tool=tool, arguments=arguments, ticket_id=ticket or self.ticket, confidence=sure, rationale="because"
        )
        prepared = proposals.prepare(draft)
        with transaction():
            return proposals.propose(prepared).id

    def refund(self, amount: int, currency: str = "EUR", **about: Any) -> str:
        """Propose a refund."""
        return self.propose("issue_refund", order_id="c1/1", amount_minor=amount, currency=currency, **about)

    def card(self, amount: int, currency: str = "USD", to: str = "c1@example.com") -> str:
        """Propose a gift card."""
        return self.propose("send_gift_card", customer_id="c1", recipient_email=to, amount_minor=amount, currency=currency)

    def done(self, proposal_id: str) -> None:
        """Have it approved by two people where it needs them, and carried out."""
        for who in (self.stage.people.ana, self.stage.people.eli):
            if work.state(proposal_id) == "PENDING":
                work.approve(proposal_id, who)
        jobs.execute(proposal_id)
        assert work.state(proposal_id) == "SUCCEEDED"

    def auto(self, tool: str) -> None:
        """Put an action on auto."""
        with transaction():
            db.session.merge(Grant(agent_id=self.agent, tool=tool, level="auto", percent=100, changed_at=database.now()))

    def other(self) -> str:
        """Another customer's ticket."""
        return work.ticket("c2")


def _third_refund(desk: Desk) -> str:
    for _ in range(2):
        desk.done(desk.refund(100))
    return desk.refund(100)


def _fifth_refund(desk: Desk) -> str:
    for _ in range(4):
        desk.done(desk.refund(100))
    return desk.refund(100)


def _sixth_action(desk: Desk) -> str:
    for _ in range(5):
        desk.done(desk.propose("amend_case", case="c1/1"))
    return desk.propose("amend_case", case="c1/1")


def _cards(desk: Desk, currency: str) -> str:
    for _ in range(2):
        desk.done(desk.card(10_000, currency))
    return desk.card(100, currency)


def _auto(desk: Desk, tool: str, **arguments: Any) -> str:
    desk.auto(tool)
    return desk.propose(tool, **arguments)


def _closed(desk: Desk) -> str:
    with transaction():
        db.session.get_one(Ticket, desk.ticket).status = "closed"
    return desk.refund(100)


def _one_an_hour(desk: Desk) -> str:
    kept = tuple(
        dataclasses.replace(each, limit=1) if each.id == "writes-per-agent-hour" else each for each in policy.current().budget_rules
    )
    policy.install(dataclasses.replace(policy.current(), budget_rules=kept))
    desk.done(desk.propose("amend_case", case="c1/1"))
    return desk.propose("amend_case", case="c1/1")


FOR_REAL: dict[tuple[str, str], Callable[[Desk], str]] = {
    ("starter", "never-across-customers"): lambda d: d.propose("amend_case", case="c1/1", ticket=d.other()),
    ("starter", "high-risk-two-people"): lambda d: d.propose("close_case", case="c1/1"),
    ("article", "own-customer-only"): lambda d: d.propose("amend_case", case="c1/1", ticket=d.other()),
    ("article", "writes-per-session"): _sixth_action,
    ("article", "credits-per-customer-day"): lambda d: _cards(d, "USD"),
    ("article", "two-people-above-500-dollars"): lambda d: d.refund(50_001, "USD"),
    ("article", "irreversible-is-attended"): lambda d: _auto(d, "close_case", case="c1/1"),
    ("article", "customer-text-and-money-are-attended"): lambda d: _auto(d, "hold_amount", case="c1/1", amount_minor=100, currency="USD"),
    ("sample company", "never-across-customers"): lambda d: d.refund(100, ticket=d.other()),
    ("sample company", "no-refund-above-1000"): lambda d: d.refund(100_001),
    ("sample company", "gift-cards-up-to-100"): lambda d: d.card(10_001),
    ("sample company", "closed-tickets-rest"): _closed,
    ("sample company", "two-people-above-500"): lambda d: d.refund(50_001),
    ("sample company", "third-refund-two-people"): _third_refund,
    ("sample company", "gift-card-elsewhere-two-people"): lambda d: d.card(100, to="elsewhere@example.com"),
    ("sample company", "irreversible-is-attended"): lambda d: _auto(d, "close_case", case="c1/1"),
    ("sample company", "other-currency-is-attended"): lambda d: _auto(d, "issue_refund", order_id="c1/1", amount_minor=100, currency="USD"),
    ("sample company", "hidden-text-is-attended"): lambda d: _auto(d, "amend_case", case="c1/1", note="p\u0430ypal \u202egnp"),
    ("sample company", "refunds-per-customer-day"): _fifth_refund,
    ("sample company", "gift-cards-per-customer-day-usd"): lambda d: _cards(d, "USD"),
    ("sample company", "gift-cards-per-customer-day-eur"): lambda d: _cards(d, "EUR"),
    ("sample company", "gift-cards-per-customer-day-gbp"): lambda d: _cards(d, "GBP"),
    ("sample company", "writes-per-agent-hour"): _one_an_hour,
}


@pytest.fixture
def desk(stage: Stage, request: pytest.FixtureRequest) -> Desk:
    """The set of this test's first parameter in force, on a Wednesday morning."""
    name = request.node.callspec.params["which"]
    installed = tools.registry([_desk()])
    tools.install(installed)
    grants.install(installed.all())
    policy.install(policy.load(ROOT / SETS[name], installed.all()))
    wednesday = datetime(2031, 3, 5, 9, 30, tzinfo=UTC)
    stage.clock.advance(seconds=(wednesday - database.now()).total_seconds())
    writes_ = tuple(f"{tool.name}:write" for tool in installed.all() if tool.effect == "write")
    agent_id = staff.add_agent(stage.people.ids["dee"], name="desk", scopes=writes_)
    return Desk(stage, agent_id, work.ticket("c1"))


@pytest.mark.parametrize(("which", "rule"), [pytest.param(*key, id=f"{key[0]}-{key[1]}") for key in FOR_REAL])
def test_a_shipped_rule_says_no_in_plain_words_when_somebody_walks_into_it(desk: Desk, which: str, rule: str) -> None:
    heard = stored(desk.stage, FOR_REAL[which, rule](desk))
    assert heard.rule == rule
    assert_plain(heard.sentence, rule=rule)
    assert_plain(heard.next_step, rule=rule)
    for part in (heard.sentence, heard.rule, heard.next_step):
        assert part in str(heard.page), f"the page does not say {part!r}"


def test_every_forbidding_policy_and_every_budget_of_the_shipped_sets_is_walked_into() -> None:
    installed = tools.registry([_desk()]).all()
    elsewhere = {("article", "reads-per-minute"), ("article", "managers-decide-large")}  # in the two tests below
    for name, place in SETS.items():
        policies = policy.load(ROOT / place, installed)
        forbidding = {each.id for each in policies.statements if not each.permits}
        limiting = {each.id for each in policies.budget_rules if not each.measure}
        assert {rule for which, rule in (*FOR_REAL, *elsewhere) if which == name} == forbidding | limiting


@pytest.mark.parametrize("which", ["article"])
def test_reads_are_limited_by_region_and_rate(desk: Desk, which: str) -> None:
    caller = api.as_agent(desk.stage.app.test_client(), desk.agent)
    with transaction():
        db.session.get_one(Ticket, desk.ticket).region = "EU"
    asked = {"arguments": {"case": "c1/1"}, "ticket_id": desk.ticket}
    assert [caller("POST", "/tools/look_up", asked).status_code for _ in range(10)] == [200] * 10
    over = problem(caller("POST", "/tools/look_up", asked))
    abroad = problem(caller("POST", "/tools/look_up", {"arguments": {"case": "c1/1"}, "ticket_id": work.ticket("c1")}))
    assert (over.rule, abroad.rule) == ("reads-per-minute", "default-deny")
    for heard in (over, abroad):
        assert_plain(heard.sentence, rule=heard.rule)
        assert_plain(heard.next_step, rule=heard.rule)


@pytest.mark.parametrize("which", ["article"])
def test_whom_a_shipped_policy_lets_decide_is_told(desk: Desk, which: str) -> None:
    heard = decided(desk.stage, desk.refund(200_001, "USD"))
    assert heard.rule == "policy-approve"
    assert_plain(heard.sentence)
    assert heard.next_step in str(heard.page)
