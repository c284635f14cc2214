"""The sample shop: its own rules, its ledger, its promises about repeats, its faults."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from copilot import proof
from copilot.demo import jsonhttp, stock
from copilot.demo.shop import Shop
from copilot.demo.stock import Order

REFUND = "/effects/issue_refund"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[httpx2.Client]:
    """The shop behind a socket."""
    shop = Shop(tmp_path)
    with jsonhttp.Server(shop.handle, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with httpx2.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
            yield client
        server.shutdown()
        thread.join()
    shop.store.close()


def order(status: str, *, refunded: bool = False) -> Order:
    return next(order for order in stock.orders() if order.status == status and bool(order.refunded) == refunded)


def refund(order: Order, amount: int) -> dict[str, Any]:
    return {"order_id": order.id, "amount_minor": amount, "currency": order.currency, "reason": "damaged"}


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_shop_is_large_varied_and_the_same_every_time() -> None:
    assert len(stock.customers()) >= 150
    assert len(stock.orders()) >= 400
    assert len({customer.email for customer in stock.customers()}) == len(stock.customers())
    assert {order.status for order in stock.orders()} == {"processing", "shipped", "lost", "delivered", "cancelled"}
    assert {order.currency for order in stock.orders()} == {"EUR", "GBP", "USD"}
    assert {order.customer.id for order in stock.orders()} == {customer.id for customer in stock.customers()}
    again = stock.orders.__wrapped__(stock.SEED)
    assert again == stock.orders()


def test_every_page_of_an_order_agrees_with_the_stock(far: httpx2.Client) -> None:
    one = order("delivered")
    found = far.get(f"/orders/{one.id}").json()
    assert (found["total_minor"], found["currency"], found["customer_id"]) == (one.total, one.currency, one.customer.id)
    assert sum(item["quantity"] * item["unit_minor"] for item in found["items"]) + found["shipping_minor"] == one.total
    assert far.get(f"/orders/{one.id}/payment").json()["left_minor"] == one.total
    assert far.get(f"/orders/{one.id}/shipment").json()["status"] == "delivered"
    customer = far.get("/customers", params={"query": one.customer.email.upper()}).json()
    assert customer["id"] == one.customer.id
    assert one.id in [row["id"] for row in far.get(f"/customers/{one.customer.id}/orders", params={"limit": "50"}).json()]
    assert far.get("/help", params={"q": "how long do refunds take"}).json()[0]["title"] == "refunds"
    assert far.get("/orders/9999999").status_code == 404
    assert far.get("/customers", params={"query": "nobody@example.com"}).status_code == 404


def test_a_key_has_one_effect_and_one_answer_under_forty_simultaneous_calls(far: httpx2.Client) -> None:
    one = order("delivered")
    answers: list[dict[str, Any]] = []

    def pay() -> None:
        answers.append(far.post(REFUND, json=refund(one, 100), headers=keyed("p1")).json())

    threads = [threading.Thread(target=pay) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 40
    assert all(answer == answers[0] for answer in answers)
    rows = far.get("/ledger").json()
    assert [(row["key"], row["tool"], row["business_key"], row["target"], row["amount_minor"]) for row in rows] == [
        ("p1", "issue_refund", f"refund:{one.id}", f"order:{one.id}", 100)
    ]
    assert far.get(f"/orders/{one.id}/payment").json()["refunded_minor"] == 100


def test_a_key_is_not_lent_to_another_request_and_a_refusal_stays_one(far: httpx2.Client) -> None:
    one = order("delivered")
    refused = far.post(REFUND, json=refund(one, one.total + 1), headers=keyed("p1"))
    assert refused.status_code == 422
    assert "left to refund" in refused.json()["detail"]
    assert far.post(REFUND, json=refund(one, one.total + 1), headers=keyed("p1")).json() == refused.json()
    assert far.post(REFUND, json=refund(one, 1), headers=keyed("p1")).status_code == 409
    assert far.post(REFUND, json=refund(one, 1)).status_code == 400
    assert far.get("/ledger").json() == []


@pytest.mark.parametrize(
    ("path", "status", "change"),
    [
        (REFUND, "processing", {"amount_minor": 1, "currency": "EUR", "reason": "late"}),
        (REFUND, "delivered", {"amount_minor": 1, "currency": "JPY", "reason": "late"}),
        (REFUND, "delivered", {"amount_minor": 0, "currency": "EUR", "reason": "late"}),
        (REFUND, "delivered", {"amount_minor": True, "currency": "EUR", "reason": "late"}),
        ("/effects/cancel_order", "shipped", {"reason": "changed_mind"}),
        ("/effects/cancel_order", "cancelled", {"reason": "changed_mind"}),
        ("/effects/replace_item", "delivered", {"sku": "XXX-99", "quantity": 1, "reason": "damaged"}),
        ("/effects/change_address", "delivered", {"line1": "1 Elm", "city": "Cork", "postal_code": "T12", "country": "IE"}),
        (
            "/effects/send_gift_card",
            "delivered",
            {"customer_id": "cus_2001", "recipient_email": "x", "amount_minor": 9, "currency": "EUR", "note": "n"},
        ),
        ("/effects/reply_to_customer", "delivered", {"customer_id": "cus_9", "message": "hello"}),
        ("/effects/reply_to_customer", "delivered", {"customer_id": "cus_2001", "message": "  "}),
    ],
)
def test_what_the_shop_forbids_changes_nothing(far: httpx2.Client, path: str, status: str, change: dict[str, Any]) -> None:
    answer = far.post(path, json={"order_id": order(status).id, **change}, headers=keyed("p1"))
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")
    assert far.get("/ledger").json() == []


def test_no_more_is_replaced_than_was_ordered(far: httpx2.Client) -> None:
    one = order("delivered")
    body = {"order_id": one.id, "sku": one.lines[0].product.sku, "quantity": one.lines[0].quantity, "reason": "damaged"}
    assert far.post("/effects/replace_item", json=body, headers=keyed("p1")).json()["revision"] == 2
    assert far.post("/effects/replace_item", json=body, headers=keyed("p2")).status_code == 422
    assert far.get("/effects/p1").json()["result"]["quantity"] == one.lines[0].quantity
    assert far.get("/effects/p2").status_code == 404


def test_the_opaque_tool_doubles_a_repeat_and_the_ledger_shows_it(far: httpx2.Client) -> None:
    person = stock.customers()[0]
    card = {"customer_id": person.id, "recipient_email": person.email, "amount_minor": 1000, "currency": "EUR", "note": "Sorry."}
    for _ in range(2):
        assert far.post("/effects/send_gift_card", json=card, headers=keyed("p1")).status_code == 200
    assert [row["key"] for row in far.get("/ledger").json()] == ["p1", "p1"]
    assert far.get("/effects/p1").status_code == 404, "an opaque tool cannot be asked"


def test_faults_strike_as_often_as_ordered_and_only_where_ordered(far: httpx2.Client) -> None:
    one = order("delivered")
    far.post("/faults", json={"tool": "issue_refund", "mode": "error_before", "times": 1})
    far.post("/faults", json={"tool": "issue_refund", "mode": "error_after", "times": 1})
    far.post("/faults", json={"tool": "issue_refund", "mode": "reset_after", "times": 1})
    assert far.get(f"/orders/{one.id}").status_code == 200
    assert far.post(REFUND, json=refund(one, 1), headers=keyed("p1")).status_code == 500
    assert far.get("/ledger").json() == []
    assert far.post(REFUND, json=refund(one, 1), headers=keyed("p2")).status_code == 500
    with pytest.raises(httpx2.TransportError):
        far.post(REFUND, json=refund(one, 1), headers=keyed("p3"))
    assert [row["key"] for row in far.get("/ledger").json()] == ["p2", "p3"]
    assert far.post(REFUND, json=refund(one, 1), headers=keyed("p3")).status_code == 200, "the repeat is told what happened"
    assert len(far.get("/ledger").json()) == 2
    assert far.post("/faults", json={"tool": "nonsense", "mode": "slow"}).status_code == 400
    assert far.post("/faults", json={"tool": "*", "mode": "explode"}).status_code == 400


def test_nonsense_is_answered_and_the_line_stays_usable(far: httpx2.Client) -> None:
    assert far.post(REFUND, content=b"{", headers=keyed("p1")).status_code == 400
    assert far.post(REFUND, json=[1], headers=keyed("p1")).status_code == 400
    assert far.get("/nowhere").status_code == 404
    assert far.delete("/ledger").status_code == 405
    assert far.get("/health").json() == {"ok": True}


def test_a_call_takes_a_few_milliseconds(far: httpx2.Client) -> None:
    one, times = order("delivered"), []
    for number in range(50):
        begun = time.perf_counter()
        far.post(REFUND, json=refund(one, 1), headers=keyed(f"p{number}"))
        times.append(time.perf_counter() - begun)
    assert sorted(times)[25] < 0.02, "the median call; a wrong socket option costs 40 ms"


# -- with Copilot's keys: nothing happens without the proof that exactly this was approved

SIGNER = Ed25519PrivateKey.generate()
JWKS = {"keys": [json.loads(OKPAlgorithm.to_jwk(SIGNER.public_key())) | {"kid": "k1"}]}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[httpx2.Client]:
    """The same shop, which knows the public keys."""
    shop = Shop(tmp_path, keys=JWKS)
    with jsonhttp.Server(shop.handle, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with httpx2.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
            yield client
        server.shutdown()
        thread.join()
    shop.store.close()


def token(body: dict[str, Any], *, customer: str, key: str = "p1", tool: str = "issue_refund", **changes: Any) -> str:
    at = int(time.time())
    target = f"order:{body['order_id']}" if "order_id" in body else f"customer:{body['customer_id']}"
    claims = {
        "iss": "copilot", "aud": f"tool:{tool}", "sub": customer, "act": {"sub": "desk"}, "jti": secrets.token_hex(8), "target": target,
        "digest": "d", "arguments": proof.fingerprint(body), "key": key, "iat": at, "exp": at + 60,
    } | changes  # fmt: skip
    return jwt.encode(claims, SIGNER, algorithm="EdDSA", headers={"kid": "k1", "typ": proof.KIND})


def proven(proof_: str, key: str = "p1") -> dict[str, str]:
    return keyed(key) | {"Authorization": f"Bearer {proof_}"}


def test_an_approved_call_is_done_once_however_often_its_proof_comes_along(guarded: httpx2.Client) -> None:
    one = order("delivered")
    body = refund(one, 100)
    good = token(body, customer=one.customer.id)
    assert guarded.post(REFUND, json=body, headers=proven(good)).status_code == 200
    again = guarded.post(REFUND, json=body, headers=proven(good))
    assert (again.status_code, again.json()["detail"]) == (403, "The proof of approval was used before.")
    repeated = guarded.post(REFUND, json=body, headers=proven(token(body, customer=one.customer.id)))
    assert repeated.status_code == 200, "a repeat that was allowed again brings a proof of its own, and gets the first answer"
    assert len(guarded.get("/ledger").json()) == 1


def test_a_confused_deputy_is_refused(guarded: httpx2.Client) -> None:
    one = order("delivered")
    other = next(
        each for each in stock.orders() if each.customer.id != one.customer.id and each.status == "delivered" and not each.refunded
    )
    body = refund(one, 100)
    attempts = {
        "speaks for another customer": proven(token(body, customer=other.customer.id)),
        "is for another target": proven(token(refund(other, 100), customer=other.customer.id)),
        "is for other arguments": proven(token(refund(one, 99), customer=one.customer.id)),
        "is for another tool": proven(token(body, customer=one.customer.id, tool="cancel_order")),
        "is for a call under another key": proven(token(body, customer=one.customer.id, key="p2")),
        "has ended": proven(token(body, customer=one.customer.id, iat=int(time.time()) - 90, exp=int(time.time()) - 30)),
        "No proof": keyed("p1"),
        "not valid": proven("a.b.c"),
    }
    for said, headers in attempts.items():
        answer = guarded.post(REFUND, json=body, headers=headers)
        assert answer.status_code == 403, said
        assert said in answer.json()["detail"]
    assert guarded.get("/ledger").json() == []


def test_every_effect_asks_for_its_proof_and_no_read_does(guarded: httpx2.Client) -> None:
    one = order("delivered")
    for tool in ("issue_refund", "cancel_order", "replace_item", "change_address", "send_gift_card", "reply_to_customer"):
        answer = guarded.post(f"/effects/{tool}", json={"order_id": one.id, "customer_id": one.customer.id}, headers=keyed("p1"))
        assert answer.status_code == 403, tool
    assert guarded.get(f"/orders/{one.id}").status_code == 200
    message = {"customer_id": one.customer.id, "message": "Hello."}
    sent = guarded.post(
        "/effects/reply_to_customer",
        json=message,
        headers=proven(token(message, customer=one.customer.id, tool="reply_to_customer")),
    )
    assert sent.status_code == 200
    assert len(guarded.get("/ledger").json()) == 1


def test_an_order_that_is_nobodys_belongs_to_nobody(guarded: httpx2.Client) -> None:
    body = refund(order("delivered"), 100) | {"order_id": "999999"}
    for customer in ("", "cus_2001"):
        assert guarded.post(REFUND, json=body, headers=proven(token(body, customer=customer))).status_code == 403


@pytest.mark.parametrize("keys", ["", "file", "text"])
def test_a_shop_without_keys_says_so_at_start(tmp_path: Path, keys: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(JWKS))
    given = {"": {}, "file": {"COPILOT_SHOP_KEYS": str(file)}, "text": {"COPILOT_SHOP_KEYS": json.dumps(JWKS)}}[keys]
    words = [sys.executable, "-m", "copilot.demo.shop", "--data", str(tmp_path / "shop")]
    shop = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | given)
    assert shop.stdout is not None
    port = json.loads(shop.stdout.readline())["port"]
    body = refund(order("delivered"), 100)
    answer = httpx2.post(f"http://127.0.0.1:{port}{REFUND}", json=body, headers=keyed("p1"), trust_env=False)
    assert answer.status_code == (403 if keys else 200)
    shop.terminate()
    _, said = shop.communicate(timeout=30)
    assert ("approved or not" in said) is not bool(keys)


_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "copilot.demo.shop", "--data", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), end="", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child to its parent")
def test_the_shop_keeps_its_ledger_and_dies_with_its_parent(tmp_path: Path) -> None:
    one, port = order("delivered"), 0
    for round_ in (1, 2):
        parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        assert parent.stdin is not None
        pid, _, ready = parent.stdout.readline().partition(" ")
        port = json.loads(ready)["port"]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            client.post(REFUND, json=refund(one, 1), headers=keyed(f"p{round_}"))
            assert len(client.get("/ledger").json()) == round_
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)
        parent.stdin.close()
        parent.stdout.close()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False)
