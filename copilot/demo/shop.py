"""The sample web shop: a separate HTTP service with its own SQLite file and ledger of effects.

    python -m copilot.demo.shop --data DIR --port 0      prints {"port": N} when it is ready

With COPILOT_SHOP_KEYS (a JWKS document or the path of one) every effect needs a one-use token that Copilot signed for exactly this
tool, target and arguments, and on behalf of the customer it touches: whoever merely reaches the shop cannot make it act.

`GET /ledger` returns every effect; `POST /faults {tool, mode, times, seconds}` breaks it on purpose: `slow` waits before
the effect and `slow_after` after it, `error_before` and `error_after` answer 500, `reset_after` cuts the line.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from copilot import proof
from copilot.demo import catalogue, effects, jsonhttp
from copilot.demo.faults import ANY, Fault, Faults, UnknownFault
from copilot.demo.jsonhttp import Answer, Hangup, Request
from copilot.demo.store import Row, Store

MODES = ("slow", "slow_after", "error_before", "error_after", "reset_after")

_WRITES = {f"/effects/{name}": name for name in effects.KEYED | {"replace_item", "send_gift_card"}}


class Shop:
    """The shop behind one `handle` function; `python -m` and tests serve the same one."""

    def __init__(self, data: Path, *, keys: Mapping[str, Any] | None = None) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.store = Store(data / "shop.sqlite3")
        self.keys = keys
        self.faults = Faults(MODES)

    def handle(self, request: Request) -> Answer:
        """Answer one request: an administrative one, a read, or an effect."""
        match request.method, request.path:
            case "GET", "/health":
                return Answer(200, {"ok": True})
            case "GET", "/ledger":
                return Answer(200, effects.ledger(self.store))
            case "POST", "/faults":
                return self._plant(request)
            case "DELETE", "/faults":
                self.faults.clear()
                return Answer(200, {"waiting": 0})
            case "POST", path if path in _WRITES:
                return self._write(_WRITES[path], request)
            case "GET", path:
                return self._read(path, request)
        return Answer(405, {"detail": "Not here."})

    def _plant(self, request: Request) -> Answer:
        known = {ANY, *_WRITES.values(), *(tool for _, tool, _ in _READS)}
        try:
            if isinstance(request.body, dict) and request.body.get("tool", ANY) not in known:
                raise UnknownFault(f"tool is one of {', '.join(sorted(known))}")
            return Answer(200, {"waiting": self.faults.plant(request.body)})
        except UnknownFault as error:
            return Answer(400, {"detail": str(error)})

    def _write(self, tool: str, request: Request) -> Answer:
        if not isinstance(request.body, dict):
            return Answer(400, {"detail": "Send a JSON object."})
        fault = self.faults.take(tool)
        if (early := _before(fault)) is not None:
            return early
        key, ticket = request.headers.get("idempotency-key"), request.headers.get("x-ticket")
        approval = None if self.keys is None else effects.Approval(self.keys, _token(request))
        status, body = effects.perform(self.store, tool, request.body, key=key, ticket=ticket, approval=approval)
        return _after(fault) or Answer(status, body)

    def _read(self, path: str, request: Request) -> Answer:
        for pattern, tool, find in _READS:
            if found := pattern.fullmatch(path):
                fault = self.faults.take(tool)
                if (early := _before(fault)) is not None:
                    return early
                body = find(self.store, unquote(found["id"]) if "id" in pattern.groupindex else "", request)
                return _after(fault) or (_missing(path) if body is None else Answer(200, body))
        return Answer(404, {"detail": "There is no such page."})


def _token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _before(fault: Fault | None) -> Answer | None:
    if fault is not None and fault.mode == "slow":
        time.sleep(fault.seconds)
    if fault is not None and fault.mode == "error_before":
        return Answer(500, {"detail": "The shop tripped before doing anything."})
    return None


def _after(fault: Fault | None) -> Answer | None:
    if fault is None:
        return None
    if fault.mode == "slow_after":
        time.sleep(fault.seconds)
    if fault.mode == "reset_after":
        raise Hangup
    return Answer(500, {"detail": "The shop tripped."}) if fault.mode == "error_after" else None


def _missing(path: str) -> Answer:
    thing = {"customers": "customer", "orders": "order"}.get(path.split("/")[1], "thing")
    return Answer(404, {"detail": f"There is no such {thing}."})


def _limit(request: Request) -> int:
    text = request.query.get("limit", "10")
    return min(max(int(text), 1), 50) if text.isdecimal() and len(text) < 6 else 10


_Find = Callable[[Store, str, Request], Row | list[Row] | None]
_READS: tuple[tuple[re.Pattern[str], str, _Find], ...] = (
    (re.compile(r"/customers"), "find_customer", lambda store, _, request: catalogue.find_customer(store, request.query.get("query", ""))),
    (
        re.compile(r"/customers/(?P<id>[^/]+)/orders"),
        "list_orders",
        lambda store, id_, request: catalogue.list_orders(store, id_, limit=_limit(request)),
    ),
    (re.compile(r"/orders/(?P<id>[^/]+)"), "get_order", lambda store, id_, _: catalogue.get_order(store, id_)),
    (re.compile(r"/orders/(?P<id>[^/]+)/shipment"), "get_shipment", lambda store, id_, _: catalogue.get_shipment(store, id_)),
    (re.compile(r"/orders/(?P<id>[^/]+)/payment"), "get_payment", lambda store, id_, _: catalogue.get_payment(store, id_)),
    (re.compile(r"/help"), "search_help", lambda _store, _id, request: catalogue.search_help(request.query.get("q", ""))),
    (re.compile(r"/customers/(?P<id>[^/]+)/dossier"), "dossier", lambda store, id_, _: catalogue.customer_dossier(store, id_)),
    (re.compile(r"/orders/(?P<id>[^/]+)/dossier"), "dossier", lambda store, id_, _: catalogue.order_dossier(store, id_)),
    (re.compile(r"/effects/(?P<id>[^/]+)"), "lookup", lambda store, id_, _: effects.find(store, id_)),
)


def main() -> None:
    """Serve the shop in DIR on a loopback port."""
    parser = argparse.ArgumentParser(prog="python -m copilot.demo.shop", description="The sample company's shop, on loopback.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the shop's SQLite file")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    given = os.environ.get("COPILOT_SHOP_KEYS", "")
    if not given:
        print("COPILOT_SHOP_KEYS is not set: this shop does whatever reaches it, approved or not.", file=sys.stderr, flush=True)
    jsonhttp.run(Shop(options.data, keys=proof.keys_from(given) if given else None).handle, port=options.port)


if __name__ == "__main__":
    main()
