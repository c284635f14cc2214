"""Personal values out, marks such as [email-1] in: before the model, the logs and Slack see any text.

What is found: validated patterns (e-mail, telephone, card, IBAN, US social security number, IP address, common
secrets) and exact values known from the customer's record or a tool's answer. Names and street addresses are found
only when they are known: patterns cannot find them. A mark can be turned back with `restore`, so a draft can name what
the model never saw; `scrub` cannot be turned back. Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from copilot.audit import ownsecrets, patterns

KINDS = ("address", "card", "email", "iban", "ip", "name", "phone", "secret", "ssn", "text")
MARK = re.compile(rf"\[(?:{'|'.join(KINDS)})-[1-9][0-9]{{0,5}}\]")

_SHORTEST = 3  # shorter values are left alone: "Al" is also half of English


@dataclass(frozen=True, slots=True)
class Known:
    """A personal value we hold, and what it is; `kind` is one of KINDS."""

    kind: str
    value: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text (or JSON value) without personal values, and every mark so far with its original."""

    text: Any
    marks: Mapping[str, str] = field(default_factory=dict)


def redact(text: str, *, known: Sequence[Known] = (), marks: Mapping[str, str] = {}) -> Redacted:
    """Replace personal values by marks; the same value keeps its mark when earlier `marks` are handed in.

    What is already behind a mark counts as known. A mark typed by a stranger becomes a `text` mark, so it cannot
    stand for somebody's value. Each spelling has its own mark, so `restore` gives back exactly what was there.
    """
    table = dict(marks)
    return Redacted(_replace(text, _finder(known, table), _marker(table)), table)


def redact_value(value: Any, *, known: Sequence[Known] = (), marks: Mapping[str, str] = {}) -> Redacted:
    """`redact` for a JSON value: every string in it, and what its keys call personal (see `known_in`).

    A whole number that is a card number or a known value becomes its mark, and comes back as a string.
    """
    table = dict(marks)
    return Redacted(_deep(value, _finder((*known, *known_in(value)), table), _marker(table)), table)


def redact_marked(value: Any, *, known: Sequence[Known] = (), marks: Mapping[str, str] = {}) -> Redacted:
    """`redact_value` for what the model wrote: the marks in it are ours, handed out or invented, and stay as they are."""
    table = dict(marks)
    find, mark = _finder((*known, *known_in(value)), table), _marker(table)
    return Redacted(_deep(value, find, mark, around_marks=True), table)


