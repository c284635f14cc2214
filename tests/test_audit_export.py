"""What was exported can be checked by anyone, and nothing that was done to it goes unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from copilot.audit import checkpoint, export, log, merkle, verifier, verify
from copilot.db import db, transaction
from copilot.errors import BadInput


def grow(number: int, *, kind: str = "proposal.approved") -> None:
    with transaction():
        for count in range(number):
            log.append(kind, f"prop_{count}", count=count)


def unlocked(statement: str) -> None:
    """What somebody with the database's own password could do."""
    with transaction():
        for name in ("immutable", "kept"):
            db.session.execute(
                text(f"DROP TRIGGER audit_events_{name}" + (" ON audit_events" if db.engine.dialect.name == "postgresql" else ""))
            )
        db.session.execute(text(statement))


def shipped(directory: Path, *options: str) -> tuple[int, verifier.Report]:
    """Run the bundle's own verify.py as a stranger would: isolated, with nothing of ours to import."""
    command = [sys.executable, "-I", "-S", str(directory / "verify.py"), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert not done.stderr
    found = json.loads(done.stdout)
    return done.returncode, verifier.Report(**{**found, "problems": tuple(found["problems"])})


@pytest.fixture
def bundle(app: Flask, tmp_path: Path) -> Path:
    """A second export, so that there is an earlier checkpoint: 10 events, the first export's, and 5 more."""
    grow(10)
    export.write(tmp_path / "first")
    grow(5)
    export.write(tmp_path / "bundle")
    return tmp_path / "bundle"


def lines(bundle: Path) -> list[str]:
    return (bundle / "events.jsonl").read_text().splitlines()


def put(bundle: Path, changed: list[str]) -> None:
    (bundle / "events.jsonl").write_text("".join(line + "\n" for line in changed))


@pytest.mark.both_databases
def test_a_bundle_is_whole_and_says_it_is_unsigned(app: Flask, tmp_path: Path) -> None:
    grow(7)
    summary = export.write(tmp_path / "bundle")
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["checkpoint", "checkpoints.jsonl", "events.jsonl", "verify.py"]
    stored = [merkle.leaf(line.encode()) for line in lines(tmp_path / "bundle")]
    origin, size, root = (tmp_path / "bundle" / "checkpoint").read_text().splitlines()
    assert origin == summary.origin == checkpoint.origin() == f"copilot/{stored[0].hex()[:32]}"
    assert (
        (int(size), root)
        == (summary.size, summary.root)
        == (7, checkpoint.note(origin="o", size=7, root=merkle.root(stored)).split("\n")[2])
    )
    report = verify.bundle(tmp_path / "bundle")
    assert report.ok
    assert (report.signed, report.problems, report.size) == ("unsigned", (), 7)
    assert shipped(tmp_path / "bundle") == (0, report)


@pytest.mark.both_databases
def test_the_database_agrees_with_its_exports(app: Flask, bundle: Path) -> None:
    with transaction():
        log.sequence()
    report = verify.database(witness=bundle / "checkpoint")
    assert report.ok, report.problems
    assert (report.size, report.checkpoints) == (17, 2)


def test_every_earlier_checkpoint_is_listed_and_checked(app: Flask, bundle: Path) -> None:
    (entry,) = [json.loads(line) for line in (bundle / "checkpoints.jsonl").read_text().splitlines()]
    assert (entry["size"], entry["origin"]) == (10, checkpoint.origin())
    assert verify.bundle(bundle).checkpoints == 1
    assert json.loads(lines(bundle)[10])["kind"] == "log.exported"


def test_an_empty_log_can_be_exported(app: Flask, tmp_path: Path) -> None:
    assert export.write(tmp_path / "bundle").size == 0
    assert verify.bundle(tmp_path / "bundle").ok
    again = export.write(tmp_path / "bundle")
    assert again.size == 1
    assert verify.bundle(tmp_path / "bundle").ok


def _altered(found: list[str]) -> list[str]:
    return [*found[:3], found[3].replace('"count":3', '"count":4'), *found[4:]]


def _forged(found: list[str]) -> list[str]:
    return [*found[:3], found[3].replace('"event":"', '"event":"0'), *found[3:]]


TAMPERED: list[tuple[str, Callable[[list[str]], list[str]], str]] = [
    ("altered", _altered, "events 1 to 10 are not those"),
    (
        "altered late",
        lambda found: [*found[:12], found[12].replace("approved", "rejected"), *found[13:]],
        "do not give the checkpoint's root",
    ),
    ("cut", lambda found: found[:-1], "events are missing"),
    ("cut early", lambda found: found[:4], "the log was cut"),
    ("first removed", lambda found: found[1:], "events 1 to 10"),
    ("swapped", lambda found: [*found[:11], found[12], found[11], *found[13:]], "root"),
    ("inserted", _forged, "events were added"),
    ("appended twice", lambda found: [*found, found[-1]], "repeats an event"),
    ("not canonical", lambda found: [found[0].replace('","', '", "', 1), *found[1:]], "line 1 is not in canonical form"),
    ("not JSON", lambda found: [*found[:2], "{", *found[3:]], "line 3 is not JSON"),
    ("not an event", lambda found: [*found[:2], "[]", *found[3:]], "line 3 is not an event"),
    ("not a number", lambda found: [*found[:2], found[2].replace('"count":2', '"count":NaN'), *found[3:]], "line 3 is not JSON"),
    ("too deep", lambda found: [*found[:2], "[" * 100_000, *found[3:]], "line 3 is not"),
    ("empty", lambda _: [], "the log was cut"),
    ("export hidden", lambda found: [*found[:10], *found[11:]], "does not list the exports"),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED])
