"""Reads a policy's own words: which facts it mentions, and which of its words mean nothing here, with what was probably meant.

Cedar's validator finds most mistakes; it takes a misspelt name after `has`, or a tool that does not exist, for a
condition that simply never holds, and those are the ones that would leave a gate open.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from cedarpy import pst

from copilot.gate import vocabulary
from copilot.gate.shapes import Shape
from copilot.gate.vocabulary import Vocabulary

ACTIONS = ("read", "propose", "approve_alone", "run_unattended", "approve")
_TYPES = ("Action", "Agent", "Person", "Role", "Team", "Tool")
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;')

Path = tuple[str, ...]


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Each policy of a file with the line it starts on. A semicolon inside a string or a comment ends nothing."""
    start = 0
    for token in _TOKEN.finditer(text):
        if token.group() == ";":
            yield from _piece(text, start, token.end())
            start = token.end()
    yield from _piece(text, start, len(text))


def _piece(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    bare = re.sub(r"^(?:\s|//[^\n]*(?:\n|\Z))*", "", text[start:end])
    if bare:
        yield text.count("\n", 0, end - len(bare)) + 1, bare


@dataclasses.dataclass(frozen=True, slots=True)
class Mention:
    """A fact of the context that a policy asks for, below the context itself; `exists` when only whether it is there."""

    path: Path
    exists: bool


def asked(policy: pst.Template) -> frozenset[Mention]:
    """Every fact this policy asks for. An empty path is the context as a whole."""
    return frozenset(Mention(path[1:], exists) for path, exists in _chains(policy) if path[0] == "context")


def mentions(policy: pst.Template) -> frozenset[str]:
    """The facts this policy asks about by name: `amount_minor`, `used.refunds-per-day`, `args.pay.memo`."""
    paths = {mention.path for mention in asked(policy)}
    longest = {path for path in paths if not any(other != path and other[: len(path)] == path for other in paths)}
    return frozenset(".".join(path) for path in longest)


def tools(policy: pst.Template) -> frozenset[str]:
    """The tools this policy names."""
    return frozenset(uid.id for uid in _entities(policy) if str(uid.type) == "Tool")


def mistakes(policy: pst.Template, words: Vocabulary) -> list[str]:
    """One sentence for each word that means nothing in this vocabulary."""
    found: dict[str, None] = {}
    for path, _ in _chains(policy):
        found |= dict.fromkeys(_unknown(path, words))
    for node in _nodes(policy):
        found |= dict.fromkeys(_never_equal(node, words))
    for uid in _entities(policy):
        found |= dict.fromkeys(_no_entity(uid, words))
    return list(found)


def _parts(node: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(node):
        for part in dataclasses.fields(node):
            yield getattr(node, part.name)
    elif isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, tuple):
        yield from node


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for part in _parts(node):
        yield from _nodes(part)


def _chains(node: Any) -> Iterator[tuple[Path, bool]]:
    """Each whole chain such as `context.args.pay.memo` once, and whether only its existence is asked; never a chain's own beginning."""
    if isinstance(node, pst.HasAttr) and (base := _path(node.base)) is not None:
        yield (*base, *node.attrs), True
    elif (path := _path(node)) is not None:
        yield path, False
    else:
        for part in _parts(node):
            yield from _chains(part)


def _entities(policy: pst.Template) -> list[pst.EntityUid]:
    return [node for node in _nodes(policy) if isinstance(node, pst.EntityUid)]


def _path(node: Any) -> Path | None:
    """`context.args.pay` as ("context", "args", "pay"); None for anything that is not such a chain."""
    if isinstance(node, pst.Var):
        return (node.name,) if node.name in ("context", "resource") else None
    if isinstance(node, pst.GetAttr):
        base = _path(node.base)
        return None if base is None else (*base, node.attr)
    return None


def _words(path: Path, words: Vocabulary) -> Iterable[str] | Shape | None:
    """What may follow this path: names, a leaf's shape, or None where the path itself is unknown."""
    if path == ("resource",):
        return tuple(vocabulary.RESOURCE)
    if path[0] == "resource":
        return Shape(vocabulary.RESOURCE[path[1]]) if len(path) == 2 and path[1] in vocabulary.RESOURCE else None
    if len(path) == 1:
        return (*vocabulary.FACT, *vocabulary.GROUPS)
    if path[1] in vocabulary.FACT:
        return Shape(vocabulary.FACT[path[1]].type) if len(path) == 2 else None
    if path[1] == "used":
        return words.used if len(path) == 2 else Shape("Long") if len(path) == 3 and path[2] in words.used else None
    if path[1] not in vocabulary.GROUPS:
        return None
    shapes = words.args if path[1] == "args" else words.known
    return tuple(shapes) if len(path) == 2 else _inside(shapes.get(path[2]), path[3:])


def _inside(shape: Shape | None, path: Path) -> Iterable[str] | Shape | None:
    for name in path:
        if shape is None or name not in shape.fields:
            return None
        shape = shape.fields[name][0]
    return tuple(shape.fields) if shape is not None and shape.kind == "Record" else shape


def _unknown(path: Path, words: Vocabulary) -> Iterator[str]:
    for length in range(2, len(path) + 1):
        if _words(path[:length], words) is None:
            before = _words(path[: length - 1], words)
            choices = () if before is None or isinstance(before, Shape) else tuple(before)
            yield f"there is no {'.'.join(path[:length])}{meant(path[length - 1], choices)}"
            return


def _never_equal(node: Any, words: Vocabulary) -> Iterator[str]:
    """A comparison with a word that the other side can never be: `context.level == "atuo"`."""
    if not isinstance(node, pst.BinaryOp) or node.op not in ("eq", "not_eq", "contains"):
        return
    for side, other in ((node.left, node.right), (node.right, node.left)):
        path = _path(side)
        choices = () if path is None else _choices(path, words)
        literals = other.elements if isinstance(other, pst.Set) else (other,)
        for literal in literals:
            if choices and isinstance(literal, pst.StringLit) and literal.value not in choices:
                yield f"{'.'.join(path or ())} is never {literal.value!r}{meant(literal.value, choices)}"


def _choices(path: Path, words: Vocabulary) -> tuple[str, ...]:
    if len(path) == 2 and (path[0] == "resource" or path[1] == "level"):
        return vocabulary.CHOICES.get(path[1], ())
    shape = _words(path, words)
    return shape.choices if isinstance(shape, Shape) else ()


def _no_entity(uid: pst.EntityUid, words: Vocabulary) -> Iterator[str]:
    kind = str(uid.type)
    known = {"Tool": None if words.tools is None else tuple(words.tools), "Role": vocabulary.ROLES, "Action": ACTIONS}
    if kind not in _TYPES:
        yield f"there is nothing of the kind {kind}{meant(kind, _TYPES)}"
    elif (choices := known.get(kind)) is not None and uid.id not in choices:
        yield f"there is no {kind.lower()} called {uid.id!r}{meant(uid.id, choices)}"


def meant(word: str, choices: Iterable[str]) -> str:
    """“; did you mean …?” with the closest of these, or nothing when none is close."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
