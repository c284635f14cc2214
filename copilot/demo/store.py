"""The shop's own SQLite file: its tables, its opening stock, and one writer at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from copilot.demo import stock

Row = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS customers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, phone TEXT NOT NULL, region TEXT NOT NULL, since TEXT NOT NULL,
    line1 TEXT NOT NULL, city TEXT NOT NULL, postal_code TEXT NOT NULL, country TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, status TEXT NOT NULL, currency TEXT NOT NULL,
    shipping_minor INTEGER NOT NULL, total_minor INTEGER NOT NULL, placed_on TEXT NOT NULL, delivered_on TEXT,
    line1 TEXT NOT NULL, city TEXT NOT NULL, postal_code TEXT NOT NULL, country TEXT NOT NULL, revision INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS orders_of_customer ON orders (customer_id);
CREATE TABLE IF NOT EXISTS items (
    order_id TEXT NOT NULL REFERENCES orders, sku TEXT NOT NULL, name TEXT NOT NULL, quantity INTEGER NOT NULL,
    unit_minor INTEGER NOT NULL, PRIMARY KEY (order_id, sku));
CREATE TABLE IF NOT EXISTS shipments (
    order_id TEXT PRIMARY KEY REFERENCES orders, carrier TEXT NOT NULL, tracking TEXT NOT NULL, status TEXT NOT NULL,
    shipped_on TEXT NOT NULL, expected_on TEXT NOT NULL, delivered_on TEXT);
CREATE TABLE IF NOT EXISTS payments (
    order_id TEXT PRIMARY KEY REFERENCES orders, method TEXT NOT NULL, state TEXT NOT NULL, currency TEXT NOT NULL,
    captured_minor INTEGER NOT NULL, refunded_minor INTEGER NOT NULL, CHECK (refunded_minor BETWEEN 0 AND captured_minor));
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, customer_id TEXT NOT NULL REFERENCES customers,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS refunds_of_customer ON refunds (customer_id);
CREATE INDEX IF NOT EXISTS refunds_of_order ON refunds (order_id);
CREATE TABLE IF NOT EXISTS gift_cards (
    id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, recipient_email TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL, note TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS gift_cards_of_customer ON gift_cards (customer_id);
CREATE TABLE IF NOT EXISTS replacements (
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, sku TEXT NOT NULL, quantity INTEGER NOT NULL,
    reason TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS replacements_of_order ON replacements (order_id);
CREATE TABLE IF NOT EXISTS replies (
    id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, ticket TEXT, message TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (
    number INTEGER PRIMARY KEY AUTOINCREMENT, effect_id TEXT NOT NULL UNIQUE, key TEXT, tool TEXT NOT NULL, business_key TEXT,
    target TEXT NOT NULL, amount_minor INTEGER, currency TEXT, at TEXT NOT NULL, result TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS ledger_by_key ON ledger (key);
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (id TEXT PRIMARY KEY, until INTEGER NOT NULL);
"""


def now() -> str:
    """The shop's clock, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """One connection behind one lock: every request takes well under a millisecond, so readers may wait for writers."""

    def __init__(self, path: Path, *, seed: int = stock.SEED) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;"
        )
        with self.transaction():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            if not self.rows("SELECT 1 FROM customers LIMIT 1"):
                _open_shop(self, seed)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the store alone; keep everything done inside, or nothing when an exception leaves the block."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the store for several reads that belong together."""
        with self._lock:
            yield

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a query, as dictionaries. Call inside `transaction` or `reading`."""
        return [dict(row) for row in self._db.execute(sql, values)]

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a query, or None. Call inside `transaction` or `reading`."""
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else dict(row)

    def put(self, table: str, **values: Any) -> None:
        """Insert one row. Table and columns are our own literals, never a caller's text."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608 - see the docstring

    def change(self, sql: str, *values: Any) -> None:
        """Run one statement that changes rows. Call inside `transaction`."""
        self._db.execute(sql, values)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _open_shop(store: Store, seed: int) -> None:
    today = datetime.now(UTC)

    def day(ago: int) -> str:
        return (today - timedelta(days=ago)).date().isoformat()

    for customer in stock.customers(seed):
        store.put(
            "customers",
            **{key: getattr(customer, key) for key in ("id", "name", "email", "phone", "region")},
            since=day(customer.since_days),
            **asdict(customer.address),
        )
    for order in stock.orders(seed):
        _add_order(store, order, day)
        _add_payment(store, order, day)
        if order.captured:
            expected = order.placed_days - 6 if order.status != "delivered" else order.delivered_days + order.late_days
            store.put(
                "shipments",
                order_id=order.id,
                carrier={"EU": "DHL", "UK": "Royal Mail", "US": "UPS"}[order.customer.region],
                tracking=f"TRK-{order.id}-{order.customer.region}",
                status={"shipped": "in transit", "lost": "lost"}.get(order.status, "delivered"),
                shipped_on=day(order.placed_days - 2),
                expected_on=day(expected),
                delivered_on=day(order.delivered_days) if order.status == "delivered" else None,
            )


def _add_order(store: Store, order: stock.Order, day: Callable[[int], str]) -> None:
    store.put(
        "orders",
        id=order.id,
        customer_id=order.customer.id,
        status=order.status,
        currency=order.currency,
        shipping_minor=order.shipping,
        total_minor=order.total,
        placed_on=day(order.placed_days),
        delivered_on=day(order.delivered_days) if order.status == "delivered" else None,
        **asdict(order.customer.address),
    )
    for line in order.lines:
        item = {"sku": line.product.sku, "name": line.product.name, "quantity": line.quantity, "unit_minor": line.product.price}
        store.put("items", order_id=order.id, **item)


def _add_payment(store: Store, order: stock.Order, day: Callable[[int], str]) -> None:
    state = "captured" if order.captured else "voided" if order.status == "cancelled" else "authorised"
    money = {"currency": order.currency, "captured_minor": order.total if order.captured else 0, "refunded_minor": order.refunded}
    store.put("payments", order_id=order.id, method=order.method, state=state, **money)
    if order.refunded:
        about = {"order_id": order.id, "customer_id": order.customer.id, "currency": order.currency}
        at = f"{day(max(order.delivered_days - 1, 0))}T09:00:00.000+00:00"
        store.put("refunds", id=f"re_{order.id}", amount_minor=order.refunded, reason="damaged", at=at, **about)
