#!/usr/bin/env python3
"""Check an exported audit log, with nothing but Python.

    python verify.py [DIRECTORY] [--witness CHECKPOINT] [--json]

events.jsonl has one event a line; line k is leaf k of an RFC 6962 Merkle tree whose size and root stand in the file
`checkpoint`. This program recomputes the tree and every earlier checkpoint. That finds a changed, missing, added or
moved line, unless somebody rewrote the checkpoint as well: against that, keep an earlier checkpoint where they cannot
reach it and give it with --witness. A log without a signature line does not prove who wrote it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

LONGEST_LINE = 1_000_000
MOST_PROBLEMS = 20
EXPORTED = "log.exported"


class Malformed(ValueError):
    """A file of the bundle is not what it should be; the message is for people."""


@dataclass(frozen=True)
class Note:
    """A checkpoint: whose log, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes
    signatures: int = 0


@dataclass(frozen=True)
class Report:
    """What was found. `ok` only without any problem; `root` is what the events really give, in base64."""

    ok: bool
    origin: str
    size: int
    root: str
    signed: str
    checkpoints: int
    witness: str
    problems: tuple[str, ...]


@dataclass
class Tree:
    """A growing Merkle tree; remembers the roots at the sizes in `wanted`."""

    wanted: set[int]
    roots: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Size 0 is there from the start."""
        self.roots[0] = self.root()

    def push(self, line: bytes) -> None:
        """Add the next line, which has no newline."""
        self.peaks.append(hashlib.sha256(b"\x00" + line).digest())
        self.size += 1
        ones = self.size
        while ones % 2 == 0:
            right = self.peaks.pop()
            self.peaks[-1] = hashlib.sha256(b"\x01" + self.peaks[-1] + right).digest()
            ones //= 2
        if self.size in self.wanted:
            self.roots[self.size] = self.root()

    def root(self) -> bytes:
        """The root over all lines so far."""
        if not self.peaks:
            return hashlib.sha256().digest()
        result = self.peaks[-1]
        for left in reversed(self.peaks[:-1]):
            result = hashlib.sha256(b"\x01" + left + result).digest()
        return result


def read_note(text: str) -> Note:
    """Parse a checkpoint (C2SP tlog-checkpoint): origin, size, base64 root, then signature lines after an empty one."""
    body, _, signed = text.partition("\n\n")
    lines = body.removesuffix("\n").split("\n")
    if len(lines) != 3 or not lines[0] or not (signed or text.endswith("\n")):
        raise Malformed("a checkpoint has three lines: origin, size and root")
    origin, size, root = lines
    if not (size.isascii() and size.isdigit() and len(size) <= 18 and (size == "0" or size[0] != "0")):
        raise Malformed("the second line of a checkpoint is its size, a plain number")
    signatures = [line for line in signed.split("\n") if line.startswith("— ")]
    return Note(origin, int(size), _hash(root), len(signatures))


def check(directory: Path, witness: Path | None = None) -> Report:
    """Check a bundle; with `witness`, also that the log still contains all that an earlier checkpoint saw."""
    problems: list[str] = []
    note = _note(directory / "checkpoint", problems)
    earlier = _earlier(directory / "checkpoints.jsonl", problems)
    seen = None if witness is None else _note(witness, problems)
    tree = Tree({known.size for known in [*earlier, *([note] if note else []), *([seen] if seen else [])]})
    try:
        with (directory / "events.jsonl").open("rb") as events:
            claimed = _read_events(events, tree, problems)
    except OSError as error:
        problems.append(f"events.jsonl cannot be read: {error.strerror or error}")
        claimed = []
    if claimed != [(known.size, known.root.hex()) for known in earlier]:
        problems.append("checkpoints.jsonl does not list the exports that the events themselves record")
    problems.extend(_compare_earlier(earlier, tree))
    if note is not None:
        problems.extend(_compare_current(note, tree))
    if note is not None and seen is not None:
        problems.extend(compare_witness(seen, origin=note.origin, size=tree.size, roots=tree.roots))
    return Report(
        ok=not problems,
        origin=note.origin if note else "",
        size=tree.size,
        root=base64.b64encode(tree.root()).decode(),
        signed="unsigned" if note is None or not note.signatures else "not checked",
        checkpoints=len(earlier),
        witness="none" if witness is None else "checked",
        problems=tuple(problems[:MOST_PROBLEMS]),
    )


def compare_witness(seen: Note, *, origin: str, size: int, roots: dict[int, bytes]) -> list[str]:
    """Whether a log of this size, with its roots by size, contains what the earlier checkpoint saw."""
    if seen.size == 0:
        return []
    if seen.origin != origin:
        return [f"the witness saw another log: {seen.origin}, this one is {origin}"]
    if seen.size > size:
        return [f"the log was rolled back: the witness saw {seen.size} events, this log has {size}"]
    if roots.get(seen.size) != seen.root:
        return [f"the log was rewritten: its first {seen.size} events are not those that the witness saw"]
    return []


def check_line(line: bytes) -> dict[str, Any]:
    """The event in one line; Malformed unless the line is an object with the fields of an event in canonical JSON."""
    try:
        event = json.loads(line, parse_constant=_refuse, parse_float=_refuse)
        again = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed("is not JSON of integers and plain strings") from error
    if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in ("at", "kind", "subject", "event")):
        raise Malformed("is not an event with at, kind, subject and event")
    if again != line or not line.isascii():
        raise Malformed("is not in canonical form")
    return event


def main(arguments: list[str] | None = None) -> int:
    """Print what was found; exit code 0 only when there is no problem."""
    parser = argparse.ArgumentParser(description="Check an exported audit log.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--witness", type=Path, metavar="CHECKPOINT", help="a checkpoint saved earlier")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    report = check(given.directory, given.witness)
    sys.stdout.write(json.dumps(asdict(report)) + "\n" if given.json else describe(report))
    return 0 if report.ok else 1


def describe(report: Report) -> str:
    """The report for people."""
    lines = [
        f"log         {report.origin or 'unknown'}",
        f"events      {report.size}",
        f"root        {report.root}",
        f"signature   {report.signed}",
        f"earlier     {report.checkpoints} checkpoints in the bundle",
        f"witness     {report.witness}",
        *(f"PROBLEM     {problem}" for problem in report.problems),
        "result      " + ("the log is whole" if report.ok else "DO NOT TRUST THIS LOG"),
    ]
    return "\n".join(lines) + "\n"


def _note(path: Path, problems: list[str]) -> Note | None:
    try:
        note = read_note(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}")
    except ValueError as error:
        problems.append(f"{path.name}: {error}")
    else:
        if note.signatures:
            problems.append(f"{path.name} has a signature that this program cannot check; use the verify.py of a newer export")
        return note
    return None


def _earlier(path: Path, problems: list[str]) -> list[Note]:
    found: list[Note] = []
    try:
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines():
            entry = json.loads(line)
            found.append(Note(str(entry["origin"]), int(entry["size"]), _hash(entry["root"])))
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}")
    except (ValueError, KeyError, TypeError, RecursionError):
        problems.append(f"{path.name} line {len(found) + 1} is not a checkpoint with origin, size and root")
    return found


def _read_events(events: BinaryIO, tree: Tree, problems: list[str]) -> list[tuple[int, str]]:
    """Add every line to the tree; returns size and root of each export that an event records."""
    claimed: list[tuple[int, str]] = []
    known: set[str] = set()
    while line := events.readline(LONGEST_LINE):
        number = tree.size + 1
        if not line.endswith(b"\n"):
            problems.append(f"line {number} has no end: the file is cut off or the line is too long")
        line = line.removesuffix(b"\n")
        tree.push(line)
        if len(problems) >= MOST_PROBLEMS:
            continue
        try:
            event = check_line(line)
        except Malformed as error:
            problems.append(f"line {number} {error}")
            continue
        if event["event"] in known:
            problems.append(f"line {number} repeats an event")
        known.add(event["event"])
        if event["kind"] == EXPORTED:
            claimed.append((event.get("size", -1), event.get("root", "")))
    return claimed


def _compare_earlier(earlier: list[Note], tree: Tree) -> list[str]:
    """The first earlier checkpoint that does not fit says between which events the log was changed."""
    good = 0
    for known in earlier:
        if known.size > tree.size:
            return [f"the log was cut: an earlier checkpoint has {known.size} events, {tree.size} are left"]
        if tree.roots.get(known.size) != known.root:
            return [
                f"events {good + 1} to {known.size} are not those of an earlier checkpoint: something was altered, moved, added or removed"
            ]
        good = max(good, known.size)
    return []


def _compare_current(note: Note, tree: Tree) -> list[str]:
    if note.size > tree.size:
        return [f"events are missing: the checkpoint has {note.size}, the file {tree.size}"]
    if note.size < tree.size:
        return [f"events were added: the checkpoint has {note.size}, the file {tree.size}"]
    if note.root != tree.root():
        return ["the events do not give the checkpoint's root: something was altered, moved or replaced"]
    return []


def _hash(text: object) -> bytes:
    try:
        value = base64.b64decode(str(text), validate=True)
    except ValueError as error:
        raise Malformed("a root is 32 bytes in base64") from error
    if len(value) != 32:
        raise Malformed("a root is 32 bytes in base64")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


if __name__ == "__main__":
    sys.exit(main())