def test_tampering_with_the_events_is_found(app: Flask, bundle: Path, change: Callable[[list[str]], list[str]], expected: str) -> None:
    put(bundle, change(lines(bundle)))
    code, report = shipped(bundle)
    assert code == 1
    assert not report.ok
    assert any(expected in problem for problem in report.problems), report.problems


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("checkpoint", "", "three lines"),
        ("checkpoint", "copilot/x\nmany\nAAAA\n", "a plain number"),
        ("checkpoint", "copilot/x\n016\nAAAA\n", "a plain number"),
        ("checkpoint", "copilot/x\n16\nAAAA\n", "32 bytes in base64"),
        ("checkpoint", "copilot/x\n16\n" + "A" * 43 + "=\n\n— copilot/x c2lnbmVk\n", "cannot check"),
        ("checkpoints.jsonl", "", "does not list the exports"),
        ("checkpoints.jsonl", "[]\n", "line 1 is not a checkpoint"),
        ("checkpoints.jsonl", '{"origin":"x","root":"AAAA","size":10}\n', "line 1 is not a checkpoint"),
        ("events.jsonl", None, "events.jsonl cannot be read"),
        ("checkpoint", None, "checkpoint cannot be read"),
    ],
)
def test_a_damaged_file_is_a_problem_and_no_crash(app: Flask, bundle: Path, name: str, content: str | None, expected: str) -> None:
    if content is None:
        (bundle / name).unlink()
    else:
        (bundle / name).write_text(content)
    code, report = shipped(bundle)
    assert code == 1
    assert any(expected in problem for problem in report.problems), report.problems


def test_a_file_that_ends_in_the_middle_of_a_line_is_found(app: Flask, bundle: Path) -> None:
    (bundle / "events.jsonl").write_bytes((bundle / "events.jsonl").read_bytes()[:-1])
    assert any("has no end" in problem for problem in verify.bundle(bundle).problems)


def rewritten(bundle: Path, change: Callable[[list[str]], list[str]]) -> None:
    """A whole new log with a checkpoint to match: what only a witness can find."""
    changed = change(lines(bundle))
    put(bundle, changed)
    root = merkle.root(merkle.leaf(line.encode()) for line in changed)
    kept = [json.loads(line) for line in changed if '"kind":"log.exported"' in line]
    (bundle / "checkpoints.jsonl").write_text("")
    assert not kept
    origin = (bundle / "checkpoint").read_text().splitlines()[0]
    (bundle / "checkpoint").write_text(checkpoint.note(origin=origin, size=len(changed), root=root))


