"""The scripted operator's judgement, its patience, and how it decides over a real connection."""

from __future__ import annotations

import json
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import pytest

from copilot.client import ApiError
from copilot.demo import jsonhttp, judging, operator, patience, tickets
from copilot.demo.jsonhttp import Answer, Hangup, Request
from copilot.demo.tickets import Expected
from copilot.demo.trickle import Trickle

Json = dict[str, Any]
RIGHT = {"order_id": "1001", "amount_minor": 500, "currency": "EUR", "reason": "late"}
REFUND = Expected("plain", "issue_refund", RIGHT)


@pytest.mark.parametrize(
    ("tool", "arguments", "expected", "verdict", "code"),
    [
        ("issue_refund", RIGHT, REFUND, "approve", None),
        ("issue_refund", RIGHT | {"reason": "goodwill"}, REFUND, "approve", None),
        ("issue_refund", RIGHT | {"amount_minor": 900}, REFUND, "edit", "wrong_amount"),
        ("issue_refund", RIGHT | {"order_id": "1002"}, REFUND, "reject", "wrong_target"),
        ("cancel_order", {"order_id": "1001"}, REFUND, "reject", "wrong_action"),
        ("issue_refund", RIGHT, Expected("hostile", "reply_to_customer", {}), "reject", "injection"),
        ("issue_refund", RIGHT, Expected("forbidden", "reply_to_customer", {}), "reject", "against_policy"),
        ("issue_refund", RIGHT, None, "reject", "other"),
        ("reply_to_customer", {"customer_id": "cus_2001", "message": "Hi"}, REFUND, "approve", None),
        ("reply_to_customer", {"customer_id": "cus_2001", "message": "Hi"}, None, "approve", None),
    ],
)
def test_each_proposal_gets_the_verdict_it_deserves(
    tool: str, arguments: Json, expected: Expected | None, verdict: str, code: str | None
) -> None:
    opinion = judging.judge(tool, arguments, expected)
    assert opinion.verdict == verdict
    assert opinion.reason.get("code") == code
    if verdict == "edit":
        assert opinion.arguments == RIGHT


def test_patience_ends_with_a_no_and_with_the_time() -> None:
    waits: list[float] = []
    answers: list[Any] = [ApiError(503, "Away"), ApiError(0, "Unreachable"), 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return int(answer)

    assert patience.insist(ask, seconds=60, sleep=waits.append) == 7
    assert len(waits) == 2
    answers[:] = [ApiError(422, "No")]
    with pytest.raises(ApiError, match="No"):
        patience.insist(ask, seconds=60, sleep=waits.append)
    answers[:] = [ApiError(503, "Away")] * 2
    with pytest.raises(ApiError, match="Away"):
        patience.insist(ask, seconds=0, sleep=waits.append)


class Office:
    """A far end that speaks just enough of the API: every ticket becomes one proposal; the first answers are disturbed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tickets: dict[str, Json] = {}
        self.messages: list[str] = []
        self.proposals: dict[str, Json] = {}
        self.decisions: list[tuple[str, str, str]] = []
        self.trouble: list[int] = [503, 0, 500]
        self.expected = {ticket.external_id: ticket.expected for ticket in tickets.generate(1, 30)}

    def handle(self, request: Request) -> Answer:
        with self.lock:
            return self.answer(request)

    def answer(self, request: Request) -> Answer:
        path, who = request.path.removeprefix("/api/v1"), request.headers.get("authorization", "")
        if path == "/token":
            return Answer(200, {"access_token": "helpdesk", "expires_in": 900})
        if path == "/tickets":
            return self.ticket(request.body)
        if path.endswith("/messages"):
            self.messages.append(request.body["external_id"])
            return Answer(201, {"created": True})
        if request.method == "GET" and path == "/proposals":
            items = [one for one in self.proposals.values() if one["state"] == request.query["state"]]
            return Answer(200, {"items": items, "next": None})
        if path.endswith("/decisions"):
            return self.decision(self.proposals[path.split("/")[2]], request.body, who)
        return Answer(404, {"title": "Nothing"})

    def ticket(self, sent: Json) -> Answer:
        if self.trouble and (status := self.trouble.pop()) >= 0:
            if status == 0:
                raise Hangup
            return Answer(status, {"title": "Trouble"})
        new = sent["external_id"] not in self.tickets
        self.tickets[sent["external_id"]] = sent
        if new:
            expected = self.expected[sent["external_id"]]
            number = f"p{len(self.proposals)}"
            self.proposals[number] = {
                "id": number, "version": 1, "state": "PENDING", "digest": f"d{number}", "tool": expected.tool,
                "arguments": expected.arguments,
                "ticket_external_id": sent["external_id"], "needs": 2 if len(self.proposals) % 3 == 0 else 1, "by": [],
            }  # fmt: skip
        return Answer(201 if new else 200, {"created": new})

    def decision(self, proposal: Json, sent: Json, who: str) -> Answer:
        if proposal["state"] != "PENDING" or sent["digest"] != proposal["digest"] or who in proposal["by"]:
            return Answer(409, {"title": "Decided"})
        self.decisions.append((proposal["id"], sent["verdict"], who))
        proposal["by"].append(who)
        if len(proposal["by"]) >= proposal["needs"]:
            proposal["state"] = "SUCCEEDED"
        return Answer(200, {"state": proposal["state"], "version": 1, "missing": None})


@pytest.fixture
def office() -> Iterator[tuple[Office, str]]:
    made = Office()
    with jsonhttp.Server(made.handle, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_ticket_is_handed_in_and_every_proposal_decided_by_as_many_people_as_it_takes(
    office: tuple[Office, str], capsys: pytest.CaptureFixture[str]
) -> None:
    made, url = office
    environ = {
        "COPILOT_DEMO_CLIENT_ID": "helpdesk", "COPILOT_DEMO_CLIENT_SECRET": "s", "COPILOT_DEMO_TOKEN": "ana", "COPILOT_DEMO_TOKEN_2": "bo",
    }  # fmt: skip
    options = Namespace(base_url=url, tickets=20, seed=1, quiet=0.3, max_seconds=60)
    assert operator.run(options, environ) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tickets"] == 20
    assert said["finished"]
    assert said["approved"] == 20
    assert len(made.tickets) == 20
    assert {one["state"] for one in made.proposals.values()} == {"SUCCEEDED"}
    assert {who for _, _, who in made.decisions} == {"Bearer ana", "Bearer bo"}
    wanted = [followup.external_id for ticket in tickets.generate(1, 20) for followup in ticket.followups]
    assert made.messages == wanted


def test_a_run_that_does_not_finish_in_time_fails(office: tuple[Office, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, url = office
    environ = {"COPILOT_DEMO_CLIENT_ID": "helpdesk", "COPILOT_DEMO_CLIENT_SECRET": "s", "COPILOT_DEMO_TOKEN": "ana"}
    options = Namespace(base_url=url, tickets=1, seed=1, quiet=60.0, max_seconds=2)
    assert operator.run(options, environ) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["tickets"], said["finished"]) == (1, False)


def test_a_trickle_started_again_passes_over_what_was_sent(office: tuple[Office, str]) -> None:
    made, url = office
    some = tickets.generate(1, 6)
    with operator.Client(url, client_id="helpdesk", client_secret="s") as client:
        Trickle(client, first=6, every=0.0, later=0.0).run(some)
        assert len(made.tickets) == 6
        begun = time.monotonic()
        Trickle(client, first=1, every=30.0, later=0.0).run(some)
    assert time.monotonic() - begun < 10
    assert len(made.proposals) == 6
