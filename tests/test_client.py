"""The client over real sockets: against the application, and against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import func, select

from copilot import db as database
from copilot.client import (
    ApiError,
    Client,
    Denied,
    Failed,
    NotDone,
    Rejected,
    TakenBack,
    Undecided,
    Unknown,
    Unreachable,
    perform,
    requires_approval,
    rest,
    wait_for,
)
from copilot.db import db, transaction
from copilot.models import Ticket
from copilot.people import principals, tokens
from tests.support.people import People

PAY = {"invoice": "I-1", "account": "C-1/main", "amount_minor": 6000, "currency": "EUR"}


@pytest.fixture
def secret(people: People) -> str:
    with transaction():
        return principals.add("helpdesk", ["tickets:write", "*:read", "pay_key:write"], "dee@example.com", drafts=True)


@pytest.fixture
def person_token(people: People) -> str:
    with transaction():
        return tokens.issue_person(people.bo, "tests")


def test_a_source_brings_tickets_messages_and_statuses(url: str, secret: str) -> None:
    with Client(url, client_id="helpdesk", client_secret=secret, scope="tickets:write") as desk:
        first = desk.create_ticket(external_id="T/1", subject="Lamp", body="Broken", customer={"id": "C-1"}, metadata={"a": 1})
        again = desk.create_ticket(external_id="T/1", subject="Lamp", body="Broken", customer={"id": "C-1"})
        assert (first["created"], again["created"], first["id"] == again["id"]) == (True, False, True)
        assert desk.add_message("T/1", external_id="m1", author="customer", body="Hi", at=datetime(2026, 1, 2, tzinfo=UTC))["created"]
        assert desk.add_message("T/1", external_id="m2", author="customer", body="Hi?")["created"]
        assert desk.set_status("T/1", "pending")["status"] == "pending"
        with pytest.raises(ApiError) as caught:
            desk.set_status("T-404", "open")
        assert (caught.value.status, caught.value.title, caught.value.code) == (404, "Not found", "not-found")
        with pytest.raises(ApiError) as caught:
            desk.create_ticket(external_id="T-2", subject="", body="B", customer={"id": "C"})
        assert (caught.value.status, list(caught.value.problems)) == (422, ["subject"])
        with pytest.raises(ApiError) as caught:
            desk.read("read_account", arguments={"account": "C-1/main"})
        assert caught.value.status == 403


def test_an_agent_proposes_and_a_person_decides(url: str, secret: str, person_token: str) -> None:
    with Client(f"{url}/", client_id="helpdesk", client_secret=secret) as bot, Client(url, token=person_token) as bo:
        assert "pay_key" in {tool["name"] for tool in bot.tools()}
        assert bot.read("read_account", arguments={"account": "C-1/main"})["paid_minor"] == 0
        proposal = bot.propose("pay_key", arguments=PAY, idempotency_key="k", rationale="due", confidence=0.9)
        page = bo.proposals(state="PENDING", limit=10)
        assert ([one["id"] for one in page["items"]], page["next"]) == ([proposal["id"]], None)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(bot.proposal, proposal["id"], wait=20)
            decided = bo.decide(proposal["id"], verdict="reject", digest=proposal["digest"], reason={"code": "duplicate", "note": "paid"})
            assert decided["state"] == "REJECTED"
            assert waiting.result(timeout=20)["state"] == "REJECTED"
        with pytest.raises(ApiError) as caught:
            bo.decide(proposal["id"], verdict="approve", digest=proposal["digest"])
        assert (caught.value.status, caught.value.code) == (409, "already-decided")
        assert bo.trace(proposal["id"])["decisions"][0]["note"] == "paid"
        second = bot.propose("pay_key", arguments=PAY, idempotency_key="k2")
        assert bot.withdraw(second["id"], note="changed my mind")["state"] == "WITHDRAWN"
        assert {card["tool"] for card in bo.actions()} == {"pay_key"}
        assert bo.set_level("helpdesk", "pay_key", level="off", reason="holiday")["level"] == "off"
        with pytest.raises(ApiError) as caught:
            bo.set_level("helpdesk", "pay_key", level="auto", reason="trust me")
        assert (caught.value.status, caught.value.code) == (409, "refused")


def test_a_token_that_was_withdrawn_is_renewed_once_and_wrong_credentials_end_it(url: str, secret: str) -> None:
    desk = Client(url, client_id="helpdesk", client_secret=secret)
    assert desk.tools()
    desk._access = "a.b.c"
    assert desk.tools()
    with transaction():
        principals.rotate("helpdesk")
    with pytest.raises(ApiError) as caught:
        desk.tools()
    assert (caught.value.status, caught.value.code) == (401, "invalid_client")
    desk.close()


def test_forty_threads_share_one_client_and_one_token(url: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(url, client_id="helpdesk", client_secret=secret, timeout=30) as desk, ThreadPoolExecutor(max_workers=40) as pool:
        made = pool.map(lambda n: desk.create_ticket(external_id=f"T-{n % 20}", subject="S", body="B", customer={"id": "C"}), range(40))
        assert sum(one["created"] for one in made) == 20
    database.read_again()
    assert db.session.execute(select(func.count()).select_from(Ticket)).scalar_one() == 20


class Misbehaving:
    """A server that answers by script: a status, or `reset` to close the connection without a word."""

    def __init__(self) -> None:
        self.script: list[int | str] = []
        self.asked: list[str] = []


@contextmanager
def misbehaving() -> Iterator[tuple[str, Misbehaving]]:
    plan = Misbehaving()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            plan.asked.append(f"{self.command} {self.path}")
            status = plan.script.pop(0) if plan.script else 200
            if status == "reset":
                self.close_connection = True
                return
            assert isinstance(status, int)
            body = b"<html>" if status == 502 else json.dumps({"items": [], "title": "Away", "detail": "later"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - the names BaseHTTPRequestHandler looks for

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", plan
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest.time, "sleep", lambda _: None)


TICKET: dict[str, Any] = {"external_id": "T", "subject": "S", "body": "B", "customer": {"id": "C"}}


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("wrong", [502, 503, 504, "reset"])
def test_repeatable_requests_are_repeated_and_others_are_not(wrong: int | str) -> None:
    with misbehaving() as (url, plan), Client(url, token="t") as one:
        plan.script = [wrong, wrong]
        one.create_ticket(**TICKET)
        assert len(plan.asked) == 3
        plan.asked.clear()
        plan.script = [wrong, wrong]
        with pytest.raises(ApiError) as caught:
            one.decide("p", verdict="approve", digest="d")
        assert len(plan.asked) == 1
        assert isinstance(caught.value, Unreachable) == (wrong == "reset")
        assert caught.value.status == (0 if wrong == "reset" else wrong)


@pytest.mark.usefixtures("_no_pauses")
def test_it_gives_up_after_some_repeats_and_never_repeats_a_no() -> None:
    with misbehaving() as (url, plan), Client(url, token="t", retries=2) as one:
        plan.script = [503] * 9
        with pytest.raises(ApiError) as caught:
            one.tools()
        assert (caught.value.status, caught.value.title, caught.value.detail, len(plan.asked)) == (503, "Away", "later", 3)
        plan.asked.clear()
        for status in (400, 404, 409, 422, 429, 500):
            plan.script = [status]
            with pytest.raises(ApiError) as caught:
                one.tools()
            assert caught.value.status == status
        assert len(plan.asked) == 6


@pytest.mark.usefixtures("_no_pauses")
def test_a_server_that_is_not_there_is_unreachable() -> None:
    with Client("http://127.0.0.1:9", token="t", retries=1) as one, pytest.raises(Unreachable) as caught:
        one.decide("p", verdict="approve", digest="d")
    assert caught.value.status == 0


def test_it_takes_one_identity() -> None:
    with pytest.raises(ValueError, match="either"):
        Client("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="either"):
        Client("http://127.0.0.1:9", token="t", client_id="a", client_secret="b")


def decided(url: str, token: str, *, verdict: str = "approve", **how: Any) -> threading.Thread:
    """A person who decides the first proposal that waits."""

    def decide() -> None:
        with Client(url, token=token, timeout=30) as bo:
            for _ in range(600):
                if waiting := bo.proposals(state="PENDING")["items"]:
                    bo.decide(waiting[0]["id"], verdict=verdict, digest=waiting[0]["digest"], **how)
                    return
                time.sleep(0.05)

    thread = threading.Thread(target=decide)
    thread.start()
    return thread


def the_decorated(desk: Client, **options: Any) -> Any:
    @requires_approval("pay_key", client=desk, **options)
    def pay(invoice: str, account: str, amount_minor: int, currency: str = "EUR") -> dict[str, Any]:
        """Pay an invoice."""
        raise AssertionError("the body never runs")

    return pay


def test_a_decorated_function_proposes_and_hears_of_a_rejection(url: str, secret: str, person_token: str) -> None:
    with Client(url, client_id="helpdesk", client_secret=secret, timeout=30) as desk:
        pay = the_decorated(desk, wait=60, rationale=lambda a: f"{a['invoice']} is due")
        assert (pay.__name__, pay.__doc__) == ("pay", "Pay an invoice.")
        person = decided(url, person_token, verdict="reject", reason={"code": "wrong_amount", "note": "Half of it was paid."})
        with pytest.raises(Rejected, match=r"wrong amount.*Half of it was paid") as caught:
            pay("I-1", "C-1/main", amount_minor=6000)
        person.join(30)
        assert (caught.value.reason, caught.value.note) == ("wrong_amount", "Half of it was paid.")
        assert caught.value.proposal["rationale"] == "I-1 is due"
        assert caught.value.proposal["arguments"] == {**PAY, "memo": ""}
        with pytest.raises(TypeError, match="account"):
            pay("I-1")


def test_an_async_function_stays_one_and_a_proposal_nobody_decides_still_waits(url: str, secret: str) -> None:
    with Client(url, client_id="helpdesk", client_secret=secret, timeout=30) as desk:

        @requires_approval("pay_key", client=desk, wait=1.2, idempotency_key=lambda a: a["invoice"])
        async def pay(invoice: str, account: str, amount_minor: int) -> dict[str, Any]:
            """Pay an invoice."""
            raise AssertionError("the body never runs")

        found = []
        for _ in range(2):
            with pytest.raises(Undecided, match="waits at http") as caught:
                asyncio.run(pay("I-1", "C-1/main", 6000))
            found.append(caught.value.proposal["id"])
        assert found[0] == found[1]
        desk.withdraw(found[0])
        with pytest.raises(TakenBack, match="withdrawn"):
            wait_for(desk, found[0])


def test_what_the_gate_denies_says_by_which_rule(url: str, secret: str) -> None:
    with Client(url, client_id="helpdesk", client_secret=secret, timeout=30) as desk, pytest.raises(Denied) as caught:
        perform(desk, "pay_opaque", arguments=PAY)
    assert caught.value.rule
    assert str(caught.value)


@pytest.mark.parametrize(
    ("state", "expected", "words"),
    [("FAILED", Failed, "nothing happened"), ("OUTCOME_UNKNOWN", Unknown, "Do not repeat"), ("EXPIRED", TakenBack, "in time")],
)
def test_every_other_end_is_an_exception_of_its_own(state: str, expected: type[NotDone], words: str) -> None:
    with Client("http://127.0.0.1:9", token="t") as nobody, pytest.raises(expected, match=words):
        wait_for(nobody, {"id": "p", "state": state, "tool": "pay", "url": "http://x", "outcome": {"message": "No."}})


@pytest.mark.usefixtures("_no_pauses")
def test_waiting_outlasts_a_restart_of_the_server() -> None:
    with misbehaving() as (url, plan), Client(url, token="t", retries=0) as one:
        plan.script = [503, "reset", 502, 404]
        with pytest.raises(ApiError) as caught:
            wait_for(one, {"id": "p", "state": "PENDING", "tool": "pay", "url": "http://x"}, wait=60)
    assert (caught.value.status, len(plan.asked)) == (404, 4)
