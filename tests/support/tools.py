"""A toolbox whose effects can be counted: one payment tool for each kind of promise, and a read."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import Field

from copilot.toolkit import Call, Money, Outcome, Preview, Toolbox, ToolError, ToolRefused
from tests.support import ledger

Invoice = Annotated[str, Field(min_length=1, max_length=40)]
Account = Annotated[str, Field(min_length=1, max_length=40, description="customer/account")]
Cents = Annotated[int, Field(ge=1, le=10_000_000)]
Memo = Annotated[str, Field(max_length=500)]

counting = Toolbox("counting")


def _customer(account: str) -> str:
    return account.partition("/")[0]


def _revision(arguments: dict[str, Any], call: Call) -> str:
    found = ledger.current().revision(arguments["account"])
    if found is None:
        raise ToolRefused("There is no such account.")
    return found


def _preview(arguments: dict[str, Any], call: Call) -> Preview:
    amount = f"{arguments['amount_minor'] / 100:.2f} {arguments['currency']}"
    return Preview(
        consequence=f"Pay {amount} to account {arguments['account']} for invoice {arguments['invoice']}",
        before={"paid": "0.00"},
        after={"paid": amount},
        customer_id=_customer(arguments["account"]),
    )


def _done(key: str, call: Call) -> Outcome | None:
    done = ledger.current().effects(key)
    return _receipt(done[0].id) if done else None


def _receipt(number: int) -> Outcome:
    return Outcome({"receipt": number}, provider_id=f"rcpt-{number}")


def _pay(tool: str, *, invoice: str, account: str, amount_minor: int, call: Call, once: bool) -> Outcome:
    book = ledger.current()
    mode, seconds = book.called(tool, call.idempotency_key) or ("", 0.0)
    match mode:
        case "refuse":
            raise ToolRefused("The bank refused it.")
        case "error_before":
            raise ToolError("The bank did not answer.", happened=False)
        case "pause_before":
            time.sleep(seconds)
    number = book.effect(key=call.idempotency_key, tool=tool, invoice=invoice, account=account, amount_minor=amount_minor, once=once)
    match mode:
        case "error_after":
            raise ConnectionResetError("the connection broke after the bank had done it")
        case "pause_after":
            time.sleep(seconds)
    return _receipt(number)


_MONEY: dict[str, Any] = {
    "effect": "write",
    "risk": "medium",
    "timeout": 5,
    "amount": lambda a: Money(a["amount_minor"], a["currency"]),
    "target": lambda a: f"account:{a['account']}",
    "payee": lambda a: a["account"],
    "business_key": lambda a: ("pay", a["invoice"]),
    "revision": _revision,
    "preview": _preview,
}


@counting.tool(idempotency={"key"}, key_lifetime=86_400, **_MONEY)
def pay_key(
    invoice: Invoice, account: Account, amount_minor: Cents, currency: Literal["EUR", "USD"] = "EUR", memo: Memo = "", *, call: Call
) -> Outcome:
    """Pay an invoice; the bank honours an idempotency key."""
    return _pay("pay_key", invoice=invoice, account=account, amount_minor=amount_minor, call=call, once=True)


@counting.tool(idempotency={"lookup"}, lookup=_done, **_MONEY)
def pay_lookup(
    invoice: Invoice, account: Account, amount_minor: Cents, currency: Literal["EUR", "USD"] = "EUR", memo: Memo = "", *, call: Call
) -> Outcome:
    """Pay an invoice; the bank can be asked whether a key was done."""
    return _pay("pay_lookup", invoice=invoice, account=account, amount_minor=amount_minor, call=call, once=False)


@counting.tool(idempotency={"key", "lookup"}, key_lifetime=86_400, lookup=_done, **_MONEY)
def pay_both(
    invoice: Invoice, account: Account, amount_minor: Cents, currency: Literal["EUR", "USD"] = "EUR", memo: Memo = "", *, call: Call
) -> Outcome:
    """Pay an invoice; the bank honours a key and can be asked about it."""
    return _pay("pay_both", invoice=invoice, account=account, amount_minor=amount_minor, call=call, once=True)


@counting.tool(**_MONEY)
def pay_opaque(
    invoice: Invoice, account: Account, amount_minor: Cents, currency: Literal["EUR", "USD"] = "EUR", memo: Memo = "", *, call: Call
) -> Outcome:
    """Pay an invoice; the bank promises nothing about repeats."""
    return _pay("pay_opaque", invoice=invoice, account=account, amount_minor=amount_minor, call=call, once=False)


@counting.tool(idempotency={"key"}, key_lifetime=86_400, **_MONEY)
def pay_capped(
    invoice: Invoice, account: Account, amount_minor: Cents, currency: Literal["EUR", "USD"] = "EUR", memo: Memo = "", *, call: Call
) -> Outcome:
    """Pay an invoice from a small purse."""
    return _pay("pay_capped", invoice=invoice, account=account, amount_minor=amount_minor, call=call, once=True)


@counting.tool(effect="read", risk="low")
def read_account(account: Account, *, call: Call) -> dict[str, Any]:
    """Read what was paid to an account."""
    return {"account": account, "paid_minor": sum(e.amount_minor for e in ledger.current().effects() if e.account == account)}


WRITES = ("pay_key", "pay_lookup", "pay_both", "pay_opaque", "pay_capped")
