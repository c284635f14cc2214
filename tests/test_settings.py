"""Kill switches and second-person rules, from the page and from a shell: what they cover, whom they count on, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from copilot import cli, config
from copilot import db as database
from copilot.audit import log, notes
from copilot.db import db, transaction
from copilot.errors import NotEntitled, Refused
from copilot.gate import approvals, switches
from copilot.gateway import reads
from copilot.models import AuditEvent, Note, Switch, User
from copilot.people import principals
from tests.support import ROOT, browser, work
from tests.support.people import People


@pytest.fixture
def dee(client: FlaskClient, people: People) -> FlaskClient:
    """The admin's browser."""
    browser.sign_in(client, "dee@example.com")
    return client


# -- why


@pytest.mark.both_databases
def test_why_outlives_the_switch_and_the_rule(dee: FlaskClient, people: People) -> None:
    for page, sent in (
        ("switches", {"scope": "all", "note": "The <b>bank</b> is down"}),
        ("switches/release", {"scope": "all", "note": "It is back"}),
        ("rules", {"name": "two-people", "on": "no", "note": "Only Ana is here"}),
        ("rules", {"name": "two-people", "on": "yes", "note": "Bo came back"}),
    ):
        assert browser.post(dee, f"/settings/{page}", sent).status_code == 303
    shown, record = dee.get("/settings").text, dee.get("/record").text
    for words in ("The &lt;b&gt;bank", "It is back", "Only Ana is here", "Bo came back"):
        assert words in shown
        assert words in record
    for words in ("Kill switch thrown", "Kill switch released", "Rule switched off", "Rule switched on", "by Dee"):
        assert words in shown
    database.read_again()
    lines = "".join(db.session.scalars(select(AuditEvent.line)))
    assert "bank" not in lines
    assert log.commitment("It is back") in lines, "the log can prove what was said, and does not say it"


@pytest.mark.both_databases
def test_whatever_changes_an_agent_keeps_its_reason(people: People, agent: str) -> None:
    with transaction():
        principals.set_scopes(agent, ["*:read"], by=people.dee, reason="reads only")
        principals.rotate(agent, by=people.dee, reason="a leak")
        principals.disable(agent, by=people.dee, reason="it went wild")
        principals.disable(agent, by=people.dee, reason="said twice, done once")
        principals.enable(agent)
    found = [(said.kind, said.who, said.why) for said in notes.latest(principals.CHANGES, subject=agent)]
    assert found == [
        ("agent.enabled", "the command line", ""),
        ("agent.disabled", "Dee", "it went wild"),
        ("agent.rotated", "Dee", "a leak"),
        ("agent.scopes", "Dee", "reads only"),
    ]


@pytest.mark.both_databases
def test_the_database_itself_refuses_to_change_a_note(people: People) -> None:
    with transaction():
        switches.throw("all", by=people.bo, reason="as it was said")
    with pytest.raises(DBAPIError, match="a note is immutable"), transaction():
        db.session.execute(text("UPDATE notes SET text = 'otherwise'"))
    db.session.rollback()
    assert db.session.scalars(select(Note.text)).all() == ["as it was said"]


def test_a_change_that_is_undone_leaves_no_note(people: People) -> None:
    def both() -> None:
        switches.throw("all", by=people.bo, reason="never")
        switches.throw("tool:pay_key", by=people.ana, reason="she may not")

    with pytest.raises(NotEntitled), transaction():
        both()
    assert db.session.scalars(select(Note)).all() == []


# -- what a switch covers, and whom a rule counts on


def test_a_look_up_can_be_stopped_too_and_has_a_name_people_know(dee: FlaskClient, people: People, agent: str) -> None:
    page = dee.get("/settings").text
    for choice in ('<option value="tool:read_account">Read account', '<option value="tool:pay_key">Pay key', ">Agent refund-desk"):
        assert choice in page
    assert browser.post(dee, "/settings/switches", {"scope": "tool:read_account", "note": "It lies"}).status_code == 303
    assert "Kill switch on for Read account: It lies" in dee.get("/").text
    database.read_again()
    with pytest.raises(Refused) as refused:
        reads.call("read_account", {"account": "c1/main"}, agent_id=agent, ticket_id=None)
    assert refused.value.rule == "kill-switch"


def test_each_rule_counts_the_people_who_can_be_its_second_person(dee: FlaskClient, people: People) -> None:
    assert {switches.people_for(rule) for rule in approvals.DECIDING} == {4}
    assert {switches.people_for(rule) for rule in set(approvals.RULES) - approvals.DECIDING} == {2}
    assert "it takes two" not in dee.get("/settings").text
    with transaction():
        db.session.get_one(User, people.ids["bo"]).active = False
    page = dee.get("/settings").text
    assert page.count("1 person here is a manager or an admin, and it takes two") == 2, "the third such rule is off"
    assert "3 people here decide actions." in page


