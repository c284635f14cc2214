"""Is the record whole: an exported bundle, by the very program that is shipped in it, or the database itself."""

from __future__ import annotations

import base64
from pathlib import Path

from copilot.audit import checkpoint, log, verifier
from copilot.audit.verifier import Report
from copilot.db import read_again

__all__ = ["Report", "bundle", "database"]


def bundle(directory: Path, *, witness: Path | None = None) -> Report:
    """Check an exported bundle; with `witness`, also that it contains what that earlier checkpoint saw."""
    return verifier.check(directory, witness)


def database(*, witness: Path | None = None) -> Report:
    """Recompute every stored event's hash and the tree, and compare with each recorded export; writes nothing.

    Given the `checkpoint` of a bundle as `witness`, it says whether the database still holds what was exported. Events
    that wait for their leaf are not part of the tree yet.
    """
    read_again()
    origin, size = checkpoint.origin(), log.size()
    kept = checkpoint.earlier(size=size)
    problems: list[str] = []
    seen = _seen(witness, problems)
    tree = verifier.Tree({known.size for known in kept} | ({seen.size} if seen else set()))
    for leaf in log.read(size=size):
        problems.extend(_leaf(leaf, expected=tree.size))
        tree.push(leaf.line.encode())
    if tree.size != size:
        problems.append(f"the log has {tree.size} events but its last leaf is {size - 1}: events are missing")
    problems.extend(
        f"the first {known.size} events are not those that were exported at {known.at}"
        for known in kept
        if tree.roots.get(known.size) != known.root
    )
    if seen is not None:
        problems.extend(verifier.compare_witness(seen, origin=origin, size=tree.size, roots=tree.roots))
    return Report(
        ok=not problems,
        origin=origin,
        size=tree.size,
        root=base64.b64encode(tree.root()).decode(),
        signed="unsigned",
        checkpoints=len(kept),
        witness="none" if witness is None else "checked",
        problems=tuple(problems[: verifier.MOST_PROBLEMS]),
    )


def _seen(witness: Path | None, problems: list[str]) -> verifier.Note | None:
    if witness is None:
        return None
    try:
        return verifier.read_note(witness.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"the witness cannot be read: {error.strerror or error}")
    except ValueError as error:
        problems.append(f"the witness: {error}")
    return None


def _leaf(leaf: log.Leaf, *, expected: int) -> list[str]:
    problems = []
    if leaf.number != expected:
        problems.append(f"event {expected} is missing")
    if log.leaf_hash(leaf.line) != leaf.leaf_hash:
        problems.append(f"event {leaf.number} was altered: it does not match its stored hash")
    try:
        event = verifier.check_line(leaf.line.encode())
    except verifier.Malformed as error:
        return [*problems, f"event {leaf.number} {error}"]
    if (event["kind"], event["subject"]) != (leaf.kind, leaf.subject):
        problems.append(f"event {leaf.number} is filed under another kind or subject than it says")
    return problems