def test_a_witness_finds_a_rewritten_and_a_rolled_back_log(app: Flask, bundle: Path, tmp_path: Path) -> None:
    witness = tmp_path / "first" / "checkpoint"
    report = verify.bundle(bundle, witness=witness)
    assert report.ok
    assert report.witness == "checked"
    rewritten(bundle, lambda found: [*found[:3], *found[4:10], *found[11:]])
    assert verify.bundle(bundle).ok
    report = verify.bundle(bundle, witness=witness)
    assert report.problems == ("the log was rewritten: its first 10 events are not those that the witness saw",)
    rewritten(bundle, lambda found: found[:6])
    code, report = shipped(bundle, "--witness", str(witness))
    assert code == 1
    assert report.problems == ("the log was rolled back: the witness saw 10 events, this log has 6",)


def test_a_witness_of_another_log_or_nonsense_is_said_to_be_so(app: Flask, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(checkpoint.note(origin="copilot/other", size=3, root=bytes(32)))
    assert any("another log" in problem for problem in verify.bundle(bundle, witness=other).problems)
    assert any("another log" in problem for problem in verify.database(witness=other).problems)
    other.write_text("nonsense")
    assert not verify.bundle(bundle, witness=other).ok
    assert not verify.database(witness=other).ok
    assert not verify.database(witness=tmp_path / "nowhere").ok


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit_events SET line = replace(line, 'prop_3', 'prop_4') WHERE leaf = 3", "event 3 was altered"),
        ("UPDATE audit_events SET subject = 'other' WHERE leaf = 3", "filed under another"),
        ("DELETE FROM audit_events WHERE leaf = 3", "event 3 is missing"),
        ("UPDATE audit_events SET line = 'nonsense' WHERE leaf = 10", "event 10 was altered"),
    ],
)
def test_tampering_with_the_database_is_found_and_nothing_is_exported_over_the_evidence(
    app: Flask, bundle: Path, statement: str, expected: str
) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    unlocked(statement)
    assert any(expected in problem for problem in verify.database().problems), verify.database().problems
    if "subject" not in statement:
        with pytest.raises(export.Damaged):
            export.write(bundle)
        assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_tail_cut_off_in_the_database_is_found_by_what_was_exported_before(app: Flask, bundle: Path) -> None:
    with transaction():
        log.sequence()
    unlocked("DELETE FROM audit_events WHERE leaf >= 12")
    assert verify.database().ok  # a shorter log is whole in itself …
    assert any("rolled back" in problem for problem in verify.database(witness=bundle / "checkpoint").problems)  # … but not for who saw it
    with pytest.raises(export.Damaged, match="rolled back"):
        export.write(bundle)


def test_an_export_grows_in_its_own_folder_and_stays_out_of_others(app: Flask, bundle: Path, tmp_path: Path) -> None:
    grow(3)
    assert export.write(bundle).size == 20
    assert verify.bundle(bundle).ok
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(BadInput, match=r"letter\.txt"):
        export.write(tmp_path / "mine")
    (bundle / "checkpoint").write_text("nonsense")
    with pytest.raises(BadInput, match="damaged"):
        export.write(bundle)
    with pytest.raises(BadInput, match="cannot be written"):
        export.write(tmp_path / "mine" / "letter.txt")


def test_the_verifier_speaks_to_people(app: Flask, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verifier.main([str(bundle)]) == 0
    assert "the log is whole" in capsys.readouterr().out
    put(bundle, lines(bundle)[:-1])
    assert verifier.main([str(bundle)]) == 1
    assert "DO NOT TRUST THIS LOG" in capsys.readouterr().out


def test_the_shipped_script_imports_nothing_of_ours() -> None:
    source = Path(verifier.__file__).read_text()
    assert "copilot" not in source
