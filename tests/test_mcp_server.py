"""`copilot mcp` as an outside agent meets it: over its pipes and over HTTP, against the application behind a real socket."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from click.testing import CliRunner
from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from copilot import cli, processes
from copilot.client import Client
from copilot.db import transaction
from copilot.people import principals, tokens
from tests.support import ROOT, children, workers
from tests.support.people import People

COMMAND = "from copilot.cli import main; main()"
PAY = {"invoice": "I-1", "account": "C-1/main", "amount_minor": 6000, "currency": "EUR"}


@pytest.fixture
def secret(people: People) -> str:
    with transaction():
        return principals.add("outsider", ["*:read", "pay_key:write"], "dee@example.com", drafts=False)


@pytest.fixture
def person(url: str, people: People) -> Iterator[Client]:
    with transaction():
        token = tokens.issue_person(people.bo, "tests")
    with Client(url, token=token, timeout=30) as bo:
        yield bo


def environ(url: str, secret: str) -> dict[str, str]:
    return {"COPILOT_URL": url, "COPILOT_CLIENT_ID": "outsider", "COPILOT_CLIENT_SECRET": secret}


def over_pipes(url: str, secret: str) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=["-c", COMMAND, "mcp"], env=environ(url, secret), cwd=str(ROOT))


def told(result: CallToolResult) -> dict[str, Any]:
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def test_an_outside_agent_reads_proposes_and_hears_the_decision(url: str, secret: str, person: Client) -> None:
    async def talk() -> None:
        async with McpClient(over_pipes(url, secret)) as agent:
            tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
            assert set(tools) == {"pay_key", "read_account", "proposal_status", "wait_for_decision", "withdraw"}
            assert tools["read_account"].annotations is not None
            assert tools["read_account"].annotations.read_only_hint is True
            assert "proposes it" in (tools["pay_key"].description or "")
            assert set(tools["pay_key"].input_schema["required"]) == {"invoice", "account", "amount_minor"}
            read = await agent.call_tool("read_account", {"account": "C-1/main"})
            assert told(read)["result"]["paid_minor"] == 0

            first = told(await agent.call_tool("pay_key", {**PAY, "rationale": "It is due.", "idempotency_key": "k1"}))
            assert (first["outcome"], first["state"], first["approvals_required"]) == ("waiting", "PENDING", 1)
            assert first["url"].endswith(f"/proposals/{first['proposal_id']}")
            again = told(await agent.call_tool("pay_key", {**PAY, "idempotency_key": "k1"}))
            assert again["proposal_id"] == first["proposal_id"]

            waiting = await anyio.to_thread.run_sync(lambda: person.proposals(state="PENDING")["items"][0])
            assert (waiting["rationale"], waiting["arguments"]["memo"]) == ("It is due.", "")
            reason = {"code": "wrong_amount", "note": "Half is paid."}
            await anyio.to_thread.run_sync(lambda: person.decide(waiting["id"], verdict="reject", digest=waiting["digest"], reason=reason))
            heard = await agent.call_tool("wait_for_decision", {"proposal_id": first["proposal_id"], "seconds": 20})
            assert heard.is_error is False
            assert (told(heard)["outcome"], told(heard)["reason"]) == ("rejected", reason)
            assert "Half is paid." in str(heard.content)

    anyio.run(talk)


def test_what_the_gate_or_the_api_refuses_is_an_error_with_its_rule(url: str, secret: str) -> None:
    async def talk() -> None:
        async with McpClient(over_pipes(url, secret)) as agent:
            wrong = await agent.call_tool("pay_key", {**PAY, "amount_minor": "lots", "extra": 1})
            assert wrong.is_error
            assert "amount_minor" in told(wrong)["problems"]
            unknown = await agent.call_tool("pay_opaque", PAY)
            assert unknown.is_error
            assert "no such tool" in str(unknown.content)
            nobody = await agent.call_tool("proposal_status", {"proposal_id": "prop_none"})
            assert (nobody.is_error, told(nobody)["status"]) == (True, 404)
            for odd in ("", " ", "../tickets", "prop_x?wait=30", "a/b", None):
                for about in ("proposal_status", "wait_for_decision", "withdraw"):
                    found = await agent.call_tool(about, {"proposal_id": odd})
                    assert (found.is_error, told(found)["status"]) == (True, 404), (about, odd)
                    assert "There is no such proposal." in str(found.content)
            mine = told(await agent.call_tool("pay_key", PAY))
            back = told(await agent.call_tool("withdraw", {"proposal_id": mine["proposal_id"], "note": "A mistake."}))
            assert (back["outcome"], back["state"]) == ("taken-back", "WITHDRAWN")

    anyio.run(talk)


def test_a_write_the_policy_forbids_names_the_rule(url: str, secret: str) -> None:
    async def talk() -> None:
        async with McpClient(over_pipes(url, secret)) as agent:
            denied = await agent.call_tool("pay_key", {**PAY, "amount_minor": 10_000_000})
            assert denied.is_error
            assert (told(denied)["outcome"], told(denied)["state"], told(denied)["rule"]) == ("denied", "DENIED", "too-large")
            assert "Payments above 10,000.00 are never made here. Rule: too-large." in str(denied.content)

    anyio.run(talk)


@pytest.fixture
def over_http(url: str, secret: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    log = tmp_path / "mcp.log"
    command = [sys.executable, "-c", COMMAND, "mcp", "--http", "0"]
    with children.running(children.start(command, log=log, cwd=ROOT, environ={"PATH": "/usr/bin:/bin", **environ(url, secret)})):
        workers.until(lambda: log.read_text().startswith("{"))
        yield json.loads(log.read_text().splitlines()[0])


def test_over_http_it_listens_on_this_machine_and_wants_its_token(over_http: dict[str, str]) -> None:
    assert over_http["url"].startswith("http://127.0.0.1:")
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert httpx2.post(over_http["url"], json={}, headers=headers, trust_env=False).status_code == 401

    async def talk() -> None:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {over_http['token']}"}, trust_env=False, timeout=30) as http,
            McpClient(streamable_http_client(over_http["url"], http_client=http)) as agent,
        ):
            assert "pay_key" in {tool.name for tool in (await agent.list_tools()).tools}
            assert told(await agent.call_tool("pay_key", PAY))["state"] == "PENDING"

    anyio.run(talk)


def test_without_a_secret_it_says_what_to_set() -> None:
    said = CliRunner().invoke(cli.main, ["mcp", "--client-id", "outsider"])
    assert said.exit_code == 1
    assert "COPILOT_CLIENT_SECRET" in said.output


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "copilot.processes.mcpdoor", raising=False)
    monkeypatch.delattr(processes, "mcpdoor", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    said = CliRunner().invoke(cli.main, ["mcp", "--client-id", "outsider"], env={"COPILOT_CLIENT_SECRET": "x"})
    assert said.exit_code == 1
    assert "pip install 'mcp>=2.3'" in said.output
