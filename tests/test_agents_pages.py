"""The pages and commands about agents: who may look and who may change, secrets shown once, and the least-privilege review."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from copilot import cli, jobs
from copilot import db as database
from copilot.agents import intake
from copilot.db import db, new_id, now, transaction
from copilot.gate import changes, switches
from copilot.models import Agent, AuditEvent, Change, Verdict
from copilot.people import principals, privileges
from tests.conftest import Clock
from tests.support import browser, work
from tests.support.people import People

NEW = {
    "name": "invoice-desk",
    "owner": "bo@example.com",
    "team": "billing",
    "scopes": "read_account:read\npay_key:write;region=EU",
    "note": "bills",
}


@pytest.fixture
def dee(client: FlaskClient, people: People) -> FlaskClient:
    """The admin's browser."""
    browser.sign_in(client, "dee@example.com")
    return client


def scopes_of(name: str = "refund-desk") -> list[str]:
    database.read_again()
    return list(principals.find(name).scopes)


def secret_in(page: str) -> str:
    found = re.search(r'value="(cps_[\w-]+)"', page)
    assert found is not None, page
    return found[1]


def judged(
    agent_id: str, tool: str, *, stage: str = "read", region: str = "", kind: str = "allowed", ago: float = 1, times: int = 1
) -> None:
    """Verdicts as the gate keeps them."""
    with transaction():
        at = now() - timedelta(days=ago)
        for _ in range(times):
            db.session.add(
                Verdict(
                    id=new_id("verd"), at=at, stage=stage, agent_id=agent_id, tool=tool, kind=kind, policies=[], policy_hash="0" * 64,
                    input={"context": {"region": region}},
                )
            )  # fmt: skip


def aged(agent_id: str, *, days: int = 400) -> None:
    """As if it had been added long ago."""
    with transaction():
        db.session.get_one(Agent, agent_id).created_at = now() - timedelta(days=days)


# -- who may look, who may change


@pytest.mark.both_databases
def test_the_pages_show_an_agent_and_hold_no_secret(dee: FlaskClient, agent: str) -> None:
    work.propose(agent, ticket_id=work.ticket())
    listed = dee.get("/agents")
    assert listed.status_code == 200
    for words in ("refund-desk", "Dee", "5 × suggest"):
        assert words in listed.text
    page = dee.get(f"/agents/{agent}?days=90")
    assert page.status_code == 200
    for words in ("pay_key:write", "Give it a new secret", "Disable refund-desk", "What it may use, and does", "Pay 10.00 EUR"):
        assert words in page.text
    database.read_again()
    assert db.session.get_one(Agent, agent).secret_hash not in page.text
    assert dee.get("/agents/agent_none").status_code == 404


@pytest.mark.parametrize(("who", "sees"), [("ana", False), ("bo", True), ("cy", True)])
def test_managers_and_auditors_look_and_nobody_but_an_admin_changes(
    client: FlaskClient, people: People, agent: str, who: str, sees: bool
) -> None:
    browser.sign_in(client, f"{who}@example.com")
    for page in ("/agents", f"/agents/{agent}"):
        answer = client.get(page)
        assert answer.status_code == (200 if sees else 403)
        assert "New agent" not in answer.text
        assert '<form method="post" action="/agents' not in answer.text
    assert client.get("/agents/new").status_code == 403
    before = scopes_of()
    for verb, data in {
        "new": NEW,
        f"{agent}/rotate": {"overlap": "0", "seen": "x", "note": "mine"},
        f"{agent}/disable": {"note": "mine"},
        f"{agent}/enable": {"note": "mine"},
        f"{agent}/scopes": {"scopes": "*:read", "note": "mine", "seen": " ".join(before)},
        f"{agent}/narrow": {"seen": " ".join(before), "after": ""},
    }.items():
        assert browser.post(client, f"/agents/{verb}", data).status_code == 403, verb
    assert scopes_of() == before


# -- adding


