"""Importing tickets from files: whole rows, bad ones by line, resumable."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from copilot import db as database
from copilot.agents import importer, intake
from copilot.db import db
from copilot.errors import BadInput, Unavailable
from copilot.models import Run, Ticket

pytestmark = pytest.mark.usefixtures("app")

HEADER = "external_id,subject,body,customer_id,customer_name,customer_email,region,channel\n"


def csv_file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "tickets.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def jsonl_file(folder: Path, rows: Iterable[Any]) -> Path:
    path = folder / "tickets.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def ticket(number: int, **changes: Any) -> dict[str, Any]:
    return {"external_id": f"J-{number}", "subject": "Lamp", "body": "Broken", "customer": {"id": f"C-{number % 5}"}, **changes}


def stored() -> int:
    database.read_again()
    return db.session.execute(select(func.count()).select_from(Ticket)).scalar_one()


def test_good_rows_are_imported_and_bad_ones_reported_by_line(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "A-1,Lamp,It is broken,C-1,Mia,mia@example.com,EU,email",
        'A-2,"A lamp, broken","Two\nlines",C-1,,,,',
        ",No id,Body,C-1,,,,",
        "A-3,Lamp,Body,C-1,,no address,EU,pigeon",
        "A-4,Lamp,Body,C-1",
        "",
        "A-5,Lamp,Body,C-2,,,,chat",
        "A-1,Again,Body,C-9,,,,",
    )
    report = importer.load(path, source="import")
    assert (report.read, report.imported, report.already) == (7, 3, 1)
    assert [line for line, _ in report.bad] == [5, 6, 7]
    assert report.bad[0][1] == "external_id is missing"
    assert "customer.email is no e-mail address" in report.bad[1][1]
    assert "channel" in report.bad[1][1]
    assert report.bad[2][1] == "has 4 fields where the header has 8"
    body = db.session.execute(select(Ticket).where(Ticket.external_id == "A-2")).scalar_one().messages[0].body
    assert body == "Two\nlines"


def test_running_it_again_imports_only_the_rest(tmp_path: Path) -> None:
    importer.load(jsonl_file(tmp_path, (ticket(n) for n in range(70))), source="import")
    report = importer.load(jsonl_file(tmp_path, (ticket(n) for n in range(120))), source="import")
    assert (report.read, report.imported, report.already, report.bad) == (120, 50, 70, [])
    assert stored() == 120


def test_runs_and_progress_are_told_after_each_batch(tmp_path: Path, agent: str) -> None:
    path = jsonl_file(tmp_path, (ticket(n) for n in range(120)))
    seen: list[tuple[int, int]] = []
    queued: list[str] = []
    importer.load(path, source="import", progress=lambda done, total: seen.append((done, total)), queued=queued.append)
    size = path.stat().st_size
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) == 3
    assert len(set(queued)) == 120
    assert db.session.execute(select(func.count()).select_from(Run)).scalar_one() == 120


def test_bad_json_lines_are_reported_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    lines = [
        json.dumps(ticket(1)).encode(),
        b"{",
        b"[]",
        b"",
        json.dumps(ticket(2, surprise=1)).encode(),
        json.dumps(ticket(3, metadata={"n": float("nan")})).encode(),
        json.dumps(ticket(4, customer={"id": "C", "iban": "x"})).encode(),
        b'{"external_id":"J-5","subject":"S","body":"caf\xe9","customer":{"id":"C"}}',
        b'"' + b"x" * 2_500_000 + b'"',
        json.dumps(ticket(6, body="a\0b")).encode(),
        json.dumps(ticket(7, customer=None)).encode(),
        b"[" * 100_000,
        json.dumps(ticket(8, subject="Grüße")).encode(),
    ]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    report = importer.load(path, source="import")
    assert report.imported == 2
    assert [line for line, _ in report.bad] == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    said = dict(report.bad)
    assert said[5] == "has unknown fields: surprise"
    assert said[7] == "has unknown fields: customer.iban"
    assert said[8] == "body holds a character that is no text"
    assert "longer than" in said[9]


@pytest.mark.parametrize("broken", ['"A-2,Lamp,Body,C-1,,,,', 'A-2,"La"mp,Body,C-1,,,,'], ids=["open quote", "quote inside"])
def test_below_broken_quoting_nothing_is_guessed(tmp_path: Path, broken: str) -> None:
    report = importer.load(csv_file(tmp_path, "A-1,Lamp,Body,C-1,,,,", broken, "A-3,Lamp,Body,C-1,,,,"), source="import")
    assert report.imported == 1
    assert [at for at, _ in report.bad] == [3]
    assert "nor can anything below it" in report.bad[0][1]


@pytest.mark.parametrize(
    "header", ["external_id,subject\n", HEADER.strip() + ",colour\n", "external_id,external_id,subject,body,customer_id\n", ""]
)
def test_a_wrong_header_stops_the_import_with_a_sentence(tmp_path: Path, header: str) -> None:
    with pytest.raises(BadInput, match="first line has to name"):
        importer.load(csv_file(tmp_path, header=header), source="import")


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"neither \.csv nor \.jsonl"):
        importer.load(tmp_path / "tickets.xlsx", source="import")
    with pytest.raises(BadInput, match="could not be read"):
        importer.load(tmp_path / "none.csv", source="import")


def test_a_database_that_goes_away_leaves_whole_batches_and_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl_file(tmp_path, (ticket(n) for n in range(130)))
    real, calls = intake.store, iter(range(1_000))

    def breaking(*args: Any, **kwargs: Any) -> intake.Accepted:
        if next(calls) == 70:
            raise OperationalError("", {}, Exception("the server closed the connection"))
        return real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(intake, "store", breaking)
        with pytest.raises(Unavailable, match="after 50 new tickets"):
            importer.load(path, source="import")
    assert stored() == 50
    report = importer.load(path, source="import")
    assert (report.imported, report.already) == (80, 50)
