"""The one place where HTML that came from outside is made harmless: bleach, and our marks for what it hides."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import bleach  # type: ignore[import-untyped]  # ships no types
from markupsafe import Markup

from copilot.web.text import shown

LONGEST = 20_000  # characters of one message; a parser can be made to take minutes over more
MOST_TAGS = 500

_LOOKS_LIKE_HTML = re.compile(
    r"</?(?:html|body|p|br|div|span|table|tr|td|a|b|i|u|strong|em|ul|ol|li|img|style|script|blockquote|font|h[1-6])\b[^<>]*>", re.IGNORECASE
)
_DROPPED_WHOLE = re.compile(r"<(/?)(script|style|head|title|template)\b", re.IGNORECASE)
_TAG = re.compile(r"(<[^<>]*>)")
ALLOWED = frozenset({"p", "br", "div", "b", "strong", "i", "em", "u", "ul", "ol", "li", "blockquote", "pre"})


def is_html(body: str) -> bool:
    """Whether a message was written as HTML rather than as plain text, and is small enough to be read as such."""
    return _bounded(body) and _LOOKS_LIKE_HTML.search(body) is not None


def harmless(body: str) -> Markup:
    """HTML with a handful of tags and no attribute at all: no link, no image, no style, no script; hidden characters marked.

    What is too long or has too many tags comes as plain text, tags and all: whoever writes to us decides how much
    there is to read, never how long this process works on it.
    """
    if not _bounded(body):
        return shown(body)
    cleaned = bleach.clean("".join(_kept(body)), tags=ALLOWED, attributes={}, strip=True, strip_comments=True)
    pieces = (piece if _TAG.fullmatch(piece) else shown(html.unescape(piece)) for piece in _TAG.split(cleaned))
    return Markup("".join(str(piece) for piece in pieces))  # noqa: S704 -- cleaned tags and escaped text, nothing else


def _bounded(body: str) -> bool:
    return len(body) <= LONGEST and body.count("<") <= MOST_TAGS


def _kept(body: str) -> Iterator[str]:
    """The body without whole scripts, styles and heads, in one pass.

    One that is never closed stays, as text: what a model reads must not be hidden from a person by leaving out a tag.
    """
    done, inside, since = 0, "", 0
    for tag in _DROPPED_WHOLE.finditer(body):
        closing, name = tag[1] == "/", tag[2].lower()
        if not inside and not closing and tag.start() >= done:
            inside, since = name, tag.start()
        elif closing and name == inside:
            end = body.find(">", tag.end())
            if end < 0:
                break
            yield body[done:since]
            done, inside = end + 1, ""
    yield body[done:]