# -- from a shell


@pytest.fixture
def run(app: Flask, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `copilot …` on this test's installation."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def command(*words: str) -> Result:
        return CliRunner().invoke(cli.main, words)

    return command


def test_a_shell_stops_and_releases_by_name(run: Any, people: People, agent: str) -> None:
    proposal = work.propose(agent)
    deadline = work.row(proposal).deadline_at
    for scope, stored in {"agent:refund-desk": f"agent:{agent}", "tool:pay_key": "tool:pay_key", "all": "all"}.items():
        assert run("switch", "throw", scope, "--reason", "The web server is down").exit_code == 0
        database.read_again()
        assert db.session.get_one(Switch, stored).thrown_by is None
        assert "the command line: The web server is down" in run("switch", "list").output
        released = run("switch", "release", scope, "--reason", "It is up")
        assert released.exit_code == 0, released.output
        database.read_again()
        assert not switches.thrown()
        assert [event["by"] for event in work.events(stored) if event["kind"].startswith("switch.")] == ["cli", "cli"]
    assert run("switch", "list").output == "No kill switch is on.\n"
    assert work.row(proposal).deadline_at > deadline


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("throw", "tool:pay_kee"), "Did you mean pay_key?"),
        (("throw", "agent:nobody"), "There is no agent"),
        (("throw", "everything"), "A kill switch covers all, agent:"),
        (("release", "tool:pay_key"), "There is no kill switch on for tool:pay_key"),
    ],
)
def test_what_would_stop_nothing_is_said(run: Any, agent: str, words: tuple[str, str], said: str) -> None:
    found = run("switch", *words, "--reason", "because")
    assert found.exit_code == 1
    assert said in found.output
    assert run("switch", *words).exit_code == 2, "why?"
    assert run("switch", *words, "--reason", " ").exit_code == 1
    database.read_again()
    assert not switches.thrown()


def test_a_switch_thrown_from_a_shell_is_released_on_the_page(run: Any, dee: FlaskClient) -> None:
    run("switch", "throw", "all", "--reason", "From a shell")
    assert "by the command line" in dee.get("/settings").text
    assert browser.post(dee, "/settings/switches/release", {"scope": "all", "note": "And from a page"}).status_code == 303
    database.read_again()
    assert not switches.thrown()


# -- the sample company's own folder


def test_commands_on_the_sample_companys_folder_know_its_tools_and_policies(tmp_path: Path) -> None:
    (tmp_path / "toolkits").write_text("copilot.demo.tools:shop\n")
    (tmp_path / "policy_dir").write_text(f"{ROOT / 'copilot' / 'demo' / 'policies'}\n")
    folder = {"COPILOT_DATA_DIR": str(tmp_path)}
    found = config.load(folder)
    assert (found.toolkits, found.policy_dir) == (("copilot.demo.tools:shop",), ROOT / "copilot" / "demo" / "policies")
    mine = config.load({**folder, "COPILOT_TOOLKITS": "mine:box"})
    assert (mine.toolkits, mine.policy_dir) == (("mine:box",), None), "one's own tools go with no other's policies"
    named = CliRunner().invoke(cli.main, ["policy", "check"], env=folder)
    assert named.exit_code == 0, named.output
    assert "No tools are loaded" not in named.output
    bare = CliRunner().invoke(cli.main, ["policy", "check"], env={"COPILOT_DATA_DIR": str(tmp_path / "none")})
    assert "No tools are loaded: set COPILOT_TOOLKITS" in bare.output
    shop = str(ROOT / "copilot" / "demo" / "policies")
    misread = CliRunner().invoke(cli.main, ["policy", "check", shop], env={"COPILOT_DATA_DIR": str(tmp_path / "none")})
    assert misread.exit_code == 1
    assert "No tools are loaded: set COPILOT_TOOLKITS" in misread.output, "not the policies are wrong"


# -- an address of nothing


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("/tools/nothing", "To the list of tools"),
        ("/policies/polv_none", "To the versions of the policies"),
        ("/agents/agent_none", "To the list of agents"),
        ("/budgets/nothing", "To the budgets"),
    ],
)
def test_a_page_that_is_not_there_leads_to_its_list(dee: FlaskClient, address: str, where: str) -> None:
    answer = dee.get(address)
    assert answer.status_code == 404
    assert where in answer.text
    assert "To the queue" in answer.text


def test_nobody_is_sent_to_a_list_they_may_not_open(client: FlaskClient, people: People) -> None:
    assert "To the list" not in client.get("/tools/x/y").text
    browser.sign_in(client, "ana@example.com")
    assert "To the list" not in client.get("/tools/x/y").text
    assert "To the budgets" in client.get("/budgets/x").text
