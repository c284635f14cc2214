"""What widens somebody's reach waits for a second person where the rule says so, on every way that leads there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete

from copilot.autonomy import grants
from copilot.db import db, fresh_context, transaction
from copilot.errors import BadInput, Conflict, CopilotError, NotEntitled, NotFound, Refused
from copilot.gate import approvals, changes, switches
from copilot.models import Agent, Change, Decision, User
from copilot.people import principals, tokens
from tests.support import api, browser, work
from tests.support.people import People
from tests.test_autonomy_grants import TOOL, earn

pytestmark = pytest.mark.both_databases

APPLIERS: dict[str, changes.Applier] = {"scopes": principals.apply_scopes, "level": grants.apply_level}


def switch(people: People, name: str, *, on: bool) -> None:
    """Switch a rule by name."""
    with transaction():
        switches.set_rule(name, on=on, by=people.dee, reason="for this test")


@pytest.fixture
def strict(people: People) -> None:
    """Running alone needs a second person."""
    switch(people, approvals.AUTONOMY_SECOND_PERSON, on=True)


def ask(agent: str, people: People, *, by: str = "bo", level: str = "auto") -> str | None:
    """Ask for a level; the wish's id, or None when it was simply set."""
    with transaction():
        wish = grants.set_level(agent, TOOL, level, by=people.row(by), reason="it has earned it", ask=changes.ask)
        return None if wish is None else wish.id


def decide(change_id: str, people: People, *, by: str, apply: bool = True, note: str = "seen") -> None:
    """Confirm or refuse."""
    with transaction():
        changes.decide(change_id, by=people.row(by), apply=apply, note=note, appliers=APPLIERS)


def owned_by(agent: str, owner: str) -> None:
    """Give the agent another owner."""
    with transaction():
        db.session.get_one(Agent, agent).owner_id = owner


def state(change_id: str) -> str:
    """How the wish stands."""
    db.session.rollback()
    return changes.get(change_id).state


def test_rules_hold_by_default_but_for_the_one_that_is_off(people: People) -> None:
    assert switches.rules_off() == approvals.DEFAULT_OFF == {approvals.AUTONOMY_SECOND_PERSON}
    switch(people, approvals.AUTONOMY_SECOND_PERSON, on=True)
    switch(people, approvals.TWO_PEOPLE, on=False)
    assert switches.rules_off() == {approvals.TWO_PEOPLE}
    for name in (approvals.AUTONOMY_SECOND_PERSON, approvals.TWO_PEOPLE):
        for on in (True, True, False, False, name == approvals.TWO_PEOPLE):
            switch(people, name, on=on)
            assert switches.holds(name) == on
    assert switches.rules_off() == approvals.DEFAULT_OFF
    assert [event["on"] for event in work.events(approvals.TWO_PEOPLE)] == [False, True, False, True]
    with pytest.raises(NotEntitled), transaction():
        switches.set_rule(approvals.TWO_PEOPLE, on=False, by=people.bo, reason="no")


def test_without_the_rule_a_level_is_set_at_once(agent: str, people: People) -> None:
    earn(agent, people)
    assert ask(agent, people) is None
    assert grants.level(agent, TOOL) == "auto"


