"""The audit bundle: a folder that somebody who trusts nobody can check with Python alone."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from copilot.audit import checkpoint, log, verifier
from copilot.db import read_again, transaction
from copilot.errors import BadInput, Conflict, CopilotError

_BUNDLE = frozenset({"events.jsonl", "checkpoint", "checkpoints.jsonl", "key.pub", "verify.py", "__pycache__"})
_PATIENCE = 60.0


class Damaged(CopilotError):
    """The log in the database is not what it was; nothing was exported over the earlier evidence."""

    title = "The audit log is damaged"
    code = "log-damaged"


@dataclass(frozen=True, slots=True)
class Summary:
    """What was exported; `root` in base64."""

    directory: Path
    origin: str
    size: int
    root: str
    signed: str = "unsigned"


def write(directory: Path) -> Summary:
    """Give every event its leaf, then write the bundle into `directory`, which is new, empty or an earlier bundle.

    Records the checkpoint as an event, so the next bundle has one event more. Raises Damaged, and leaves an earlier
    bundle as it was, when a stored line does not match its hash or the log no longer extends an earlier checkpoint.
    """
    before = _prepare(directory)
    _sequence_all()
    read_again()
    origin, size = checkpoint.origin(), log.size()
    kept = checkpoint.earlier(size=size)
    tree = verifier.Tree({known.size for known in kept} | ({before.size} if before else set()))
    with _replacing(directory / "events.jsonl") as events:
        _copy(size, tree, events)
        for known in kept:
            if tree.roots.get(known.size) != known.root:
                raise Damaged(f"The first {known.size} events are not those that were exported at {known.at}.")
        if before is not None:
            _refuse_other_log(before, origin=origin, tree=tree)
    with _replacing(directory / "checkpoints.jsonl") as lines:
        lines.writelines(json.dumps(known.as_json(origin), sort_keys=True) + "\n" for known in kept)
    with _replacing(directory / "verify.py") as script:
        script.write(Path(verifier.__file__).read_text(encoding="utf-8"))
    with _replacing(directory / "checkpoint") as file:
        file.write(checkpoint.note(origin=origin, size=size, root=tree.root()))
    with transaction():
        log.append(verifier.EXPORTED, "log", size=size, root=tree.root().hex())
    return Summary(directory, origin, size, base64.b64encode(tree.root()).decode())


def _prepare(directory: Path) -> verifier.Note | None:
    """Make the folder; returns the checkpoint of the bundle that is already there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        strangers = sorted(path.name for path in directory.iterdir() if path.name not in _BUNDLE and not path.name.endswith(".part"))
    except OSError as error:
        raise BadInput(f"{directory} cannot be written: {error.strerror or error}.") from error
    if strangers:
        raise BadInput(f"{directory} holds other files ({strangers[0]}): give a new folder or an earlier bundle.")
    try:
        return verifier.read_note((directory / "checkpoint").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadInput(f"The checkpoint in {directory} is damaged ({error}): keep that folder as it is and give a new one.") from error


def _sequence_all() -> None:
    """Sequence until nothing waits; another process may be at it, which is as good."""
    patience = time.monotonic() + _PATIENCE
    while True:
        with transaction():
            done = log.sequence(5_000)
        if done:
            continue
        read_again()
        if not log.waiting():
            return
        if time.monotonic() > patience:
            raise Conflict("Events are written faster than they can be ordered, or another process holds the log; try again.")
        time.sleep(0.05)


def _copy(size: int, tree: verifier.Tree, events: TextIO) -> None:
    for leaf in log.read(size=size):
        if leaf.number != tree.size:
            raise Damaged(f"Event {tree.size} of the log is missing.")
        tree.push(leaf.line.encode())
        if log.leaf_hash(leaf.line) != leaf.leaf_hash:
            raise Damaged(f"Event {leaf.number} of the log was altered: it does not match its stored hash.")
        events.write(leaf.line + "\n")
    if tree.size != size:
        raise Damaged(f"Event {tree.size} of the log is missing.")


def _refuse_other_log(before: verifier.Note, *, origin: str, tree: verifier.Tree) -> None:
    if problems := verifier.compare_witness(before, origin=origin, size=tree.size, roots=tree.roots):
        raise Damaged(f"The bundle in this folder is left as it was: {problems[0]}.")


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Write beside the file and put it in its place only when all went well."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
