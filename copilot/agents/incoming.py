"""What a source may send: every value of a ticket and of a message is checked here and nowhere else.

So the API, the New ticket page and the import accept and refuse the same things.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from copilot.errors import BadInput
from copilot.models.work import CHANNELS

LONGEST_ID = 128
LONGEST_SUBJECT = 500
LONGEST_BODY = 100_000
LONGEST_METADATA = 20_000
AUTHORS = ("customer", "staff", "agent")
BODY = "body"  # the external id of a ticket's own text among its messages

_REGION = re.compile(r"[A-Za-z0-9_-]{0,16}\Z")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\Z")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL, and what is left of bytes that were no UTF-8
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sender:
    """The customer as the source names them, checked."""

    id: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class NewTicket:
    """A ticket whose every value has been checked; `checked` is the only way to make one of outside data."""

    external_id: str
    subject: str
    body: str
    customer: Sender
    region: str
    channel: str
    metadata: dict[str, Any]


def checked(
    *,
    external_id: Any,
    subject: Any,
    body: Any,
    customer: Mapping[str, Any],
    region: Any = "",
    channel: Any = "api",
    metadata: Mapping[str, Any] | None = None,
) -> NewTicket:
    """The ticket if every value can be taken; BadInput with one sentence per field otherwise."""
    problems: dict[str, str] = {}
    _id_problem(problems, "external_id", external_id)
    _text_problem(problems, "subject", subject, longest=LONGEST_SUBJECT)
    _text_problem(problems, "body", body, longest=LONGEST_BODY)
    if not isinstance(region, str) or not _REGION.match(region):
        problems["region"] = "is at most 16 letters, digits, - and _"
    if channel not in CHANNELS:
        problems["channel"] = f"is one of {', '.join(CHANNELS)}"
    sender = _sender(problems, customer)
    details = dict(metadata or {})
    _metadata_problem(problems, details)
    _refuse(problems)
    return NewTicket(external_id, subject, body, sender, region, channel, details)


def check_message(*, external_id: Any, author: Any, body: Any, at: datetime | None) -> None:
    """Refuse a message that cannot be taken, with one sentence per field."""
    problems: dict[str, str] = {}
    _id_problem(problems, "external_id", external_id)
    if external_id == BODY:
        problems["external_id"] = "is the name of the ticket's own text"
    if author not in AUTHORS:
        problems["author"] = f"is one of {', '.join(AUTHORS)}"
    _text_problem(problems, "body", body, longest=LONGEST_BODY)
    if at is not None and at.tzinfo is None:
        problems["at"] = "says its time zone, as in 2026-01-31T09:30:00Z"
    elif at is not None and at < _EARLIEST:
        problems["at"] = "lies before 1990"
    _refuse(problems)


def _sender(problems: dict[str, str], customer: Mapping[str, Any]) -> Sender:
    known = {key: customer.get(key, "") for key in ("id", "name", "email")}
    _id_problem(problems, "customer.id", known["id"])
    _text_problem(problems, "customer.name", known["name"], longest=200, needed=False)
    _text_problem(problems, "customer.email", known["email"], longest=254, needed=False)
    if known["email"] and "customer.email" not in problems and not _EMAIL.match(known["email"]):
        problems["customer.email"] = "is no e-mail address"
    return Sender(**known)


def _id_problem(problems: dict[str, str], name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        problems[name] = "is missing"
    elif len(value) > LONGEST_ID or not value.isprintable() or value != value.strip():
        problems[name] = f"is at most {LONGEST_ID} printable characters, without blanks at either end"


def _text_problem(problems: dict[str, str], name: str, value: Any, *, longest: int, needed: bool = True) -> None:
    if not isinstance(value, str) or (needed and not value.strip()):
        problems[name] = "is missing"
    elif len(value) > longest:
        problems[name] = f"is longer than {longest} characters"
    elif _NO_TEXT.search(value):
        problems[name] = "holds a character that is no text"


def _metadata_problem(problems: dict[str, str], details: dict[str, Any]) -> None:
    try:
        written = json.dumps(details, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        problems["metadata"] = "is no plain JSON object"
        return
    if len(written) > LONGEST_METADATA:
        problems["metadata"] = f"is longer than {LONGEST_METADATA} characters of JSON"
    elif "\\u0000" in written or _NO_TEXT.search(written):
        problems["metadata"] = "holds a character that is no text"


def _refuse(problems: dict[str, str]) -> None:
    if problems:
        first = next(iter(problems))
        raise BadInput(f"{first} {problems[first]}.", problems=problems)