def restore(value: Any, marks: Mapping[str, str]) -> Any:
    """Put the originals back into every string of a value; marks nobody gave out stay as they are."""
    if isinstance(value, str):
        return MARK.sub(lambda found: marks.get(found[0], found[0]), value)
    if isinstance(value, Mapping):
        return {restore(key, marks): restore(part, marks) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [restore(part, marks) for part in value]
    return value


def unknown_marks(value: Any, marks: Mapping[str, str]) -> tuple[str, ...]:
    """The marks in a value that nobody gave out: an invented [email-9] must not reach a tool as text."""
    return tuple(sorted({found for text in _strings(value) for found in MARK.findall(text) if found not in marks}))


def scrub(text: str) -> str:
    """The text with every pattern replaced by its bare kind, such as [email]; there is no way back."""
    return _replace(text, _finder((), {}), _bare)


_STRUCTURE = frozenset({"timestamp", "level", "logger"})  # ours: a time stamp looks much like a telephone number


def scrub_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: `scrub` for every string of a log event."""
    find = _finder((), {})
    for key, value in event.items():
        if key not in _STRUCTURE:
            event[key] = _deep(value, find, _bare)
    return event


def names(full: str) -> tuple[Known, ...]:
    """A person's name as values to look for: the whole, and each part of three letters or more."""
    whole = " ".join(full.split())
    parts = [part.strip(".,;()'\"") for part in whole.split()]
    return tuple(Known("name", value) for value in dict.fromkeys([whole, *parts]) if len(value) >= _SHORTEST)


_PERSONAL = {
    "email": "email",
    "email_address": "email",
    "phone": "phone",
    "phone_number": "phone",
    "mobile": "phone",
    "customer_name": "name",
    "full_name": "name",
    "first_name": "name",
    "last_name": "name",
    "recipient": "name",
    "recipient_name": "name",
    "address": "address",
    "street": "address",
    "line1": "address",
    "line2": "address",
    "address_line1": "address",
    "address_line2": "address",
    "card_number": "card",
    "iban": "iban",
    "ip": "ip",
    "ip_address": "ip",
}
_PEOPLE = frozenset({"customer", "recipient", "person", "contact", "holder", "buyer", "owner"})


def known_in(value: Any, *, under: str = "") -> tuple[Known, ...]:
    """The personal values a JSON value names by its keys, such as `email` or `street`.

    A bare `name` is a person's only beside an e-mail or telephone, or inside something like `customer`: products have names too.
    """
    if isinstance(value, list | tuple):
        return tuple(found for part in value for found in known_in(part, under=under))
    if not isinstance(value, Mapping):
        return ()
    person = under in _PEOPLE or not {"email", "phone"}.isdisjoint(value)
    found: list[Known] = []
    for key, part in value.items():
        label = str(key).lower()
        kind = "name" if label == "name" and person else _PERSONAL.get(label)
        if kind and isinstance(part, str) and len(part.strip()) >= _SHORTEST and not MARK.fullmatch(part):
            found += names(part) if kind == "name" else [Known(kind, part.strip())]
        found += known_in(part, under=label)
    return tuple(found)


# ---- one pass over a text


_Find = Callable[[str], list[patterns.Span]]
_Mark = Callable[[str, str], str]


def _replace(text: str, find: _Find, mark: _Mark) -> str:
    text = ownsecrets.without(text)
    pieces, done = [], 0
    for start, end, kind in _merged(find(text)):
        pieces += [text[done:start], mark(kind, text[start:end])]
        done = end
    return "".join([*pieces, text[done:]])


def _merged(spans: list[patterns.Span]) -> Iterator[patterns.Span]:
    """Overlapping finds as one, under the kind of the longest: dropping one would leave its other half readable."""
    current: patterns.Span | None = None
    longest = 0
    for start, end, kind in sorted(spans, key=_by_place):
        if current is None or start >= current[1]:
            if current is not None:
                yield current
            current, longest = (start, end, kind), end - start
            continue
        label = current[2]
        if end - start > longest:
            label, longest = kind, end - start
        current = (current[0], max(end, current[1]), label)
    if current is not None:
        yield current


def _by_place(span: patterns.Span) -> tuple[int, int, bool]:
    """By start, the longer first; what is also a telephone number by its shape is rather the other thing."""
    start, end, kind = span
    return start, -end, kind == "phone"


def _bare(kind: str, _value: str) -> str:
    return f"[{kind}]"


def _marker(table: dict[str, str]) -> _Mark:
    """Give out marks, writing each new one into `table`."""
    by_value = {value: mark for mark, value in table.items()}
    counts: dict[str, int] = {}
    for mark in table:
        kind, _, number = mark.strip("[]").rpartition("-")
        counts[kind] = max(counts.get(kind, 0), int(number))

    def mark_for(kind: str, value: str) -> str:
        if value not in by_value:
            counts[kind] = counts.get(kind, 0) + 1
            by_value[value] = f"[{kind}-{counts[kind]}]"
            table[by_value[value]] = value
        return by_value[value]

    return mark_for


def _finder(known: Sequence[Known], marks: Mapping[str, str]) -> _Find:
    kinds = {_folded(value): mark.strip("[]").rpartition("-")[0] for mark, value in marks.items() if not MARK.fullmatch(value)}
    kinds |= {_folded(item.value): item.kind for item in known}
    kinds = {value: kind for value, kind in kinds.items() if len(value) >= _SHORTEST}
    exact: re.Pattern[str] | None = None
    if kinds:
        words = (r"\s+".join(re.escape(part) for part in value.split(" ")) for value in sorted(kinds, key=len, reverse=True))
        exact = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)

    def find(text: str) -> list[patterns.Span]:
        spans = [(found.start(), found.end(), "text") for found in MARK.finditer(text)]
        if exact is not None:
            spans += [(found.start(), found.end(), kinds.get(_folded(found[0]), "name")) for found in exact.finditer(text)]
        return spans + [span for detect in patterns.DETECTORS for span in detect(text)]

    return find


def _folded(value: str) -> str:
    return " ".join(value.split()).lower()


def _deep(value: Any, find: _Find, mark: _Mark, *, around_marks: bool = False) -> Any:
    if isinstance(value, str):
        return _around_marks(value, find, mark) if around_marks else _replace(value, find, mark)
    if isinstance(value, Mapping):
        return {_deep_key(key, find, mark): _deep(part, find, mark, around_marks=around_marks) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_deep(part, find, mark, around_marks=around_marks) for part in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000_000:
        whole = (0, len(str(value)))
        kinds = [kind for start, end, kind in find(str(value)) if (start, end) == whole and kind != "phone"]
        return mark(kinds[0], str(value)) if kinds else value
    return value


def _around_marks(text: str, find: _Find, mark: _Mark) -> str:
    pieces, done = [], 0
    for found in MARK.finditer(text):
        pieces += [_replace(text[done : found.start()], find, mark), found[0]]
        done = found.end()
    return "".join([*pieces, _replace(text[done:], find, mark)])


def _deep_key(key: Any, find: _Find, mark: _Mark) -> Any:
    """Keys are a tool's own words, unless one holds an address, a long number or something that could pass for a mark."""
    telling = isinstance(key, str) and ("@" in key or "[" in key or patterns.SEVEN_DIGITS.search(key))
    return _replace(key, find, mark) if telling else ownsecrets.without(key) if isinstance(key, str) else key


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _strings(key)
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)
