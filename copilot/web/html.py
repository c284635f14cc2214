"""The one place where HTML that came from outside is made harmless: bleach, and our marks for what it hides."""

from __future__ import annotations

import html
import re

import bleach  # type: ignore[import-untyped]  # ships no types
from markupsafe import Markup

from copilot.web.text import shown

_LOOKS_LIKE_HTML = re.compile(
    r"</?(?:html|body|p|br|div|span|table|tr|td|a|b|i|u|strong|em|ul|ol|li|img|style|script|blockquote|font|h[1-6])\b[^>]*>", re.IGNORECASE
)
_DROPPED_WHOLE = re.compile(r"<(script|style|head|title|template)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"(<[^<>]*>)")
ALLOWED = frozenset({"p", "br", "div", "b", "strong", "i", "em", "u", "ul", "ol", "li", "blockquote", "pre"})


def is_html(body: str) -> bool:
    """Whether a message was written as HTML rather than as plain text."""
    return _LOOKS_LIKE_HTML.search(body) is not None


def harmless(body: str) -> Markup:
    """HTML with a handful of tags and no attribute at all: no link, no image, no style, no script; hidden characters marked."""
    cleaned = bleach.clean(_DROPPED_WHOLE.sub("", body), tags=ALLOWED, attributes={}, strip=True, strip_comments=True)
    pieces = (piece if _TAG.fullmatch(piece) else shown(html.unescape(piece)) for piece in _TAG.split(cleaned))
    return Markup("".join(str(piece) for piece in pieces))  # noqa: S704 -- cleaned tags and escaped text, nothing else
