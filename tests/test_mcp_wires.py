"""The two wires to MCP servers, at their edges: what a lost message proves, and what it does not."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from copilot import config
from copilot.errors import BadInput
from copilot.gateway import mcpcalls, mcphttp, mcppins, mcpstdio, mcptools, mcpwire, secrets
from copilot.toolkit import Call, ToolError
from tests.support import ROOT, workers
from tests.support.mcp_far_end import ECHO, NOTE

FAR_END = ROOT / "tests" / "support" / "mcp_far_end.py"

DEAF = """
import json, sys, time
hello = json.loads(sys.stdin.readline())
result = {"protocolVersion": "2025-06-18", "capabilities": {}}
print(json.dumps({"jsonrpc": "2.0", "id": hello["id"], "result": result}), flush=True)
sys.stdin.readline()
time.sleep(120)
"""


def quiet() -> None:
    """Nobody hears of a changed list."""


def test_a_server_that_stops_reading_is_ended_and_nothing_happened() -> None:
    server = mcpstdio.Stdio("deaf", [sys.executable, "-c", DEAF], dict, changed=quiet)
    try:
        with pytest.raises(mcpwire.Lost, match="stopped reading") as caught:
            server.ask("tools/call", {"name": "x", "arguments": {"text": "x" * 3_000_000}}, seconds=6)
        assert caught.value.sent is False
        life = server._life
        assert life is not None
        assert life._child is not None
        with pytest.raises(mcpwire.Lost) as caught:
            life.ask("tools/list", {}, float("inf"))
        assert caught.value.sent is False, "nothing follows half a line"
        workers.until(lambda: life._child is not None and life._child.poll() is not None)
        assert not life.alive
    finally:
        server.close()


def test_what_a_server_writes_for_its_own_log_holds_no_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = "it's a \\ key-4711"
    monkeypatch.setenv("FAR_KEY", secret)
    script = "import os, sys; print('x' * 490, os.environ['KEY'], 'end', file=sys.stderr, flush=True)"
    given = {"KEY": secrets.resolve("env:FAR_KEY").reveal()}
    server = mcpstdio.Stdio("loud", [sys.executable, "-c", script], lambda: given, changed=quiet)
    with caplog.at_level("INFO"), pytest.raises(mcpwire.Lost):
        server.ask("tools/list", {}, seconds=20)
    workers.until(lambda: "[secret" in caplog.text)
    assert "4711" not in caplog.text
    assert "it's" not in caplog.text


# ---- over HTTP

Plan = Callable[[dict[str, Any]], tuple[int, Any]]


@contextmanager
def elsewhere(plan: Plan) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server whose answers are planned; gives its address and every message it gets."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(message)
            status, content = plan(message)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if isinstance(content, bytes) else "application/json")
            self.send_header("Mcp-Session-Id", "one")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp", seen
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"COPILOT_DATA_DIR": str(tmp_path), "SECRET_KEY": "x" * 40, "COPILOT_OUTBOUND_ALLOW": "127.0.0.1"}
    monkeypatch.setattr(config, "_current", config.load(environ))


def greeted(message: Mapping[str, Any]) -> tuple[int, Any] | None:
    if message["method"] == "initialize":
        return 200, {"jsonrpc": "2.0", "id": message["id"], "result": {"protocolVersion": "2025-06-18", "capabilities": {}}}
    return (202, {}) if message["method"].startswith("notifications/") else None


def no_headers() -> dict[str, str]:
    return {}


PROOFS = [(status, True) for status in (400, 401, 403, 405, 406, 413, 415, 429)]
GUESSES = [(status, False) for status in (301, 303, 307, 408, 409, 410, 422, 425, 451, 500, 502, 503, 504)]


@pytest.mark.parametrize(("status", "proves"), PROOFS + GUESSES)
def test_only_a_status_that_proves_it_says_that_nothing_happened(status: int, proves: bool) -> None:
    with elsewhere(lambda message: greeted(message) or (status, {})) as (url, seen):
        wire = mcphttp.Http("far", url, no_headers, changed=quiet)
        with pytest.raises(mcpwire.Lost) as caught:
            wire.ask("tools/call", {"name": "pay"}, seconds=10)
    assert caught.value.sent is not proves
    assert [each["method"] for each in seen].count("tools/call") == 1


def test_a_write_behind_a_redirect_is_unknown() -> None:
    with elsewhere(lambda message: greeted(message) or (307, {})) as (url, _):
        server = mcpcalls.Server("far")
        server.connect(mcphttp.Http("far", url, no_headers, changed=quiet))
        call = Call(idempotency_key="k", deadline=datetime.now(UTC) + timedelta(seconds=10), agent="a")
        with pytest.raises(ToolError) as caught:
            server.call("pay", {}, call=call, writes=True, harmless_errors=False, structured=False)
    assert caught.value.happened is None


@pytest.mark.parametrize("status", [404, 500, 403])
def test_an_answer_of_ours_that_does_not_arrive_says_nothing_of_our_question(status: int) -> None:
    """A server that asks us something and then does not take our no has still run the call; asking again would run it twice."""

    def plan(message: dict[str, Any]) -> tuple[int, Any]:
        if "method" not in message:
            return status, {}
        wish = {"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage", "params": {}}
        done = {"jsonrpc": "2.0", "id": message.get("id"), "result": {"content": []}}
        events = "".join(f"data: {json.dumps(each)}\n\n" for each in (wish, done))
        return greeted(message) or (200, events.encode())

    with elsewhere(plan) as (url, seen):
        wire = mcphttp.Http("far", url, no_headers, changed=quiet)
        assert wire.ask("tools/call", {"name": "pay"}, seconds=10) == {"content": []}
    assert [each.get("method") for each in seen].count("tools/call") == 1


# ---- a secret that is gone


def test_a_secret_that_is_gone_means_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GONE_KEY", raising=False)

    def given() -> dict[str, str]:
        return {"x-key": secrets.resolve("env:GONE_KEY").reveal()}

    wires: tuple[mcpwire.Wire, ...] = (
        mcphttp.Http("far", "http://127.0.0.1:9/mcp", given, changed=quiet),
        mcpstdio.Stdio("far", [sys.executable, "-c", DEAF], given, changed=quiet),
    )
    for wire in wires:
        with pytest.raises(mcpwire.Lost, match="GONE_KEY") as caught:
            wire.ask("tools/list", {}, seconds=5)
        assert caught.value.sent is False


def test_one_broken_server_keeps_nobody_from_looking_at_the_others(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAR_KEY", "far-key-4711")
    folders = {name: tmp_path / name for name in ("one", "two", "six")}
    try:
        for name, folder in folders.items():
            folder.mkdir()
            (folder / "plan.json").write_text(json.dumps({"tools": [ECHO, NOTE]}))
            listed = [{"name": "add-note", "tool": f"note_{name}", "effect": "write"}]
            command = [sys.executable, str(FAR_END), str(folder)]
            mcptools.load({"command": command, "env": {"KEY": "env:FAR_KEY"}, "tool": listed}, name=name)
            (folder / "plan.json").write_text(json.dumps({"tools": [ECHO, {**NOTE, "description": "Another."}]}))
        monkeypatch.delenv("FAR_KEY")  # what the file refers to is gone by now
        mcptools._servers["one"].wire.close()
        mcptools._servers["one"].changed()
        mcptools._servers["six"].changed()

        def broken(**_: Any) -> Any:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(mcptools._servers["two"], "offered", broken)
        mcptools.look_again()
        assert mcptools.suspended("note_one") is None
        assert mcptools.suspended("note_six") is not None
        assert "mcp server two" in caplog.text
    finally:
        mcptools.close()


def test_a_definition_whose_arguments_are_no_table_is_refused() -> None:
    with pytest.raises(BadInput, match="which arguments"):
        mcppins.definition({**NOTE, "inputSchema": {"type": "object", "properties": None}})
