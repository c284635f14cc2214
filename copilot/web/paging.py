"""Keyset pages, newest first, for lists with a time and an id: the thousandth page costs what the first does."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, and_, or_

from copilot.db import db
from copilot.errors import BadInput


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page; `next` is the following page's cursor, or None."""

    items: tuple[Any, ...]
    next: str | None


def keyset(statement: Select[Any], at: Any, key: Any, *, cursor: str | None, limit: int = 50) -> Page:
    """One page of mapped rows ordered by (`at`, `key`) downwards; BadInput for a cursor that is not one of ours."""
    if cursor:
        moment, last = _read(cursor)
        statement = statement.where(or_(at < moment, and_(at == moment, key < last)))
    rows = db.session.scalars(statement.order_by(at.desc(), key.desc()).limit(limit + 1)).unique().all()
    items = tuple(rows[:limit])
    if len(rows) <= limit:
        return Page(items, None)
    text = f"{getattr(items[-1], at.key).isoformat()}|{getattr(items[-1], key.key)}"
    return Page(items, urlsafe_b64encode(text.encode()).decode().rstrip("="))


def _read(cursor: str) -> tuple[datetime, str]:
    try:
        at, _, last = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("|")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not last or "\0" in last:
            raise ValueError(cursor)
        moment = moment.astimezone(UTC)  # which the first and last day of the calendar may not survive
    except (ValueError, OverflowError, binascii.Error) as error:
        raise BadInput("That page link is no longer valid; start again from the first page.") from error
    return moment, last
