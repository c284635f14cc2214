"""An action runs alone only on evidence and a manager's word, and stops by itself at the first bad sign."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, select

from copilot import db as database
from copilot.autonomy import board, evidence, grants
from copilot.db import db, new_id, transaction
from copilot.errors import BadInput, NotEntitled, NotFound, Refused
from copilot.models import AuditEvent, Decision, Grant, GrantChange, Notification, Proposal
from tests.support import tools
from tests.support.people import People

TOOL = tools.WRITES[0]
ENOUGH = 52  # the counting toolbox's tools are of medium risk

pytestmark = pytest.mark.both_databases


def propose(agent: str, *, state: str = "SUCCEEDED", age: timedelta = timedelta(hours=1), automatic: bool = False, tool: str = TOOL) -> str:
    """One proposal as the rest of the product would have left it."""
    at = database.now() - age
    made = new_id("prop")
    proposal = Proposal(
        id=made, state=state, agent_id=agent, tool=tool, risk="medium", digest="d", level="suggest", automatic=automatic,
        deadline_at=at, created_at=at, updated_at=at + timedelta(seconds=30),
    )  # fmt: skip
    with transaction():
        db.session.add(proposal)
    return made


def decide(proposal: str, reviewer: str | None, verdict: str, *, code: str | None = None, version: int = 1, after: int = 20) -> None:
    """One decision on it, `after` seconds after it was proposed; without a reviewer an automatic one."""
    with transaction():
        proposed = db.session.get(Proposal, proposal)
        assert proposed is not None
        at = proposed.created_at + timedelta(seconds=after)
        db.session.add(
            Decision(
                proposal_id=proposal, version=version, digest="d", verdict=verdict, reviewer_id=reviewer, automatic=reviewer is None,
                reason_code=code, created_at=at,
            )
        )  # fmt: skip


def earn(agent: str, people: People, number: int = ENOUGH, **options: Any) -> None:
    """So many proposals that Ana approved unchanged."""
    for _ in range(number):
        decide(propose(agent, **options), people.ids["ana"], "approve")


def measured(agent: str, since: datetime | None = None) -> Any:
    database.read_again()
    return evidence.measure(agent, TOOL, at=database.now(), since=since)


def put(agent: str, people: People, level: str, *, reason: str = "it earned it", by: str = "bo") -> None:
    with transaction():
        grants.set_level(agent, TOOL, level, by=people.row(by), reason=reason)


def fall(agent: str, *, why: str = "failed", proposal_id: str | None = None) -> bool:
    with transaction():
        return grants.fall_back(agent, TOOL, why=why, proposal_id=proposal_id)


def events(kind: str = "grant.changed") -> list[dict[str, Any]]:
    database.read_again()
    return [json.loads(line) for line in db.session.scalars(select(AuditEvent.line).where(AuditEvent.kind == kind).order_by(AuditEvent.id))]


def level(agent: str) -> str:
    database.read_again()
    return grants.level(agent, TOOL)


def test_without_a_grant_a_person_decides(app: Flask, agent: str) -> None:
    assert level(agent) == "suggest"
    assert grants.evidence(agent, TOOL) == {"level": "suggest"}


def test_auto_is_refused_with_the_missing_numbers_until_it_is_earned(app: Flask, agent: str, people: People) -> None:
    earn(agent, people, ENOUGH - 1)
    with pytest.raises(Refused, match=r"needs 52 clean decisions in a row for 93 %; has 51") as refusal:
        put(agent, people, "auto")
    assert refusal.value.rule == "autonomy-evidence"
    assert level(agent) == "suggest"
    assert events() == []
    earn(agent, people, 1)
    put(agent, people, "auto")
    assert level(agent) == "auto"


def test_a_change_is_history_and_an_event_with_its_evidence(app: Flask, agent: str, people: People) -> None:
    earn(agent, people)
    put(agent, people, "auto", reason="  fifty-two in a row  ")
    put(agent, people, "auto")  # already there: nothing happens
    (change,) = board.history(agent, TOOL)
    assert (change.before, change.after, change.by, change.reason) == ("suggest", "auto", "Bo", "fifty-two in a row")
    (found,) = events()
    assert (found["subject"], found["tool"], found["before"], found["after"], found["by"]) == (
        agent,
        TOOL,
        "suggest",
        "auto",
        people.ids["bo"],
    )
    assert (found["count"], found["approved_unchanged"], found["target_bp"]) == (52, 52, 9300)
    assert found["lower_bound_bp"] == 9312


def test_an_automatic_decision_can_name_what_it_rests_on(app: Flask, agent: str, people: People) -> None:
    earn(agent, people)
    put(agent, people, "auto")
    found = json.loads(json.dumps(grants.evidence(agent, TOOL)))
    assert (found["level"], found["granted_by"], found["figures"]["count"]) == ("auto", people.ids["bo"], 52)
    assert db.session.get(GrantChange, found["change"]) is not None


@pytest.mark.parametrize("who", ["ana", "cy", "eli"])
def test_only_managers_and_admins_change_a_level(app: Flask, agent: str, people: People, who: str) -> None:
    with pytest.raises(NotEntitled):
        put(agent, people, "off", by=who)
    assert level(agent) == "suggest"


def test_the_owner_of_an_agent_never_lets_it_run_alone(app: Flask, agent: str, people: People) -> None:
    earn(agent, people)
    with pytest.raises(NotEntitled, match="somebody else") as refused:
        put(agent, people, "auto", by="dee")
    assert refused.value.rule == "owner-never-approves"
    assert (level(agent), events()) == ("suggest", [])
    put(agent, people, "off", by="dee")  # less is always hers to say
    put(agent, people, "suggest", by="dee")
    put(agent, people, "auto")
    assert level(agent) == "auto"


def test_off_and_back_needs_no_evidence(app: Flask, agent: str, people: People) -> None:
    put(agent, people, "off", reason="", by="dee")
    assert level(agent) == "off"
    put(agent, people, "suggest", reason="")
    assert level(agent) == "suggest"
    assert [change.after for change in board.history(agent, TOOL)] == ["suggest", "off"]


def test_what_is_not_there_yet_or_makes_no_sense_is_refused_in_words(app: Flask, agent: str, people: People) -> None:
    for later in ("shadow", "canary"):
        with pytest.raises(Refused, match="not available yet"):
            put(agent, people, later)
    with pytest.raises(BadInput):
        put(agent, people, "always")
    with pytest.raises(BadInput, match="why"):
        put(agent, people, "auto", reason="  ")
    with pytest.raises(BadInput, match="too long"):
        put(agent, people, "off", reason="x" * 1_001)
    with pytest.raises(BadInput, match="canary"), transaction():
        grants.set_level(agent, TOOL, "auto", by=people.bo, reason="some", percent=20)
    with pytest.raises(NotFound), transaction():
        grants.set_level(agent, "look", "off", by=people.bo, reason="reads have no level")
    with pytest.raises(NotFound), transaction():
        grants.set_level("agent_none", TOOL, "off", by=people.bo, reason="nobody")


def test_evidence_is_what_people_made_of_each_proposal_once(app: Flask, agent: str, people: People) -> None:
    ana, bo, eli = people.ids["ana"], people.ids["bo"], people.ids["eli"]
    earn(agent, people, 2)
    twice = propose(agent)
    decide(twice, ana, "approve")
    decide(twice, bo, "approve", after=40)
    edited = propose(agent)
    decide(edited, ana, "edit", code="wrong-amount")
    decide(edited, eli, "approve", version=2, after=50)
    decide(propose(agent, state="REJECTED"), ana, "reject", code="tone")
    decide(propose(agent), None, "approve")  # automatic: no person saw it
    decide(propose(agent, state="PENDING"), ana, "approve")  # waits for a second person
    decide(propose(agent, state="WITHDRAWN"), ana, "approve")  # taken back after all
    decide(propose(agent, state="WITHDRAWN"), ana, "withdraw")
    decide(propose(agent, tool=tools.WRITES[1]), ana, "reject")
    found = measured(agent)
    assert (found.count, found.approved_unchanged, found.edited, found.rejected) == (5, 3, 1, 1)
    assert found.reasons == (("tone", 1), ("wrong-amount", 1))
    assert found.p95_seconds == 50.0


def test_evidence_ends_at_ninety_days_and_begins_anew_after_a_fall(app: Flask, agent: str, people: People) -> None:
    earn(agent, people, 2, age=timedelta(days=91))
    earn(agent, people, 3, age=timedelta(days=80))
    earn(agent, people, 4)
    assert measured(agent).count == 7
    assert measured(agent, since=database.now() - timedelta(days=2)).count == 4


def test_failures_refusals_and_unknowns_are_counted(app: Flask, agent: str, people: People) -> None:
    propose(agent, state="FAILED")
    propose(agent, state="DENIED")
    propose(agent, state="OUTCOME_UNKNOWN", age=timedelta(days=3))
    propose(agent, state="HELD")
    found = measured(agent)
    assert (found.failures, found.refusals, found.unknowns) == (1, 1, 2)
    later = measured(agent, since=database.now())
    assert (later.failures, later.refusals, later.unknowns) == (0, 0, 2)  # an unsettled outcome counts until somebody settles it
    earn(agent, people)
    with pytest.raises(Refused, match=r"2 outcomes are unknown.*1 action failed"):
        put(agent, people, "auto")


def test_a_bad_sign_takes_it_back_once_and_tells_people(app: Flask, agent: str, people: People) -> None:
    earn(agent, people)
    put(agent, people, "auto")
    proposal = propose(agent, state="FAILED", automatic=True)
    assert fall(agent, proposal_id=proposal)
    assert not fall(agent, proposal_id=proposal)
    assert level(agent) == "suggest"
    change = board.history(agent, TOOL)[0]
    assert (change.by, change.reason) == (None, "Back to suggest by itself: an automatic action failed.")
    last = events()[-1]
    assert (last["before"], last["after"], last["by"], last["why"], last["proposal"]) == ("auto", "suggest", None, "failed", proposal)
    note = db.session.execute(select(Notification)).scalar_one()
    assert (note.kind, note.subject, note.payload["tool"], note.payload["agent"]) == ("fall_back", proposal, TOOL, "refund-desk")
    with pytest.raises(Refused, match="has 0"):
        put(agent, people, "auto")  # the way back up starts from nothing


def test_there_is_nothing_to_take_back_from_what_does_not_run_alone(app: Flask, agent: str, people: People) -> None:
    assert not fall(agent)
    put(agent, people, "off")
    assert not fall(agent)
    assert level(agent) == "off"


def test_twenty_bad_signs_at_once_are_one_fall(app: Flask, agent: str, people: People) -> None:
    earn(agent, people)
    put(agent, people, "auto")
    fallen: list[bool] = []

    def run() -> None:
        with app.app_context():
            fallen.append(fall(agent, why="outcome-unknown"))
            db.session.remove()

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(fallen) == [False] * 19 + [True]
    assert len(events()) == 2


@pytest.mark.parametrize("state", ["FAILED", "OUTCOME_UNKNOWN", "HELD"])
def test_a_second_pair_of_eyes_finds_what_nobody_took_back(app: Flask, agent: str, people: People, state: str) -> None:
    earn(agent, people)
    put(agent, people, "auto")
    propose(agent, state="SUCCEEDED", automatic=True, age=timedelta(0))
    with transaction():
        assert grants.recheck() == 0
    propose(agent, state=state, automatic=True, age=timedelta(0))
    with transaction():
        assert grants.recheck() == 1
    assert level(agent) == "suggest"


def test_the_board_has_a_card_for_each_action_an_agent_may_propose(app: Flask, agent: str, people: People) -> None:
    earn(agent, people, 3)
    put(agent, people, "off", reason="a pause")
    cards = board.cards()
    assert [card.tool for card in cards] == sorted(tools.WRITES)
    card = next(card for card in cards if card.tool == TOOL)
    assert (card.agent, card.level, card.measures.count, card.risk) == ("refund-desk", "off", 3, "medium")
    assert card.shortfalls == ("needs 52 clean decisions in a row for 93 %; has 3",)
    assert not card.clear
    assert card.history[0].reason == "a pause"
    assert "falls back" in card.falls_back.lower()


def test_the_board_asks_the_database_a_bounded_number_of_times(app: Flask, agent: str, people: People) -> None:
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    cards = board.cards()
    few = len(asked)
    earn(agent, people, 5)
    asked.clear()
    assert len(board.cards()) == len(cards)
    assert len(asked) <= few <= 3 * len(cards) + 4


def test_a_grant_of_a_disabled_agent_is_not_on_the_board(app: Flask, agent: str, people: People) -> None:
    with transaction():
        db.session.execute(database.db.update(grants.Agent).values(enabled=False))
    assert board.cards() == []
    assert db.session.execute(select(Grant)).all() == []