def test_an_added_agent_shows_its_secret_once_and_waits_for_a_second_person(dee: FlaskClient, people: People) -> None:
    assert dee.get("/agents/new").status_code == 200
    answer = browser.post(dee, "/agents/new", NEW)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    secret = secret_in(answer.text)
    database.read_again()
    found = principals.check("invoice-desk", secret)
    assert found is not None
    assert (found.team, found.owner.name, found.scopes) == ("billing", "Bo", [])
    assert "second person" in answer.text
    assert secret not in dee.get(f"/agents/{found.id}").text
    database.read_again()
    wish = db.session.scalars(select(Change)).one()
    assert wish.payload == {"before": [], "scopes": ["pay_key:write;region=EU", "read_account:read"]}
    assert wish.reason == "bills"
    assert secret not in "".join(db.session.scalars(select(AuditEvent.line)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Big Name"}, "is no name for an agent"),
        ({"name": "refund-desk"}, "There is an agent refund-desk already"),
        ({"scopes": "pay_key"}, "is no scope"),
        ({"scopes": "*:write"}, "is no scope"),
        ({"scopes": "tickets:write;region=EU"}, "without bounds"),
        ({"scopes": " "}, "Give it at least one scope."),
        ({"note": ""}, "Say why"),
        ({"owner": "nobody@example.com"}, "Not a valid choice"),
    ],
)
def test_what_cannot_be_added_is_said_beside_its_field(dee: FlaskClient, agent: str, change: dict[str, str], words: str) -> None:
    answer = browser.post(dee, "/agents/new", NEW | change)
    assert answer.status_code in (409, 422)
    assert words in answer.text
    assert "cps_" not in answer.text


# -- credentials


def test_a_rotation_on_the_page_shows_the_new_secret_and_happens_once(dee: FlaskClient, agent: str) -> None:
    page = dee.get(f"/agents/{agent}").text
    sent = {"overlap": "24", "seen": browser.form(page[page.index("/rotate") :])["seen"], "note": "Every quarter"}
    answer = browser.post(dee, f"/agents/{agent}/rotate", sent)
    assert answer.status_code == 200
    assert "works until" in answer.text
    assert browser.post(dee, f"/agents/{agent}/rotate", sent).status_code == 409, "the same form again"
    database.read_again()
    assert principals.check(agent, secret_in(answer.text)) is not None
    for wrong in ({"overlap": "1000"}, {"note": " "}):
        assert browser.post(dee, f"/agents/{agent}/rotate", sent | wrong).status_code == 422
    assert "Every quarter" in dee.get(f"/agents/{agent}").text


def test_disabling_and_enabling_on_the_page(dee: FlaskClient, agent: str) -> None:
    assert "Say why" in browser.post(dee, f"/agents/{agent}/disable", {}).text
    assert browser.post(dee, f"/agents/{agent}/disable", {"note": "It is <i>odd</i>"}).status_code == 303
    page = dee.get(f"/agents/{agent}").text
    assert "Enable refund-desk" in page
    assert "disabled" in dee.get("/agents").text
    assert browser.post(dee, f"/agents/{agent}/enable", {"note": "It is well again"}).status_code == 303
    page = dee.get(f"/agents/{agent}").text
    for words in ("Disable refund-desk", "It is &lt;i&gt;odd", "It is well again", "by Dee"):
        assert words in page


def test_a_misspelt_scope_is_granted_only_on_a_second_word(app: Flask, dee: FlaskClient, people: People, agent: str) -> None:
    answer = browser.post(dee, "/agents/new", NEW | {"scopes": "pay_kee:write"})
    assert answer.status_code == 422
    assert "No such tool is installed: pay_kee:write. Did you mean pay_key:write?" in answer.text
    assert "Grant it anyway" in answer.text
    asked = {"scopes": "*:read read_account:write", "note": "too", "seen": " ".join(scopes_of())}
    answer = browser.post(dee, f"/agents/{agent}/scopes", asked)
    assert "Did you mean read_account:read?" in answer.text, "it is there, but only reads"
    assert browser.post(dee, f"/agents/{agent}/scopes", asked | {"anyway": "y"}).status_code == 303
    bos = app.test_client()
    browser.sign_in(bos, "bo@example.com")
    assert "No such tool is installed: read_account:write." in bos.get("/changes").text
    with transaction():
        db.session.get_one(Agent, agent).scopes = ["gone_tool:write", "pay_key:write"]
    less = {"scopes": "gone_tool:write", "note": "less", "seen": "gone_tool:write pay_key:write"}
    assert browser.post(dee, f"/agents/{agent}/scopes", less).status_code == 303, "what it had already is not asked about again"


# -- scopes


