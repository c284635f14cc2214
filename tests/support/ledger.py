"""The far end's own book: an SQLite file that several processes share, with every call, every effect, and how to misbehave."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PLACE = "COPILOT_TEST_LEDGER"

_TABLES = """
PRAGMA journal_mode=WAL;
CREATE TABLE calls (id INTEGER PRIMARY KEY, key TEXT, tool TEXT, at TEXT);
CREATE TABLE effects (id INTEGER PRIMARY KEY, key TEXT, tool TEXT, invoice TEXT, account TEXT, amount_minor INTEGER, at TEXT,
  forgotten INTEGER DEFAULT 0);
CREATE TABLE faults (id INTEGER PRIMARY KEY, tool TEXT, mode TEXT, seconds REAL);
CREATE TABLE revisions (account TEXT PRIMARY KEY, revision INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that really happened. `key` is the idempotency key it happened under."""

    id: int
    key: str
    tool: str
    invoice: str
    account: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The book at one path."""

    path: Path

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which nobody else writes beside."""
        connection = sqlite3.connect(self.path, timeout=20, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def fail(self, tool: str, mode: str, *, times: int = 1, seconds: float = 0) -> None:
        """Let the next calls of a tool go wrong: refuse, error_before, error_after, pause_before, pause_after, answer."""
        with self.open() as book:
            book.executemany("INSERT INTO faults (tool, mode, seconds) VALUES (?, ?, ?)", [(tool, mode, seconds)] * times)

    def heal(self) -> None:
        """Forget the faults that nobody met."""
        with self.open() as book:
            book.execute("DELETE FROM faults")

    def forget(self) -> None:
        """Let the lifetime of every key used so far end: a repeat under one would be a second effect."""
        with self.open() as book:
            book.execute("UPDATE effects SET forgotten = 1")

    def move(self, account: str) -> None:
        """Change an account behind everybody's back, so that what was approved for it is out of date."""
        with self.open() as book:
            book.execute(
                "INSERT INTO revisions VALUES (?, 2) ON CONFLICT (account) DO UPDATE SET revision = revision + 1",
                (account,),
            )

    def close(self, account: str) -> None:
        """Let an account be gone for good."""
        with self.open() as book:
            book.execute("INSERT OR REPLACE INTO revisions VALUES (?, NULL)", (account,))

    def revision(self, account: str) -> str | None:
        """How often the account changed; None when it is gone."""
        with self.open() as book:
            row = book.execute("SELECT revision FROM revisions WHERE account = ?", (account,)).fetchone()
        if row is None:
            return "1"
        return None if row[0] is None else str(row[0])

    def called(self, tool: str, key: str) -> tuple[str, float] | None:
        """Note a call; the fault it has to show, with its seconds, if one waits."""
        with self.open() as book:
            book.execute("INSERT INTO calls (key, tool, at) VALUES (?, ?, ?)", (key, tool, _now()))
            fault = book.execute("SELECT id, mode, seconds FROM faults WHERE tool = ? ORDER BY id LIMIT 1", (tool,)).fetchone()
            if fault is None:
                return None
            book.execute("DELETE FROM faults WHERE id = ?", (fault[0],))
        return str(fault[1]), float(fault[2])

    def effect(self, *, key: str, tool: str, invoice: str, account: str, amount_minor: int, once: bool) -> int:
        """Do it and give the effect's number; with `once` a key that was done before gives the first number again."""
        with self.open() as book:
            if once and (row := book.execute("SELECT id FROM effects WHERE key = ? AND NOT forgotten", (key,)).fetchone()):
                return int(row[0])
            done = book.execute(
                "INSERT INTO effects (key, tool, invoice, account, amount_minor, at) VALUES (?, ?, ?, ?, ?, ?)",
                (key, tool, invoice, account, amount_minor, _now()),
            )
            return int(done.lastrowid or 0)

    def effects(self, key: str | None = None) -> list[Effect]:
        """What happened, in order; under one key, or at all."""
        with self.open() as book:
            rows = book.execute("SELECT id, key, tool, invoice, account, amount_minor FROM effects ORDER BY id").fetchall()
        return [effect for row in rows if (effect := Effect(*row)) and key in (None, effect.key)]

    def calls(self, key: str) -> int:
        """How often the tool was called under this key, whatever came of it."""
        with self.open() as book:
            return int(book.execute("SELECT count(*) FROM calls WHERE key = ?", (key,)).fetchone()[0])


def make(path: Path) -> Ledger:
    """An empty book."""
    connection = sqlite3.connect(path)
    connection.executescript(_TABLES)
    connection.close()
    return Ledger(path)


def current() -> Ledger:
    """The book this process was told of."""
    return Ledger(Path(os.environ[PLACE]))


def _now() -> str:
    return datetime.now(UTC).isoformat()