def test_running_alone_waits_for_a_second_person_and_then_holds(agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    assert grants.level(agent, TOOL) == "suggest"
    decide(made, people, by="dee")
    assert grants.level(agent, TOOL) == "auto"
    assert work.kinds(made) == ["change.asked", "change.applied"]
    (changed,) = [event for event in work.events(agent) if event["kind"] == "grant.changed"]
    assert (changed["by"], changed["confirmed_by"]) == (people.ids["bo"], people.ids["dee"])
    with pytest.raises(Conflict):
        decide(made, people, by="dee")


def test_only_widening_waits(agent: str, people: People, strict: None) -> None:
    for level in ("off", "suggest"):
        assert ask(agent, people, level=level) is None
        assert grants.level(agent, TOOL) == level


def test_no_way_around_the_second_person(agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    with pytest.raises(Refused) as refused, transaction():
        grants.set_level(agent, TOOL, "auto", by=people.bo, reason="straight")
    assert refused.value.rule == approvals.AUTONOMY_SECOND_PERSON
    made = ask(agent, people)
    assert made is not None
    with pytest.raises(NotEntitled), transaction():
        grants.apply_level(changes.get(made), by=people.bo)
    assert grants.level(agent, TOOL) == "suggest"


@pytest.mark.parametrize(
    ("by", "rule"),
    [("bo", "change-second-person"), ("ana", "change-manager"), ("cy", "change-manager"), ("dee", "owner-never-approves")],
)
def test_who_never_confirms(agent: str, people: People, strict: None, by: str, rule: str) -> None:
    earn(agent, people)
    made = ask(agent, people)
    assert made is not None
    for apply in (True, False):
        with pytest.raises(NotEntitled) as refused:
            decide(made, people, by=by, apply=apply)
        assert refused.value.rule == rule
    assert (state(made), grants.level(agent, TOOL)) == ("waiting", "suggest")
    assert changes.entitled(changes.get(made)) == 0


@pytest.mark.parametrize("owner", ["bo", "dee"])
def test_neither_who_asked_nor_who_confirms_owns_the_agent(agent: str, people: People, strict: None, owner: str) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    owned_by(agent, people.ids[owner])
    with pytest.raises(NotEntitled) as refused:
        decide(made, people, by="dee")
    assert refused.value.rule == "owner-never-approves"
    with pytest.raises(NotEntitled) as refused, transaction():
        grants.apply_level(changes.get(made), by=people.dee)
    assert refused.value.rule == "owner-never-approves"
    assert (state(made), grants.level(agent, TOOL)) == ("waiting", "suggest")
    with pytest.raises(NotEntitled):
        ask(agent, people, by=owner)


def test_the_owner_is_told_so_on_the_board_and_by_the_api(agent: str, people: People, client: FlaskClient) -> None:
    earn(agent, people)
    browser.sign_in(client, "dee@example.com")
    answer = browser.post(client, f"/actions/{agent}/{TOOL}/level", {"level": "auto", "note": "It has earned it"})
    assert answer.status_code == 403
    assert "The owner of an agent never lets it run alone; somebody else has to do that." in answer.text
    assert "It has earned it" in answer.text, "nothing typed is lost"
    call = api.as_person(client, people.dee)
    told = call("PUT", f"/actions/refund-desk/{TOOL}/level", {"level": "auto", "reason": "It has earned it"})
    assert (told.status_code, told.json["rule"]) == (403, "owner-never-approves")
    assert grants.level(agent, TOOL) == "suggest"


def test_a_disabled_manager_confirms_nothing(agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    with transaction():
        db.session.get_one(User, people.ids["dee"]).active = False
    with pytest.raises(NotEntitled):
        decide(made, people, by="dee")


def test_a_world_that_moved_is_not_confirmed(agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    assert ask(agent, people, level="off") is None
    with pytest.raises(Conflict):
        decide(made, people, by="dee")
    assert (state(made), grants.level(agent, TOOL)) == ("waiting", "off")
    decide(made, people, by="dee", apply=False)
    assert state(made) == "refused"


def test_evidence_that_is_gone_is_not_confirmed(agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    with transaction():
        db.session.execute(delete(Decision))
    with pytest.raises(Refused) as refused:
        decide(made, people, by="dee")
    assert refused.value.rule == "autonomy-evidence"
    assert state(made) == "waiting"


def test_one_wish_at_a_time_and_only_its_asker_withdraws_it(agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    with pytest.raises(Conflict):
        ask(agent, people, by="dee")
    with pytest.raises(NotEntitled), transaction():
        changes.withdraw(made, by=people.dee)
    with transaction():
        changes.withdraw(made, by=people.bo, note="not yet")
    assert (state(made), changes.count()) == ("withdrawn", 0)
    assert ask(agent, people) is not None
    with pytest.raises(NotFound), transaction():
        changes.withdraw("chg_none", by=people.bo)


def test_a_refusal_needs_a_note(agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    with pytest.raises(BadInput):
        decide(made, people, by="dee", apply=False, note=" ")
    assert state(made) == "waiting"


def test_scopes_are_widened_by_two(agent: str, people: People) -> None:
    owned_by(agent, people.ids["eli"])
    before = sorted(db.session.get_one(Agent, agent).scopes)
    wanted = sorted({*before, "read_account:read"})
    with transaction():
        made = changes.ask("scopes", agent, {"before": before, "scopes": wanted}, by=people.dee, reason="it reads").id
    with pytest.raises(NotEntitled):
        decide(made, people, by="dee")
    decide(made, people, by="bo")
    db.session.rollback()
    assert sorted(db.session.get_one(Agent, agent).scopes) == wanted


def test_two_who_confirm_at_once_do_it_once(app: Flask, agent: str, people: People, strict: None) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    made = ask(agent, people)
    assert made is not None
    said: list[str] = []
    ready = threading.Barrier(2)

    def attempt() -> None:
        with fresh_context():
            ready.wait()
            try:
                decide(made, people, by="dee")
                said.append("done")
            except CopilotError as error:
                said.append(error.code)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["conflict", "done"]
    assert work.kinds(made).count("change.applied") == 1


def test_the_page_says_who_asked_what_and_takes_a_second_word(agent: str, people: People, strict: None, client: FlaskClient) -> None:
    earn(agent, people)
    owned_by(agent, people.ids["eli"])
    browser.sign_in(client, "bo@example.com")
    answer = browser.post(client, f"/actions/{agent}/{TOOL}/level", {"level": "auto", "note": "<i>earned</i>"})
    assert answer.status_code == 303
    assert "/changes" in answer.location
    page = client.get("/changes").text
    assert "&lt;i&gt;earned&lt;/i&gt;" in page
    assert "Withdraw it" in page
    assert ">Confirm<" not in page
    (wish,) = changes.waiting()
    assert browser.post(client, f"/changes/{wish.id}", {"answer": "confirm", "note": ""}).status_code == 403
    other = client.application.test_client()
    browser.sign_in(other, "dee@example.com")
    assert ">Confirm<" in other.get("/changes").text
    assert browser.post(other, f"/changes/{wish.id}", {"answer": "refuse", "note": ""}).status_code == 422
    assert browser.post(other, f"/changes/{wish.id}", {"answer": "nonsense", "note": ""}).status_code == 422
    assert browser.post(other, f"/changes/{wish.id}", {"answer": "confirm", "note": ""}).status_code == 303
    assert grants.level(agent, TOOL) == "auto"
    assert "Confirmed and done" in other.get("/changes").text
    assert browser.post(other, f"/changes/{wish.id}", {"answer": "confirm", "note": ""}).status_code == 409
    assert browser.post(other, "/changes/chg_none", {"answer": "confirm", "note": ""}).status_code == 404


@pytest.mark.parametrize(("who", "looks", "acts"), [("ana", 403, 403), ("cy", 200, 403), ("bo", 200, 404), ("dee", 200, 404)])
def test_who_sees_the_page(people: People, client: FlaskClient, who: str, looks: int, acts: int) -> None:
    browser.sign_in(client, f"{who}@example.com")
    assert client.get("/changes").status_code == looks
    assert browser.post(client, "/changes/chg_none", {"answer": "confirm", "note": ""}).status_code == acts


def test_the_page_says_when_nobody_can_confirm(agent: str, people: People, strict: None, client: FlaskClient) -> None:
    earn(agent, people)
    assert ask(agent, people) is not None  # Bo asks, Dee owns the agent, and nobody else manages
    browser.sign_in(client, "dee@example.com")
    assert "Nobody here can confirm this" in client.get("/changes").text


def test_the_api_answers_that_it_waits(agent: str, people: People, strict: None, client: FlaskClient) -> None:
    earn(agent, people)
    with transaction():
        secret = tokens.issue_person(people.bo, "tests")
    headers = {"Authorization": f"Bearer {secret}"}
    put: Callable[..., Any] = lambda level: client.put(  # noqa: E731 -- two calls of one shape
        f"/api/v1/actions/refund-desk/{TOOL}/level", json={"level": level, "reason": "earned"}, headers=headers
    )
    answer = put("auto")
    assert answer.status_code == 202, answer.text
    assert answer.json["level"] == "suggest"
    assert db.session.get_one(Change, answer.json["waiting"]).state == "waiting"
    assert put("auto").status_code == 409
    assert put("off").status_code == 200


@pytest.mark.parametrize("page", ["/settings"])
def test_settings_show_every_rule_as_it_stands(people: People, client: FlaskClient, page: str) -> None:
    browser.sign_in(client, "dee@example.com")
    shown = client.get(page).text
    for sentence in approvals.RULES.values():
        assert sentence.replace("'", "&#39;") in shown
    assert "Off unless somebody switches it on." in shown
    sent = {"name": approvals.AUTONOMY_SECOND_PERSON, "on": "yes", "note": "two of us now"}
    assert browser.post(client, "/settings/rules", sent).status_code == 303
    assert switches.holds(approvals.AUTONOMY_SECOND_PERSON)
    shown = client.get(page).text
    assert "Off unless somebody switches it on." not in shown
    assert "two of us now" in shown