def test_less_holds_at_once_and_more_waits(dee: FlaskClient, people: People, agent: str) -> None:
    held = " ".join(scopes_of())
    less = {"scopes": "read_account:read\r\npay_key:write;region=EU", "note": "EU only", "seen": held}
    assert browser.post(dee, f"/agents/{agent}/scopes", less).status_code == 303
    assert scopes_of() == ["pay_key:write;region=EU", "read_account:read"]
    more = {"scopes": "read_account:read pay_key:write", "note": "everywhere", "seen": " ".join(scopes_of())}
    assert browser.post(dee, f"/agents/{agent}/scopes", more).status_code == 303
    assert scopes_of() == ["pay_key:write;region=EU", "read_account:read"]
    assert "waits" in dee.get(f"/agents/{agent}").text
    stale = browser.post(dee, f"/agents/{agent}/scopes", less)
    assert stale.status_code == 409
    wrong = browser.post(dee, f"/agents/{agent}/scopes", more | {"scopes": "pay_key:write;region="})
    assert wrong.status_code == 422
    assert "is no scope" in wrong.text


def test_a_second_person_confirms_and_the_owner_and_the_asker_never_do(app: Flask, dee: FlaskClient, people: People, agent: str) -> None:
    browser.post(dee, f"/agents/{agent}/scopes", {"scopes": "*:read tickets:write", "note": "too", "seen": " ".join(scopes_of())})
    database.read_again()
    (wish,) = changes.waiting()
    assert [changes.refusal(wish, person) is None for person in (people.dee, people.bo, people.ana, people.cy)] == [
        False,
        True,
        False,
        False,
    ]
    wish_id = wish.id
    browser.post(dee, f"/changes/{wish_id}", {"answer": "confirm", "note": ""})
    assert "tickets:write" not in scopes_of()
    bos = app.test_client()
    browser.sign_in(bos, "bo@example.com")
    assert "tickets:write" in bos.get("/changes").text
    assert browser.post(bos, f"/changes/{wish_id}", {"answer": "confirm", "note": "I asked around"}).status_code == 303
    assert scopes_of() == ["*:read", "tickets:write"]


# -- the review


@pytest.mark.both_databases
def test_the_review_finds_what_was_not_used_and_what_was_used_less_widely(app: Any, people: People, agent: str) -> None:
    aged(agent)
    with transaction():
        db.session.get_one(Agent, agent).scopes = ["*:read", "gone_tool:write", "pay_key:write", "pay_lookup:write", "pay_opaque:write"]
    judged(agent, "read_account", region="EU", times=20)
    judged(agent, "pay_key", stage="propose", region="EU", kind="needs_approval", times=19)
    judged(agent, "pay_key", stage="claim", region="EU")
    judged(agent, "pay_lookup", stage="propose", region="EU", times=30)
    judged(agent, "pay_lookup", stage="propose", region="")
    judged(agent, "pay_opaque", stage="propose", kind="refused")
    judged(agent, "pay_opaque", stage="propose", ago=31)
    found = privileges.review(principals.find(agent))
    said = {finding.scope: (finding.uses, finding.instead) for finding in found.findings}
    assert said == {
        "*:read": (20, ("*:read;region=EU",)),  # this toolbox has only one read, so there is nothing to take apart
        "gone_tool:write": (0, ()),
        "pay_key:write": (20, ("pay_key:write;region=EU",)),
        "pay_lookup:write": (31, ("pay_lookup:write",)),
        "pay_opaque:write": (0, ()),
    }
    assert found.after == ("*:read;region=EU", "pay_key:write;region=EU", "pay_lookup:write")
    assert privileges.review(principals.find(agent), days=60).findings[-1].uses == 1


def use(tool: str, *, effect: str = "read", region: str = "", count: int = 20) -> privileges.Use:
    return privileges.Use(tool, effect, region, count, now())


