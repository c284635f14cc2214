"""How an outbox row reads in Slack: what matters first, everything escaped and scrubbed, a link back to us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from copilot.audit import redaction

TITLES = {
    "needs_human": "A ticket needs a person",
    "outcome_unknown": "Nobody knows yet whether an action happened",
    "deadline": "A decision is due",
    "fall_back": "An action lost its autonomy",
    "held": "An action is held: its content does not match its approval",
    "denied": "The gate refused a proposal",
    "contradicted": "An action happened that was settled as not happened",
}

_CRITICAL = ("tool", "amount", "target", "agent", "deadline_at", "code", "rule")
_SENTENCES = ("reason", "sentence", "message", "note")
_LABELS = {"deadline_at": "due", "ticket_id": "ticket", "run_id": "run", "proposal_id": "proposal", "agent_id": "agent"}
_PAGES = {"prop": "/proposals/{}", "run": "/runs/{}", "tick": "/tickets/{}", "agent": "/actions"}
_OUR_ID = re.compile(r"[a-z]{2,6}_[a-z2-7]{32}\Z")
_NO_DECIMALS = frozenset({"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"})
_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def slack(kind: str, *, subject: str, dedupe: str, fields: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """The `text` and `blocks` of one message. The dedupe key stands in it, so that a repeated delivery is recognised."""
    title = TITLES[kind]
    critical = [(name, fields[name]) for name in _CRITICAL if _given(fields.get(name))]
    sentences = [_clean(fields[name], 1_500) for name in _SENTENCES if _given(fields.get(name))]
    rest = [(name, value) for name, value in fields.items() if _given(value) and name not in _CRITICAL and name not in _SENTENCES]
    blocks: list[dict[str, Any]] = [{"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}}]
    labelled = [_mrkdwn(f"*{_label(name)}*\n{_clean(value, 300)}") for name, value in [*critical, *rest][:10]]  # Slack takes ten
    if labelled:
        blocks.append({"type": "section", "fields": labelled})
    blocks.extend({"type": "section", "text": _mrkdwn(sentence)} for sentence in sentences)
    blocks.append({"type": "section", "text": _mrkdwn(f"<{base_url}{_page(subject)}|Open in Copilot>")})
    blocks.append({"type": "context", "elements": [_mrkdwn(f"ref {_escape(dedupe)}")]})
    summary = ", ".join(_clean(value, 100) for _, value in critical[:3])
    return {"text": f"{title}: {summary}" if summary else title, "blocks": blocks}


def _given(value: Any) -> bool:
    return value is not None and value != ""


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _label(name: str) -> str:
    return _escape(_LABELS.get(name, name.replace("_", " ")))


def _page(subject: str) -> str:
    if not _OUR_ID.match(subject):
        return "/"
    return _PAGES.get(subject.partition("_")[0], "/").format(subject)


def _clean(value: Any, longest: int) -> str:
    """One line of inert text: scrubbed of personal patterns (our own ids are none), cut, escaped."""
    text = _money(value) if isinstance(value, Mapping) else str(value)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not _OUR_ID.match(line):
        line = redaction.scrub(line)
    return _escape(line if len(line) <= longest else line[: longest - 1] + "…")


def _money(value: Mapping[str, Any]) -> str:
    """`{"minor": 8000, "currency": "EUR"}` as people write it."""
    minor, currency = value.get("minor"), str(value.get("currency", ""))
    if isinstance(minor, bool) or not isinstance(minor, int):
        return "?"
    decimals = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    whole, part = divmod(abs(minor), 10**decimals)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole:,}{f'.{part:0{decimals}d}' if decimals else ''} {currency}".strip()


def _escape(text: str) -> str:
    """Slack's three special characters: without < there is no link, no mention and no channel call."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
