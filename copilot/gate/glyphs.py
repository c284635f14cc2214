"""Characters that make text look like something else: hidden, direction-changing, control, and look-alike scripts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

_WORD = re.compile(r"[^\W\d_]{2,}")
_ALLOWED_CONTROLS = frozenset("\n\r\t")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # all that plain ASCII can hide
_HIDDEN_EXTRA = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # blank letters
_SELECTORS = (range(0xFE00, 0xFE0F), range(0xE0100, 0xE01F0))  # variation selectors, but the one that emoji use
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")  # those whose letters pass for one another


def hidden(character: str) -> bool:
    """Whether a reader cannot see this character although a program can: format, control, tag, private, blank letters."""
    if character in _ALLOWED_CONTROLS:
        return False
    if character in _HIDDEN_EXTRA or any(ord(character) in span for span in _SELECTORS):
        return True
    return unicodedata.category(character) in ("Cf", "Cc", "Co", "Cn", "Cs", "Zl", "Zp")


def mixed_script(word: str) -> bool:
    """Whether one word mixes alphabets whose letters look alike, as in a payee's name written with one Cyrillic letter."""
    found = set()
    for character in word:
        name = unicodedata.name(character, "")
        found |= {script for script in _SCRIPTS if name.startswith(script)}
    return len(found) > 1


def suspicious(text: str) -> bool:
    """Whether a person has to look at this text because it may not be what it seems."""
    if text.isascii():
        return _CONTROL.search(text) is not None
    return any(hidden(character) for character in text) or any(mixed_script(word) for word in _WORD.findall(text))


def strings(value: Any) -> Iterator[str]:
    """Every string inside a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from strings(part)
