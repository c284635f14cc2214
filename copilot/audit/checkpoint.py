"""Checkpoints: the size and root of the log at one moment, in the C2SP note form that others can keep."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from copilot.audit import verifier
from copilot.db import db
from copilot.models import AuditEvent


@dataclass(frozen=True, slots=True)
class Kept:
    """An earlier checkpoint, as the log itself recorded it when it was exported."""

    at: str
    size: int
    root: bytes

    def as_json(self, origin: str) -> dict[str, Any]:
        """One line of checkpoints.jsonl."""
        return {"at": self.at, "origin": origin, "root": base64.b64encode(self.root).decode(), "size": self.size}


def origin() -> str:
    """The log's name: `copilot/` and the start of its first leaf's hash, so that a recreated database has another name."""
    first = db.session.execute(select(AuditEvent.leaf_hash).where(AuditEvent.leaf == 0)).scalar_one_or_none()
    return "copilot/new" if first is None else f"copilot/{first[:32]}"


def note(*, origin: str, size: int, root: bytes) -> str:
    """The body of the note; without a signature line it proves nothing about its author."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def earlier(*, size: int) -> list[Kept]:
    """All checkpoints recorded among the first `size` leaves, in order."""
    lines = select(AuditEvent.line).where(AuditEvent.kind == verifier.EXPORTED, AuditEvent.leaf < size).order_by(AuditEvent.leaf)
    return [_kept(line) for line in db.session.execute(lines).scalars()]


def _kept(line: str) -> Kept:
    try:
        event = json.loads(line)
        return Kept(str(event["at"]), int(event["size"]), bytes.fromhex(event["root"]))
    except (ValueError, KeyError, TypeError):
        return Kept("a time that was damaged", 0, b"")  # fits no tree, so whoever compares says so
