"""Hostile text made readable: escaped, and what a reader could not see shown as a mark."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator

from markupsafe import Markup, escape

from copilot.gate import glyphs

_WORD = re.compile(r"[^\W\d_]{2,}")
_PIECE = re.compile(r"\s+|[^\s]+")
MOST_WORDS = 2_000  # words and gaps in which two texts are compared piece by piece

_TAGS = range(0xE0000, 0xE0080)
_SELECTORS = (range(0xFE00, 0xFE0F), range(0xE0100, 0xE01F0))  # FE0F alone only asks for a coloured emoji


def shown(value: object) -> Markup:
    """Text for a page: escaped, every hidden or direction-changing character as a visible mark, mixed-script words flagged."""
    text = str(value)
    if text.isascii() and not any(glyphs.hidden(character) for character in text):
        return escape(text)
    return Markup("").join(_marked(text))


def _marked(text: str) -> Iterator[Markup]:
    plain: list[str] = []
    tags: list[str] = []
    for character in (*text, ""):  # the last, empty one only closes what is open
        if tags and (not character or ord(character) not in _TAGS):
            yield _hidden_tags("".join(tags))
            tags.clear()
        if character and not _unseen(character):
            plain.append(character)
            continue
        if plain:
            yield _flagged("".join(plain))
            plain.clear()
        if character and ord(character) in _TAGS:
            tags.append(character)
        elif character:
            yield _mark(character)


def _unseen(character: str) -> bool:
    return glyphs.hidden(character) or any(ord(character) in block for block in _SELECTORS)


def _mark(character: str) -> Markup:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "control character").lower()
    return Markup('<span class="glyph" title="{}">{}</span>').format(f"hidden character: {name}", code)


def _hidden_tags(characters: str) -> Markup:
    inside = "".join(chr(ord(character) - 0xE0000) for character in characters if 0xE0020 <= ord(character) < 0xE007F)
    return Markup('<span class="glyph" title="invisible tag characters">hidden text: “{}”</span>').format(inside)


def _flagged(text: str) -> Markup:
    out: list[Markup] = []
    end = 0
    for word in _WORD.finditer(text):
        if not word[0].isascii() and glyphs.mixed_script(word[0]):
            out.append(escape(text[end : word.start()]))
            out.append(
                Markup('<span class="lookalike">{}<span class="glyph" title="{}">mixed alphabets</span></span>').format(
                    word[0], "this word mixes alphabets whose letters look alike"
                )
            )
            end = word.end()
    return Markup("").join((*out, escape(text[end:])))


def difference(before: str, after: str) -> Markup:
    """Two texts as one, word by word: what went in <del>, what came in <ins>, each safe for a page.

    Where more than MOST_WORDS differ from the first difference to the last, that part is shown whole, once as it was
    and once as it is: comparing costs their product, and nobody reads such a patchwork anyway.
    """
    old, new = _PIECE.findall(before), _PIECE.findall(after)
    head = _shared(old, new)
    tail = _shared(old[head:][::-1], new[head:][::-1])
    ending = old[len(old) - tail :]
    beginning, old, new = old[:head], old[head : len(old) - tail], new[head : len(new) - tail]
    changed = ((old, new),) if len(old) + len(new) > MOST_WORDS else _aligned(old, new)
    parts = [_change(beginning, beginning), *(_change(gone, came) for gone, came in changed), _change(ending, ending)]
    return Markup("").join(parts)


def _shared(one: list[str], other: list[str]) -> int:
    """How many pieces two lists share at their beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _aligned(old: list[str], new: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    for _, a, b, c, d in difflib.SequenceMatcher(None, old, new).get_opcodes():
        yield old[a:b], new[c:d]


def _change(gone: list[str], came: list[str]) -> Markup:
    before, after = "".join(gone), "".join(came)
    if before == after:
        return shown(before)
    out = Markup("<del>{}</del>").format(shown(before)) if before else Markup("")
    return out + Markup("<ins>{}</ins>").format(shown(after)) if after else out


def label(name: str) -> str:
    """A program's name for a thing, as words: `order_id` is Order ID."""
    words = re.sub(r"[_\-.]+", " ", name).strip()
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words)
    sentence = words[:1].upper() + words[1:] if words else name
    return re.sub(r"\b(id|url|iban|vat|api|sku)\b", lambda found: found[0].upper(), sentence, flags=re.IGNORECASE)