def test_every_read_is_taken_apart_into_those_that_were_used(app: Any) -> None:
    effects = {"a": "read", "b": "read", "c": "read", "w": "write"}
    known: dict[str, Any] = {"effects": effects, "days": 30, "young": False}
    finding = privileges.find("*:read", [use("a", region="EU"), use("b", region="EU"), use("b", region="US")], **known)
    assert finding.instead == ("a:read;region=EU", "b:read")
    assert finding.sentence == (
        "Covers 3 reads, of which 2 were used, 60 times in 30 days. All 20 uses of 1 of them in 30 days were in EU."
    )
    everything = privileges.find("*:read", [use("a"), use("b"), use("c")], **known)
    assert (everything.sentence, everything.narrower) == ("Used 60 times, as granted.", False)
    bounded = privileges.find("*:read;region=EU", [use("a", region="US"), use("b", region="EU")], **known)
    assert (bounded.uses, bounded.instead) == (20, ("b:read;region=EU",))
    source = privileges.find("tickets:write", [use("tickets", effect="write")], **(known | {"effects": effects | {"tickets": "write"}}))
    assert not source.narrower


def test_a_few_uses_or_a_young_scope_say_nothing_about_what_is_not_needed(app: Any) -> None:
    effects = {"a": "read", "b": "read", "w": "write"}
    known: dict[str, Any] = {"effects": effects, "days": 30, "young": False}
    once = privileges.find("w:write", [use("w", effect="write", region="EU", count=1)], **known)
    assert (once.narrower, once.sentence) == (False, "Used once, as granted.")
    few = privileges.find("*:read", [use("a", region="EU", count=19)], **known)
    assert (few.narrower, few.sentence) == (False, "Used 19 times in 30 days: fewer than 20, too few to say that less would do.")
    enough = privileges.find("w:write", [use("w", effect="write", region="EU")], **known)
    assert (enough.instead, enough.sentence) == (("w:write;region=EU",), "All 20 uses in 30 days were in EU.")
    young = privileges.find("w:write", [use("w", effect="write", region="EU", count=500)], **(known | {"young": True}))
    assert not young.narrower
    assert "500 times; granted less than 30 days ago" in young.sentence


def test_what_was_granted_lately_is_given_time(app: Any, people: People, agent: str) -> None:
    fresh = privileges.review(principals.find(agent))
    assert all("Not used yet" in finding.sentence and not finding.narrower for finding in fresh.findings)
    aged(agent)
    with transaction():
        switches.set_rule("scopes-second-person", on=False, by=people.dee, reason="small team")
        principals.set_scopes(agent, ["pay_key:write", "pay_both:write;customer=c%401", "tickets:write"], by=people.dee, reason="new work")
    found = {finding.scope: finding for finding in privileges.review(principals.find(agent)).findings}
    assert not found["tickets:write"].narrower, "it was added a moment ago"
    assert found["pay_key:write"].instead == (), "it has been there for a year"
    assert found["pay_both:write;customer=c%401"].instead == (), "taking a part away grants nothing anew"


def test_handing_tickets_in_is_the_use_of_a_source(app: Any, people: People, agent: str) -> None:
    with transaction():
        principals.add("helpdesk", ["tickets:write"], "dee@example.com")
        intake.accept(external_id="T-1", subject="s", body="b", customer={"id": "c1"}, source="helpdesk")
    aged(principals.find("helpdesk").id)
    (finding,) = privileges.review(principals.find("helpdesk")).findings
    assert (finding.uses, finding.sentence, finding.narrower) == (1, "Used once, as granted.", False)
    assert privileges.last_used()[principals.find("helpdesk").id] == finding.last


def test_what_the_gate_really_judged_is_what_the_review_counts(dee: FlaskClient, people: People, agent: str) -> None:
    proposal_id = work.propose(agent, ticket_id=work.ticket())
    work.approve(proposal_id, people.ana)
    jobs.execute(proposal_id)
    found = {finding.scope: finding.uses for finding in privileges.review(principals.find(agent)).findings}
    assert found["pay_key:write"] >= 2, "proposed and claimed"
    assert found["pay_lookup:write"] == 0


def test_one_click_leaves_what_was_used_and_nothing_else(dee: FlaskClient, agent: str) -> None:
    aged(agent)
    judged(agent, "read_account", region="EU", times=20)
    judged(agent, "pay_key", stage="propose", region="EU", times=20)
    page = dee.get(f"/agents/{agent}").text
    assert "All of it in one step" in page
    forms = [browser.form(part.partition("</form>")[0]) for part in page.split(f'action="/agents/{agent}/narrow"')[1:]]
    whole = {name: forms[-1][name] for name in ("seen", "after")}
    assert whole["after"].split() == ["*:read;region=EU", "pay_key:write;region=EU"]
    answer = browser.post(dee, f"/agents/{agent}/narrow", whole)
    assert answer.status_code == 303
    assert scopes_of() == ["*:read;region=EU", "pay_key:write;region=EU"]
    assert browser.post(dee, f"/agents/{agent}/narrow", whole).status_code == 409, "what was seen is not what is there"
    database.read_again()
    assert changes.waiting() == []


