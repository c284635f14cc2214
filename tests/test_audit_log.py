"""The log takes one canonical line for each change, in the change's own transaction, and orders lines afterwards."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from copilot import config
from copilot.audit import holders, log
from copilot.db import db, transaction
from copilot.models import AuditEvent

pytestmark = pytest.mark.both_databases


def append(*subjects: str) -> None:
    with transaction():
        for subject in subjects:
            log.append("proposal.approved", subject)


def ordered() -> list[str]:
    db.session.rollback()
    return list(db.session.scalars(select(AuditEvent.subject).where(AuditEvent.leaf.is_not(None)).order_by(AuditEvent.leaf)))


def leaves() -> list[int | None]:
    db.session.rollback()
    return list(db.session.scalars(select(AuditEvent.leaf).order_by(AuditEvent.leaf)))


def test_an_event_is_one_canonical_line_with_its_hash(app: Flask) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 1500, tzinfo=UTC)
    with transaction():
        log.append("proposal.executing", "prop_a", at=at, digest="ab12", fence=3, automatic=False, policies=["p1", "p2"], rule=None)
    row = db.session.execute(select(AuditEvent)).scalar_one()
    event = json.loads(row.line)
    assert event.pop("event")
    assert event == {
        "at": "2026-03-01T12:00:00.001500Z", "automatic": False, "digest": "ab12", "fence": 3, "kind": "proposal.executing",
        "policies": ["p1", "p2"], "rule": None, "subject": "prop_a",
    }  # fmt: skip
    assert rfc8785.dumps(json.loads(row.line)).decode() == row.line
    assert row.leaf_hash == log.leaf_hash(row.line)
    assert (row.kind, row.subject, row.leaf) == ("proposal.executing", "prop_a", None)


def test_equal_changes_are_different_events(app: Flask) -> None:
    append("prop_a", "prop_a")
    first, second = db.session.scalars(select(AuditEvent.line))
    assert first != second


@pytest.mark.parametrize(
    "value",
    [
        "please refund me",
        "ana@example.com",
        "Zoë",
        "x" * 201,
        "tab\there",
        "line\n",
        "\u202e",
        1.5,
        {"a": 1},
        ["fine", "not fine"],
        b"bytes",
        object(),
    ],
)
def test_text_does_not_get_into_the_log(app: Flask, value: Any) -> None:
    with pytest.raises(ValueError, match="the log takes only"), transaction():
        log.append("proposal.approved", "prop_a", field=value)
    assert leaves() == []


@pytest.mark.parametrize(
    ("kind", "subject"), [("approved", "prop_a"), ("Proposal.approved", "prop_a"), ("a.b", ""), ("a.b", "x" * 131), ("a.b", "two words")]
)
def test_a_kind_and_a_subject_have_a_form(app: Flask, kind: str, subject: str) -> None:
    with pytest.raises(ValueError, match="audit"), transaction():
        log.append(kind, subject)


def test_a_change_that_is_rolled_back_leaves_no_event(app: Flask) -> None:
    def half_done() -> None:
        with transaction():
            log.append("proposal.approved", "prop_a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    assert leaves() == []


def test_leaves_are_contiguous_however_often_it_is_sequenced(app: Flask) -> None:
    append("a", "b", "c")
    with transaction():
        assert log.sequence() == 3
    with transaction():
        assert log.sequence() == 0
    append(*(f"n{number}" for number in range(7)))
    done = []
    for _ in range(4):
        with transaction():
            done.append(log.sequence(limit=3))
    assert done == [3, 3, 1, 0]
    assert leaves() == list(range(10))
    assert log.size() == 10
    assert log.waiting() == 0


def test_an_event_that_commits_late_gets_a_later_leaf(app: Flask) -> None:
    """On PostgreSQL another writer may take an id first and commit last."""
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    with db.engine.connect() as other, other.begin():
        other.execute(
            text("INSERT INTO audit_events (kind, subject, line, leaf_hash, created_at) VALUES ('a.b', 'slow', '{}', 'x', now())")
        )
        append("quick")
        with transaction():
            assert log.sequence() == 1
    with transaction():
        assert log.sequence() == 1
    assert ordered() == ["quick", "slow"]


def test_sequencers_racing_each_other_leave_no_gap_and_no_double(app: Flask) -> None:
    append(*(f"n{number}" for number in range(60)))
    failures: list[BaseException] = []

    def run() -> None:
        with app.app_context():
            try:
                for number in range(15):
                    with transaction():
                        log.sequence(limit=3)
                    with transaction():
                        log.append("a.b", f"{threading.get_ident()}.{number}")
            except BaseException as error:  # noqa: BLE001 (reported by the test's own thread)
                failures.append(error)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    while True:
        with transaction():
            if not log.sequence():
                break
    assert leaves() == list(range(120))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET line = 'other' WHERE subject = 'a'",
        "UPDATE audit_events SET kind = 'other' WHERE subject = 'b'",
        "UPDATE audit_events SET subject = 'other' WHERE subject = 'b'",
        "UPDATE audit_events SET leaf_hash = 'other' WHERE subject = 'b'",
        "UPDATE audit_events SET leaf = 7 WHERE subject = 'a'",
        "UPDATE audit_events SET leaf = NULL WHERE subject = 'a'",
        "DELETE FROM audit_events WHERE subject = 'b'",
    ],
)
def test_the_database_itself_refuses_to_change_or_delete_an_event(app: Flask, statement: str) -> None:
    append("a")
    with transaction():
        log.sequence()
    append("b")
    with pytest.raises(DBAPIError, match=r"immutable|never deleted"), transaction():
        db.session.execute(text(statement))
    assert leaves().count(None) == 1


def test_the_table_cannot_be_emptied_at_once(app: Flask) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    append("a")
    with pytest.raises(DBAPIError, match="never deleted"), transaction():
        db.session.execute(text("TRUNCATE audit_events"))


def test_a_commitment_compares_and_tells_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = log.commitment("ana@example.com")
    assert kept == log.commitment("ana@example.com") != log.commitment("bo@example.com")
    assert len(kept) == 64
    other = config.load({"SECRET_KEY": "another key that is long enough", "COPILOT_DATA_DIR": str(config.current().data_dir)})
    monkeypatch.setattr(config, "_current", other)
    assert log.commitment("ana@example.com") != kept


def test_one_holder_at_a_time(app: Flask) -> None:
    with transaction():
        assert holders.hold("sweep", "first", 30)
    with transaction():
        assert not holders.hold("sweep", "second", 30)
        assert holders.hold("sweep", "first", 30)
        assert holders.hold("other", "second", 30)
    with transaction():
        assert holders.hold("sweep", "first", -1)
    with transaction():
        assert holders.hold("sweep", "second", 30)
