"""From a ticket to its effect and its proof, over sockets only: API, workers, model and shop are processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.serving import make_server

from copilot.audit import export, verify
from copilot.client import ApiError, Client
from copilot.db import db
from copilot.demo import tickets
from copilot.demo.tickets import SampleTicket
from copilot.models import Run
from copilot.processes import sample
from tests.support import ROOT, children, work, workers

pytestmark = pytest.mark.timeout(400)

ENDED = {"DONE", "FAILED", "NEEDS_HUMAN"}


@pytest.fixture
def more_environ(shop: str, offline_model: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("COPILOT_SHOP_URL", shop)
    return {
        "COPILOT_DEMO": "1",
        "COPILOT_SHOP_URL": shop,
        "COPILOT_TOOLKITS": "copilot.demo.tools:shop",
        "COPILOT_POLICY_DIR": str(ROOT / "copilot" / "demo" / "policies"),
        "OPENAI_BASE_URL": f"{offline_model}/v1",
        "OPENAI_API_KEY": "offline",
        "COPILOT_MODEL": "offline",
    }


@pytest.fixture
def served(app: Flask) -> Iterator[str]:
    """The application behind a real socket."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def desk(served: str, environ: dict[str, str], tmp_path: Path) -> Iterator[tuple[Client, Client, Client]]:
    """The helpdesk's program and two operators, with workers at work behind them."""
    given = sample.seed(tokens_too=True)
    with ExitStack() as stack:
        stack.enter_context(children.running(workers.clock(environ, tmp_path), how=signal.SIGKILL))
        for queue in ("draft", "execute"):
            stack.enter_context(children.running(workers.start(environ, tmp_path, queue=queue), how=signal.SIGKILL))
        helpdesk = Client(served, client_id=given.client_id, client_secret=given.client_secret, scope="tickets:write")
        people = [Client(served, token=token) for token in given.tokens]
        for client in (helpdesk, *people):
            stack.enter_context(client)
        yield helpdesk, people[0], people[1]


def _refund() -> SampleTicket:
    """A plain letter that asks for a refund one person may decide."""
    return next(
        ticket
        for ticket in tickets.generate(11, 120)
        if ticket.expected.tool == "issue_refund" and ticket.expected.kind == "plain" and ticket.expected.arguments["amount_minor"] < 50_000
    )


def _waiting(operator: Client, *, tool: str | None = None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = operator.proposals(state="PENDING")["items"]
    return [item for item in items if tool in (None, item["tool"])]


def _first(operator: Client, tool: str) -> dict[str, Any]:
    workers.until(lambda: _waiting(operator, tool=tool), seconds=120)
    return _waiting(operator, tool=tool)[0]


def _finish(operator: Client) -> Run:
    """Approve whatever else the agent proposes until its run has ended."""

    def ended() -> bool:
        for item in _waiting(operator):
            operator.decide(item["id"], verdict="approve", digest=item["digest"])
        db.session.rollback()
        return db.session.scalars(select(Run.state)).one() in ENDED

    workers.until(ended, seconds=180, every=0.3)
    return db.session.scalars(select(Run)).one()


def _ledger(shop: str, key: str) -> list[dict[str, Any]]:
    rows = httpx2.get(f"{shop}/ledger").json()
    return [row for row in (rows["effects"] if isinstance(rows, dict) else rows) if row["key"] == key]


def _proven(folder: Path) -> None:
    """The bundle verifies here and by the program shipped in it, which knows nothing of us."""
    export.write(folder)
    report = verify.bundle(folder)
    assert report.ok, report.problems
    assert report.size > 10
    alone = subprocess.run([sys.executable, "-I", "verify.py"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert alone.returncode == 0, alone.stdout + alone.stderr


def _approve(operator: Client, proposal: dict[str, Any]) -> int:
    operator.decide(proposal["id"], verdict="approve", digest=proposal["digest"])
    return int(proposal["arguments"]["amount_minor"])


def _edit(operator: Client, proposal: dict[str, Any]) -> int:
    less = proposal["arguments"] | {"amount_minor": proposal["arguments"]["amount_minor"] - 1}
    operator.decide(proposal["id"], verdict="edit", digest=proposal["digest"], arguments=less, reason={"code": "wrong_amount", "note": ""})
    return int(less["amount_minor"])


def _through(desk: tuple[Client, Client, Client], shop: str, folder: Path, decide: Callable[[Client, dict[str, Any]], int]) -> None:
    helpdesk, ana, bo = desk
    ticket = _refund()
    first = helpdesk.create_ticket(**ticket.payload())
    assert helpdesk.create_ticket(**ticket.payload()) == first | {"created": False}, "the same external id gives the first ticket"
    proposal = _first(ana, "issue_refund")
    assert proposal["ticket_external_id"] == ticket.external_id
    assert {name: proposal["arguments"][name] for name in ticket.expected.arguments} == ticket.expected.arguments
    assert _ledger(shop, proposal["id"]) == [], "nothing happens before a person has decided"
    amount = decide(ana, proposal)
    workers.until(lambda: ana.proposal(proposal["id"])["state"] == "SUCCEEDED")
    (effect,) = _ledger(shop, proposal["id"])
    assert (effect["amount_minor"], effect["tool"]) == (amount, "issue_refund")
    with pytest.raises(ApiError) as late:
        bo.decide(proposal["id"], verdict="approve", digest=proposal["digest"])
    assert late.value.status == 409
    run = _finish(ana)
    assert run.state == "DONE", run.reason
    kinds = [kind for kind in work.kinds(proposal["id"]) if kind.startswith("proposal.") and kind != "proposal.pending"]
    assert kinds == ["proposal.proposed", "proposal.approved", "proposal.executing", "proposal.succeeded"]
    assert len(_ledger(shop, proposal["id"])) == 1
    _proven(folder)


@pytest.mark.both_databases
def test_a_ticket_becomes_an_effect_and_a_proof(desk: tuple[Client, Client, Client], shop: str, tmp_path: Path) -> None:
    _through(desk, shop, tmp_path / "bundle", _approve)


def test_what_was_edited_is_what_happens(desk: tuple[Client, Client, Client], shop: str, tmp_path: Path) -> None:
    _through(desk, shop, tmp_path / "bundle", _edit)


def test_a_rejection_reaches_the_agent_and_nothing_happens(desk: tuple[Client, Client, Client], shop: str, tmp_path: Path) -> None:
    helpdesk, ana, _ = desk
    helpdesk.create_ticket(**_refund().payload())
    proposal = _first(ana, "issue_refund")
    ana.decide(proposal["id"], verdict="reject", digest=proposal["digest"], reason={"code": "against_policy", "note": "not this one"})
    run = _finish(ana)
    assert _ledger(shop, proposal["id"]) == []
    told = [str(step.message) for step in run.steps if step.message and step.message.get("role") == "tool"]
    assert any("against_policy" in message and "rejected" in message for message in told)
    assert ana.proposal(proposal["id"])["state"] == "REJECTED"
    _proven(tmp_path / "bundle")