def test_narrowing_never_gives_more(dee: FlaskClient, agent: str) -> None:
    held = scopes_of()
    for after in ([*held, "tickets:write"], ["*:read", "pay_all:write"]):
        answer = browser.post(dee, f"/agents/{agent}/narrow", {"seen": " ".join(held), "after": " ".join(after)})
        assert answer.status_code == 422
    more = {"seen": " ".join([*held, "tickets:write"]), "after": "tickets:write"}
    assert browser.post(dee, f"/agents/{agent}/narrow", more).status_code == 409, "what it claims to have seen was never there"
    assert scopes_of() == held


def test_only_one_of_the_findings_can_be_taken(dee: FlaskClient, agent: str) -> None:
    aged(agent)
    found = privileges.review(principals.find(agent))
    one = next(finding for finding in found.findings if finding.scope == "pay_opaque:write")
    assert set(found.before) - set(found.without(one)) == {"pay_opaque:write"}


# -- the command line


@pytest.fixture
def run(app: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `copilot …` on this test's installation."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def command(*words: str) -> Result:
        return CliRunner().invoke(cli.main, words)

    return command


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_the_command_line_rotates_with_an_overlap_unless_told_otherwise(run: Any, agent: str, clock: Clock) -> None:
    first = answer(run("agents", "rotate", "refund-desk", "--json"))
    assert first["old_secret_until"] is not None
    second = answer(run("agents", "rotate", "refund-desk", "--overlap", "90m", "--json"))
    database.read_again()
    assert principals.check("refund-desk", first["secret"]) is not None
    last = answer(run("agents", "rotate", "refund-desk", "--now", "--json"))
    database.read_again()
    assert last["old_secret_until"] is None
    assert [principals.check("refund-desk", each["secret"]) is not None for each in (first, second, last)] == [False, False, True]
    for wrong in ("5", "x", "1y", "-1h", "31d"):
        assert run("agents", "rotate", "refund-desk", "--overlap", wrong).exit_code != 0


def test_the_command_line_shows_and_replaces_scopes_and_reviews(run: Any, people: People, agent: str) -> None:
    assert "pay_key:write" in run("agents", "scopes", "refund-desk").output
    assert run("agents", "scopes", "refund-desk", "--scope", "*:read").exit_code == 1, "why?"
    assert answer(run("agents", "scopes", "refund-desk", "--scope", "*:read", "--reason", "reads only", "--json"))["scopes"] == ["*:read"]
    aged(agent)
    found = answer(run("agents", "review", "refund-desk", "--json"))
    assert (found["before"], found["after"]) == (["*:read"], [])
    assert "This would do:" in run("agents", "review", "refund-desk", "--days", "7").output
    assert "may use nothing" in run("agents", "scopes", "refund-desk", "--none", "--reason", "rest").output
    assert run("agents", "disable", "refund-desk").exit_code == run("agents", "enable", "refund-desk").exit_code == 0
    assert answer(run("agents", "add", "fresh", "--scope", "pay_key:write;region=EU", "--owner", "bo@example.com", "--team", "x", "--json"))
    assert scopes_of("fresh") == ["pay_key:write;region=EU"]


def test_the_command_line_warns_of_scopes_for_tools_that_are_not_there(run: Any, people: People) -> None:
    made = run("agents", "add", "fresh", "--scope", "pay_kee:write", "--owner", "bo@example.com")
    assert made.exit_code == 0
    assert "Warning: No such tool is installed: pay_kee:write. Did you mean pay_key:write?" in made.output


def test_without_tools_nothing_is_said_to_be_unused(run: Any, agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(agent)
    monkeypatch.delenv("COPILOT_TOOLKITS")
    monkeypatch.delenv("COPILOT_POLICY_DIR")
    found = run("agents", "review", "refund-desk")
    assert found.exit_code == 1
    assert "No tools are loaded: set COPILOT_TOOLKITS" in found.output
    found = privileges.review(principals.find(agent))
    assert found.after == found.before
