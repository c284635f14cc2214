"""A notification is written with its change, goes out at least once, and is never lost silently."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from copilot import config
from copilot import db as database
from copilot.db import db, new_id, transaction
from copilot.errors import Conflict, NotFound
from copilot.models import AuditEvent, Notification
from copilot.notify import channels, messages, outbox
from tests import fake_slack
from tests.fake_slack import FakeSlack


@pytest.fixture
def webhook() -> Iterator[FakeSlack]:
    with fake_slack.serve() as running:
        yield running


def use(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    monkeypatch.setattr(config, "_current", dataclasses.replace(config.current(), slack_webhook_url=url))


@pytest.fixture
def slack_on(app: Flask, webhook: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> FakeSlack:
    """The application, with its webhook set to the fake."""
    use(monkeypatch, webhook.url)
    return webhook


def add(dedupe: str = "unknown:1", **fields: Any) -> None:
    with transaction():
        outbox.add("outcome_unknown", subject=new_id("prop"), dedupe=dedupe, fields={"tool": "issue_refund", **fields})


def row() -> Notification:
    db.session.rollback()
    return db.session.execute(select(Notification)).scalar_one()


def rows() -> list[tuple[str, str]]:
    db.session.rollback()
    return [
        (found.dedupe, found.state)
        for found in db.session.execute(select(Notification.dedupe, Notification.state).order_by(Notification.dedupe))
    ]


def later(monkeypatch: pytest.MonkeyPatch, pause: timedelta) -> None:
    real = database.now
    monkeypatch.setattr(outbox, "now", lambda: real() + pause)


@pytest.mark.both_databases
def test_what_is_written_with_a_change_is_sent_after_it(slack_on: FakeSlack) -> None:
    add()
    assert slack_on.received == []
    assert outbox.drain() == 1
    assert outbox.drain() == 0
    (message,) = slack_on.received
    assert message["text"] == "Nobody knows yet whether an action happened: issue_refund"
    assert (row().state, row().attempts) == ("sent", 1)
    assert row().sent_at is not None


@pytest.mark.both_databases
def test_the_same_notification_is_written_once(slack_on: FakeSlack) -> None:
    add("one")
    add("one")
    add("two")
    assert outbox.drain() == 2


def test_a_change_that_is_rolled_back_tells_nobody(slack_on: FakeSlack) -> None:
    def half_done() -> None:
        with transaction():
            outbox.add("held", subject="prop_a", dedupe="held:a", fields={})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    assert rows() == []


@pytest.mark.parametrize(
    ("kind", "subject", "dedupe"), [("gossip", "a", "b"), ("held", "", "b"), ("held", "a", ""), ("held", "a", "x" * 201)]
)
def test_nonsense_is_refused(slack_on: FakeSlack, kind: str, subject: str, dedupe: str) -> None:
    with pytest.raises(ValueError, match="notification"), transaction():
        outbox.add(kind, subject=subject, dedupe=dedupe, fields={})


@pytest.mark.both_databases
def test_it_is_tried_again_ever_later_and_then_it_is_dead(slack_on: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    waits = []
    for _ in range(outbox.ATTEMPTS):
        slack_on.answer(500)
        before = outbox.now()
        assert outbox.drain() == 0
        waits.append(round((row().next_at - before).total_seconds()))
        assert outbox.drain() == 0  # nothing is due yet
        later(monkeypatch, row().next_at - database.now() + timedelta(seconds=1))
    assert len(slack_on.received) == outbox.ATTEMPTS
    assert waits[:7] == [5 * 4**n for n in range(7)]
    assert (row().state, row().attempts, row().last_error) == ("dead", 8, "Slack answered 500")
    event = json.loads(db.session.execute(select(AuditEvent.line).where(AuditEvent.kind == "notification.dead")).scalar_one())
    assert (event["subject"], event["notice"], event["attempts"]) == (row().id, "outcome_unknown", 8)


@pytest.mark.both_databases
def test_a_dead_one_can_be_sent_again_from_the_page(slack_on: FakeSlack) -> None:
    slack_on.answer(404)
    add()
    outbox.drain()
    assert (row().state, row().attempts) == ("dead", 1)  # a revoked webhook does not come back by asking
    assert outbox.counts() == {"waiting": 0, "dead": 1, "unsent": 0}
    with transaction():
        outbox.retry(row().id, by="user_bo")
    assert outbox.drain() == 1
    assert row().state == "sent"
    with pytest.raises(Conflict), transaction():
        outbox.retry(row().id)
    with pytest.raises(NotFound), transaction():
        outbox.retry("note_none")


def test_slack_is_given_the_time_it_asks_for_and_the_rest_waits_with_it(slack_on: FakeSlack) -> None:
    add("a")
    add("b")
    slack_on.answer(429, Retry_After="90")
    before = database.now()
    assert outbox.drain() == 0
    assert len(slack_on.received) == 1
    first = db.session.execute(select(Notification).where(Notification.attempts == 1)).scalar_one()
    assert 89 <= (first.next_at - before).total_seconds() <= 95
    assert outbox.drain() == 1  # the next round begins with the other
    assert sorted(state for _, state in rows()) == ["sent", "waiting"]


@pytest.mark.parametrize("header", ["soon", "-5", "Wed, 21 Oct 2026 07:28:00 GMT", "1e9", ""])
def test_a_strange_retry_after_means_our_own_pause(slack_on: FakeSlack, header: str) -> None:
    add()
    slack_on.answer(429, Retry_After=header)
    before = database.now()
    outbox.drain()
    assert 4 <= (row().next_at - before).total_seconds() <= 7


def test_a_slow_and_a_closed_webhook_are_tried_again(slack_on: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_TIMEOUT", 0.3)
    add()
    slack_on.hang()
    outbox.drain()
    assert (row().state, row().last_error) == ("waiting", "Slack did not answer within 0.3 seconds")
    use(monkeypatch, f"http://127.0.0.1:{fake_slack.closed_port()}/services/secret")
    later(monkeypatch, timedelta(minutes=1))
    outbox.drain()
    assert row().attempts == 2
    assert row().last_error == "Slack could not be reached"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(slack_on: FakeSlack, status: int) -> None:
    add()
    slack_on.answer(status, Location="/elsewhere")
    outbox.drain()
    assert slack_on.elsewhere == []
    assert len(slack_on.received) == 1
    assert row().state == "dead"


def test_the_webhooks_address_stays_secret(slack_on: FakeSlack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    add("a")
    outbox.drain()
    use(monkeypatch, f"http://127.0.0.1:{fake_slack.closed_port()}/services/secret")
    add("b")
    outbox.drain()
    assert "secret" not in caplog.text
    errors = list(db.session.scalars(select(Notification.last_error)))
    assert not any("secret" in (error or "") or "127.0.0.1" in (error or "") for error in errors)


@pytest.mark.both_databases
def test_a_sender_that_died_in_between_sends_again_after_a_minute(slack_on: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    with transaction():
        claimed = outbox.claim()
    assert claimed is not None
    assert outbox.drain() == 0
    later(monkeypatch, timedelta(seconds=61))
    assert outbox.drain() == 1
    with transaction():
        outbox.fail(claimed, channels.Undelivered("too late"))  # its fence is gone
    assert row().state == "sent"


def test_a_sender_that_always_dies_ends_as_a_dead_letter(slack_on: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    with transaction():
        db.session.execute(update(Notification).values(attempts=outbox.ATTEMPTS))
    assert outbox.drain() == 0
    assert slack_on.received == []
    assert row().state == "dead"


@pytest.mark.both_databases
def test_two_senders_share_the_work(app: Flask, slack_on: FakeSlack) -> None:
    for number in range(12):
        add(str(number))
    sent: list[int] = []

    def run() -> None:
        with app.app_context():
            sent.append(outbox.drain())
            db.session.remove()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    sent.append(outbox.drain())
    assert sum(sent) == len(slack_on.received) == 12


def test_without_a_webhook_it_is_kept_and_shown_and_can_be_sent_later(
    app: Flask, webhook: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    assert outbox.drain() == 0
    assert row().state == "unsent"
    with pytest.raises(Conflict, match="SLACK_WEBHOOK_URL"), transaction():
        outbox.retry(row().id)
    use(monkeypatch, webhook.url)
    assert outbox.drain() == 0  # old news are not poured out by themselves
    with transaction():
        outbox.retry(row().id)
    assert outbox.drain() == 1


def test_what_waits_when_the_webhook_is_taken_away_becomes_unsent(slack_on: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    use(monkeypatch, None)
    assert outbox.drain() == 0
    assert row().state == "unsent"


def render(kind: str = "needs_human", **fields: Any) -> dict[str, Any]:
    return messages.slack(kind, subject="prop_" + "a" * 32, dedupe="ref:1", fields=fields, base_url="https://copilot.example.com")


def test_critical_fields_come_first_and_a_link_last() -> None:
    message = render(reason="No more steps.", ticket="tick_" + "b" * 32, amount={"minor": 8000, "currency": "EUR"}, tool="issue_refund")
    header, section, sentence, link, context = message["blocks"]
    assert header["text"]["text"] == "A ticket needs a person"
    assert [part["text"] for part in section["fields"]] == ["*tool*\nissue_refund", "*amount*\n80.00 EUR", "*ticket*\ntick_" + "b" * 32]
    assert sentence["text"]["text"] == "No more steps."
    assert link["text"]["text"] == f"<https://copilot.example.com/proposals/prop_{'a' * 32}|Open in Copilot>"
    assert context["elements"][0]["text"] == "ref ref:1"
    assert message["text"] == "A ticket needs a person: issue_refund, 80.00 EUR"


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ({"minor": 1, "currency": "USD"}, "0.01 USD"),
        ({"minor": -1250, "currency": "EUR"}, "-12.50 EUR"),
        ({"minor": 5000, "currency": "JPY"}, "5,000 JPY"),
        ({"minor": 1500, "currency": "KWD"}, "1.500 KWD"),
        ({"minor": 1.5, "currency": "EUR"}, "?"),
    ],
)
def test_money_reads_as_people_write_it(amount: dict[str, Any], expected: str) -> None:
    assert render(amount=amount)["text"].endswith(expected)


def test_hostile_text_is_inert_and_personal_text_is_gone() -> None:
    message = json.dumps(
        render(reason="<!channel> <https://evil.example|click> & write to ana@example.com \u202e\nnow", agent="<@U1>", target="x" * 5_000),
        ensure_ascii=False,
    )
    for gone in ("<!channel>", "<https://evil", "<@U1>", "ana@example.com", "\u202e", "x" * 301):
        assert gone not in message
    assert "&lt;!channel&gt;" in message
    assert "&amp;" in message


@pytest.mark.parametrize(
    ("subject", "page"), [("run_" + "a" * 32, "/runs/run_" + "a" * 32), ("agent_" + "a" * 32, "/actions"), ("x|<!here>", "/")]
)
def test_the_link_leads_to_our_own_pages_only(subject: str, page: str) -> None:
    message = messages.slack("fall_back", subject=subject, dedupe="d", fields={}, base_url="http://127.0.0.1:8000")
    assert message["blocks"][-2]["text"]["text"] == f"<http://127.0.0.1:8000{page}|Open in Copilot>"


def test_a_message_stays_within_what_slack_takes() -> None:
    message = render(**{f"field_{number}": "v" * 400 for number in range(30)}, reason="w" * 4_000)
    assert len(message["blocks"][1]["fields"]) == 10
    assert max(len(block.get("text", {}).get("text", "")) for block in message["blocks"]) < 3_000
