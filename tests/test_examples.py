"""The examples, each run as a developer would: against a running installation, with a scripted model and a person who decides."""

from __future__ import annotations

import contextvars
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask import Flask
from werkzeug.serving import make_server

from copilot import db as database
from copilot.client import Client
from copilot.db import transaction
from copilot.demo import tickets
from copilot.demo.tickets import SampleTicket
from copilot.people import principals, tokens
from tests.fake_model import FakeModel, Reply, completion, says
from tests.support import ROOT, children, workers
from tests.support.people import People

pytestmark = pytest.mark.timeout(400)

EXAMPLES = ROOT / "docs" / "examples"
ALL = sorted(file.name for file in EXAMPLES.glob("*.py"))
WITHOUT_READS = {"langgraph_agent.py"}
NOTE = "Half of it was refunded already."


@pytest.fixture
def more_environ(shop: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("COPILOT_SHOP_URL", shop)
    return {
        "COPILOT_SHOP_URL": shop,
        "COPILOT_TOOLKITS": "copilot.demo.tools:shop",
        "COPILOT_POLICY_DIR": str(ROOT / "copilot" / "demo" / "policies"),
    }


@dataclass(frozen=True, slots=True)
class Desk:
    """A running installation: its address, the agent's secret, a person, the ticket, and the shop behind it all."""

    url: str
    secret: str
    person: Client
    ticket: SampleTicket
    shop: str
    folder: Path

    def start(self, example: str, model: FakeModel) -> subprocess.Popen[bytes]:
        """Start one example on the ticket."""
        environ = {
            **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "COPILOT_URL": self.url,
            "COPILOT_CLIENT_ID": "desk",
            "COPILOT_CLIENT_SECRET": self.secret,
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_MODEL": "scripted-1",
        }
        words = [sys.executable, EXAMPLES / example, self.ticket.external_id, self.ticket.body]
        return children.start(words, log=self.folder / "said", environ=environ, cwd=self.folder)

    def said(self, child: subprocess.Popen[bytes]) -> str:
        """What the example printed, once it has ended well."""
        code = child.wait(timeout=120)
        text = (self.folder / "said").read_text()
        assert code == 0, text
        return text

    def waiting(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The proposal of a running example that waits for the person."""
        workers.until(lambda: self.person.proposals(state="PENDING")["items"] or child.poll() is not None, seconds=120, every=0.2)
        assert child.poll() is None, (self.folder / "said").read_text()
        found: dict[str, Any] = self.person.proposals(state="PENDING")["items"][0]
        return found

    def refunds(self) -> list[dict[str, Any]]:
        """What the shop's own ledger holds."""
        rows: list[dict[str, Any]] = httpx2.get(f"{self.shop}/ledger", trust_env=False).json()
        return rows


def _refund() -> SampleTicket:
    return next(
        ticket
        for ticket in tickets.generate(11, 120)
        if ticket.expected.tool == "issue_refund" and ticket.expected.kind == "plain" and ticket.expected.arguments["amount_minor"] < 50_000
    )


@pytest.fixture
def desk(app: Flask, environ: dict[str, str], people: People, shop: str, tmp_path: Path) -> Iterator[Desk]:
    with transaction():
        secret = principals.add("desk", ["*:read", "issue_refund:write"], "dee@example.com", drafts=False)
        source = principals.add("helpdesk", ["tickets:write"], "dee@example.com", drafts=False)
        token = tokens.issue_person(people.bo, "tests")
    database.read_again()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=contextvars.Context().run, args=(server.serve_forever,))
    thread.start()
    url, ticket = f"http://127.0.0.1:{server.server_port}", _refund()
    try:
        with ExitStack() as stack:
            stack.enter_context(children.running(workers.start(environ, tmp_path), how=signal.SIGKILL))
            stack.enter_context(children.running(workers.clock(environ, tmp_path), how=signal.SIGKILL))
            helpdesk = stack.enter_context(Client(url, client_id="helpdesk", client_secret=source))
            helpdesk.create_ticket(**ticket.payload())
            yield Desk(url, secret, stack.enter_context(Client(url, token=token, timeout=30)), ticket, shop, tmp_path)
    finally:
        server.shutdown()
        thread.join(timeout=20)
        server.server_close()


def asks(name: str, arguments: dict[str, Any]) -> Reply:
    """One tool call under an id of its own, as the frameworks want it."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return completion({"tool_calls": [{"id": secrets.token_hex(8), "type": "function", "function": function}]}, "tool_calls")


def _script(model: FakeModel, desk: Desk, example: str, **changes: Any) -> dict[str, Any]:
    """Have the model look the order up, where the example lets it, and then ask for the refund."""
    wanted = {**desk.ticket.expected.arguments, **changes}
    extra = {"wait_seconds": 120, "ticket_id": desk.ticket.external_id} if example == "mcp_client.py" else {}
    if example not in WITHOUT_READS:
        model.will(asks("get_order", {"order_id": wanted["order_id"]}))
    model.will(asks("issue_refund", wanted | extra))
    return wanted


def _heard(model: FakeModel) -> str:
    """The latest answer to a tool call that the model was shown."""
    return str([message for message in model.last if message["role"] == "tool"][-1]["content"])


def test_every_example_is_described() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    assert [name for name in ALL if f"[`{name}`]({name})" not in readme] == []
    assert len(ALL) == 5


@pytest.mark.parametrize("example", ALL)
def test_what_was_approved_is_done_once_and_the_agent_goes_on(desk: Desk, fake_model: FakeModel, example: str) -> None:
    wanted = _script(fake_model, desk, example)
    fake_model.will(says("The refund is on its way."))
    child = desk.start(example, fake_model)
    with children.running(child):
        proposal = desk.waiting(child)
        assert proposal["ticket_external_id"] == desk.ticket.external_id
        assert proposal["arguments"] == wanted
        desk.person.decide(proposal["id"], verdict="approve", digest=proposal["digest"])
        said = desk.said(child)
    assert ("Refunded" if example in WITHOUT_READS else "on its way") in said
    assert [(row["key"], row["amount_minor"]) for row in desk.refunds()] == [(proposal["id"], wanted["amount_minor"])]


@pytest.mark.parametrize("example", ["plain_python.py", "mcp_client.py"])
def test_an_edited_refund_is_done_as_edited_and_the_model_hears_it(desk: Desk, fake_model: FakeModel, example: str) -> None:
    wanted = _script(fake_model, desk, example)
    fake_model.will(says("You get a little less."))
    child = desk.start(example, fake_model)
    with children.running(child):
        proposal = desk.waiting(child)
        less = wanted | {"amount_minor": wanted["amount_minor"] - 100}
        reason = {"code": "wrong_amount", "note": "Without the shipping."}
        desk.person.decide(proposal["id"], verdict="edit", digest=proposal["digest"], arguments=less, reason=reason)
        assert "a little less" in desk.said(child)
    assert [row["amount_minor"] for row in desk.refunds()] == [less["amount_minor"]]
    assert "eviewer" in _heard(fake_model)
    assert str(less["amount_minor"]) in _heard(fake_model)


@pytest.mark.parametrize("example", ["openai_agents.py", "pydantic_ai_agent.py"])
def test_after_a_rejection_nothing_happened_and_the_model_hears_why(desk: Desk, fake_model: FakeModel, example: str) -> None:
    _script(fake_model, desk, example)
    fake_model.will(says("Sorry, I cannot refund that."))
    child = desk.start(example, fake_model)
    with children.running(child):
        proposal = desk.waiting(child)
        desk.person.decide(proposal["id"], verdict="reject", digest=proposal["digest"], reason={"code": "wrong_amount", "note": NOTE})
        assert "cannot refund" in desk.said(child)
    assert desk.refunds() == []
    assert NOTE in _heard(fake_model)


def test_the_graph_drafts_again_with_the_reviewers_words(desk: Desk, fake_model: FakeModel) -> None:
    wanted = _script(fake_model, desk, "langgraph_agent.py")
    less = wanted | {"amount_minor": wanted["amount_minor"] // 2}
    fake_model.will(asks("issue_refund", less))
    child = desk.start("langgraph_agent.py", fake_model)
    with children.running(child):
        first = desk.waiting(child)
        desk.person.decide(first["id"], verdict="reject", digest=first["digest"], reason={"code": "wrong_amount", "note": NOTE})
        second = desk.waiting(child)
        assert NOTE in _heard(fake_model)
        desk.person.decide(second["id"], verdict="approve", digest=second["digest"])
        assert f"Refunded {less['amount_minor'] / 100:.2f}" in desk.said(child)
    assert [row["amount_minor"] for row in desk.refunds()] == [less["amount_minor"]]


def test_what_a_rule_forbids_is_told_without_a_person(desk: Desk, fake_model: FakeModel) -> None:
    _script(fake_model, desk, "plain_python.py", amount_minor=500_000)
    fake_model.will(says("That is not for me to do."))
    child = desk.start("plain_python.py", fake_model)
    with children.running(child):
        assert "not for me" in desk.said(child)
    assert desk.refunds() == []
    assert "Refunds above 1,000.00" in _heard(fake_model)
