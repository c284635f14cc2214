"""The words in which a missing condition is told: facts as people call them, never as policies spell them."""

from __future__ import annotations

from typing import Any

from copilot.gate import glyphs, vocabulary

KNOWN = "were known"
NONE = "there is none"

_YES = {
    "business_hours": ("it were business hours in the region", "it were outside business hours"),
    "suspicious_text": ("the text held hidden or look-alike characters", "the text held no hidden or look-alike characters"),
    "tainted": ("the agent had read customer-written text before", "the agent had read no customer-written text before"),
    "same_customer": (
        "the target belonged to the ticket's own customer",
        "the target belonged to somebody else than the ticket's customer",
    ),
}
_COMPARED = {"==": "were", "!=": "were not", "<": "were below", "<=": "were at most", ">": "were above", ">=": "were at least"}


def joined(wishes: list[str]) -> str:
    """Several wishes as one enumeration."""
    return " and ".join(part for part in (", ".join(wishes[:-1]), wishes[-1]) if part)


def label(path: tuple[str, ...]) -> str:
    """What people call the fact at this path below the context."""
    if len(path) == 1 and path[0] in vocabulary.FACT:
        return vocabulary.FACT[path[0]].label
    name = path[-1].removesuffix("_minor").replace("_", " ")
    return {"args": f"the {name} asked for", "known": f"the {name} on record"}.get(path[0], f"the {name}")


def known(what: str, wanted: bool) -> str:
    """That a fact were there, or were not."""
    return f"{what} {KNOWN}" if wanted else f"{what} were left out"


def yes_or_no(path: tuple[str, ...], what: str, wanted: bool) -> str:
    """That something were so, or were not."""
    if len(path) == 1 and path[0] in _YES:
        return _YES[path[0]][0 if wanted else 1]
    return f"{what} were {'yes' if wanted else 'no'}"


def compared(word: str, shown: str) -> str:
    """The rest of a sentence that compares with a value."""
    return f"{_COMPARED[word]} {shown}"


def among(listed: list[str], wanted: bool) -> str:
    """The rest of a sentence about one of a few values."""
    return f"{'were' if wanted else 'were not'} one of {', '.join(listed)}"


def held(what: str, shown: str, wanted: bool) -> str:
    """That a list held a value, or did not."""
    return f"{what} {'held' if wanted else 'did not hold'} {shown}"


def like(pattern: str, wanted: bool) -> str:
    """The rest of a sentence about a pattern."""
    return f"{'were' if wanted else 'were not'} of the form “{pattern}”"


def shown(value: Any) -> str:
    """A value in a sentence; text in quotation marks, cut short, and with a mark for each character that nobody can see."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = "".join("\ufffd" if glyphs.hidden(character) else character for character in str(value)[:61])
    return f"“{text[:60]}{'…' if len(text) > 60 else ''}”" if isinstance(value, str) else text[:60]
