"""The MCP side of `copilot mcp`: the SDK's server over standard input and output or over HTTP on this machine only."""

from __future__ import annotations

import functools
import hmac
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio
import uvicorn
from anyio import to_thread
from mcp import types
from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from copilot.client import ApiError, Client
from copilot.processes import mcpoffer
from copilot.processes.mcpoffer import Offer, Told

_FRESH = 60.0  # seconds for which the agent's list of tools is kept
_INSTRUCTIONS = (
    "These tools act through Copilot. Reads answer at once. Everything that changes something is proposed first and done only "
    "after rules or people have approved it; a person may change the arguments, so go on with those in the answer. "
    "When a proposal is rejected, take the reason to heart and do not propose the same again."
)

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def serve_stdio(client: Client) -> None:
    """Serve one agent over standard input and output until it hangs up."""

    async def run() -> None:
        server = _server(client)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(run)


def serve_http(client: Client, *, port: int) -> None:
    """Serve on 127.0.0.1 until told to stop; port 0 takes any free one, and the address is printed."""
    given = os.environ.get("COPILOT_MCP_TOKEN", "").strip()
    token = given or secrets.token_urlsafe(32)
    with socket.create_server(("127.0.0.1", port)) as listener:
        said = {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", **({} if given else {"token": token})}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        app = _guarded(_server(client).streamable_http_app(host="127.0.0.1", stateless_http=True, json_response=True), token)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


def _server(client: Client) -> Server[Any]:
    known: dict[str, Offer] = {}
    until = 0.0

    async def offers(*, fresh: bool) -> dict[str, Offer]:
        nonlocal known, until
        if fresh or time.monotonic() >= until:
            known = await to_thread.run_sync(mcpoffer.offers, client)
            until = time.monotonic() + _FRESH
        return known

    async def list_tools(_context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(offer) for offer in (await offers(fresh=True)).values()])

    async def call_tool(_context: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            offer = (await offers(fresh=False)).get(params.name) or (await offers(fresh=True)).get(params.name)
        except ApiError as error:
            return _result(mcpoffer.refused(error))
        if offer is None:
            return _result(Told("There is no such tool, or it is not one of yours. List the tools to see which are.", {}, error=True))
        return _result(await to_thread.run_sync(functools.partial(mcpoffer.call, client, offer, params.arguments or {})))

    try:
        number = version("copilot")
    except PackageNotFoundError:  # run from a folder nobody installed
        number = "0"
    return Server("copilot", version=number, instructions=_INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool)


def _tool(offer: Offer) -> types.Tool:
    reads = offer.effect == "read" or offer.name == "proposal_status" or offer.name == "wait_for_decision"
    hints = types.ToolAnnotations(read_only_hint=reads, destructive_hint=not reads and not offer.reversible, open_world_hint=False)
    return types.Tool(name=offer.name, description=offer.description, input_schema=offer.schema, annotations=hints)


def _result(told: Told) -> types.CallToolResult:
    data = json.dumps(told.data, ensure_ascii=False)
    text = f"{told.sentence}\n{data}" if told.sentence else data
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=told.data, is_error=told.error)


def _guarded(app: Asgi, token: str) -> Asgi:
    """The same application for whoever knows the token: other programs and users of this machine reach the port too."""
    wanted = f"Bearer {token}".encode()

    async def guarded(scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        sent = dict(scope.get("headers") or []).get(b"authorization", b"")
        if scope["type"] == "http" and not hmac.compare_digest(sent, wanted):
            headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b'Bearer realm="copilot-mcp"')]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"A bearer token is needed.\n"})
            return
        await app(scope, receive, send)

    return guarded
