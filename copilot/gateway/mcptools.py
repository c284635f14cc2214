"""Tools of an MCP server, as tools of ours: only those the tools file lists, as their accepted definition says, nothing else.

    [[mcp]]
    name = "helpdesk"
    command = ["helpdesk-mcp", "--quiet"]           # or: url = "https://mcp.example.com/mcp"
    env = { HELPDESK_KEY = "env:HELPDESK_KEY" }      # with a url: bearer = "env:…", headers = { X-Key = "env:…" }

    [[mcp.tool]]
    name = "add-note"          # theirs
    tool = "add_note"          # ours
    effect = "write"           # said by us: a server's own hints decide nothing
    target = "ticket:{ticket}"

A server promises nothing about repeats, so a write is opaque: when its answer is lost or is an error, a person finds out what
happened. Resources, prompts, sampling, elicitation and roots do not exist here.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from copilot import config
from copilot import db as database
from copilot.db import transaction
from copilot.errors import BadInput, SetupError
from copilot.gateway import entries, mcpcalls, mcphttp, mcppins, mcpstdio, mcpwire, patterns, plainschema, secrets
from copilot.gateway.mcppins import Definition
from copilot.toolkit import Call, Toolbox, ToolDefinitionError, ToolError, ToolRefused

_log = logging.getLogger(__name__)

_LIST = 20.0  # seconds to fetch a list when nobody waits for a call
_ROUND = 60.0

_SERVER = frozenset({"name", "command", "url", "env", "bearer", "headers", "timeout", "tool"})
_PASSED_ON = frozenset({"effect", "risk", "reversible", "timeout", "window", "concurrency", "max_bytes"})
_TOOL = _PASSED_ON | patterns.HOOKS | {"name", "tool", "description", "idempotency", "error_means"}
_ERROR_MEANS = ("unknown", "nothing-happened")

_in_use: dict[str, str] = {}  # our tool's name -> fingerprint of the definition this process goes by
_servers: dict[str, mcpcalls.Server] = {}  # by name


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tool as the tools file has it: their name, ours, and what is said about it."""

    theirs: str
    ours: str
    options: Mapping[str, Any]


def load(entry: Mapping[str, Any], *, name: str) -> Toolbox:
    """The toolbox of one `[[mcp]]` entry. Accepted definitions are kept in the database, so an application must be there.

    A server whose tools were all seen before is not asked, and may be down. SetupError says what to change.
    """
    box = _toolbox(name)
    server, listed = _read(entry, name)
    with database.fresh_context():
        known = mcppins.accepted(each.ours for each in listed)
        missing = [each for each in listed if each.ours not in known]
        if missing:
            _pin(server, missing)
            known = mcppins.accepted(each.ours for each in listed)
    for each in listed:
        _add(box, server, each, known[each.ours], _binding(entry, each))
    if (before := _servers.pop(name, None)) is not None:
        before.wire.close()
    _servers[name] = server
    return box


def suspended(tool: str) -> str | None:
    """Why a foreign tool may not be used now, in a sentence; None when it may, or when it is no MCP server's."""
    return mcppins.suspended(tool, using=_in_use[tool]) if tool in _in_use else None


def look_again() -> None:
    """Ask every server of this process for its tools, for a minute at most, and remember what changed; one that is down is left alone.

    A tool looks by itself before each call; this is for people, who should hear of a change before somebody needs the tool.
    """
    until = time.monotonic() + _ROUND
    for server in list(_servers.values()):
        try:
            _look_at(server, until)
        except (mcpwire.Lost, mcpwire.Said):
            continue
        except Exception:  # noqa: BLE001 - whatever is wrong with one server, the others are looked at all the same
            _log.exception("mcp server %s: what it offers could not be compared", server.name)


def _look_at(server: mcpcalls.Server, until: float) -> None:
    offered = server.offered(seconds=max(0.0, min(_LIST, until - time.monotonic())))
    for ours, theirs in server.tools.items():
        _compare(ours, offered.get(theirs))


def close() -> None:
    """End every connection of this process."""
    while _servers:
        _servers.popitem()[1].wire.close()
    _in_use.clear()


atexit.register(close)


def _toolbox(name: str) -> Toolbox:
    try:
        return Toolbox(name)
    except ToolDefinitionError as error:
        raise SetupError(f"[[mcp]] {error}") from error


def _read(entry: Mapping[str, Any], name: str) -> tuple[mcpcalls.Server, list[_Entry]]:
    """The server and the tools of one entry; SetupError names what makes no sense."""
    unknown = sorted(set(entry) - _SERVER)
    if unknown:
        raise SetupError(f"[[mcp]] {name}: there is no option {unknown[0]}; there are {', '.join(sorted(_SERVER))}.")
    tools = entry.get("tool")
    if not isinstance(tools, list) or not tools:
        raise SetupError(f"[[mcp]] {name}: list the tools that may be used, each as [[mcp.tool]]; no other of the server's exists here.")
    server = mcpcalls.Server(name)
    server.connect(_wire(entry, name, server.changed))
    listed = [_entry(name, each, entry.get("timeout")) for each in tools]
    server.tools.update({each.ours: each.theirs for each in listed})
    if len(server.tools) != len(listed):
        raise SetupError(f"[[mcp]] {name}: two of its tools have the same name here; give one another with tool = …")
    return server, listed


def _wire(entry: Mapping[str, Any], name: str, changed: Callable[[], None]) -> mcpwire.Wire:
    command, url = entry.get("command"), entry.get("url")
    if (command is None) == (url is None):
        raise SetupError(f"[[mcp]] {name}: give either command = [ … ] or url = …")
    if url is not None:
        allow = config.current().outbound_allow
        entries.address(url, "url", where=f"[[mcp]] {name}", allow=allow, example="https://mcp.example.com/mcp")
        references = _references(entry, name, "headers")
        bearer = entry.get("bearer")

        def headers() -> dict[str, str]:
            given = {header: secrets.resolve(reference).reveal() for header, reference in references.items()}
            return given | ({"authorization": f"Bearer {secrets.resolve(bearer).reveal()}"} if bearer else {})

        headers()  # a missing secret is said when Copilot starts, not at the first call
        return mcphttp.Http(name, url, headers, changed=changed)
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise SetupError(f'[[mcp]] {name}: command is a list of words, such as ["helpdesk-mcp", "--quiet"].')
    environ = _references(entry, name, "env")

    def environment() -> dict[str, str]:
        return {variable: secrets.resolve(reference).reveal() for variable, reference in environ.items()}

    environment()
    return mcpstdio.Stdio(name, command, environment, changed=changed)


def _binding(entry: Mapping[str, Any], each: _Entry) -> Mapping[str, Any]:
    """Where a call goes and as whom; secrets stand in it by their references."""
    given = {option: entry[option] for option in ("url", "command", "env", "headers", "bearer") if entry.get(option)}
    return given | {"their_name": each.theirs}


def _references(entry: Mapping[str, Any], name: str, option: str) -> dict[str, str]:
    given = entry.get(option, {})
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        raise SetupError(f'[[mcp]] {name}: {option} is a table of secret references, such as {{ KEY = "env:KEY" }}.')
    return dict(given)


def _entry(server: str, given: Any, timeout: Any) -> _Entry:
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise SetupError(f"[[mcp]] {server}: each [[mcp.tool]] says which of the server's tools it is: name = …")
    theirs = given["name"]
    ours = given.get("tool", theirs.replace("-", "_"))
    where = f"[[mcp]] {server}, tool {theirs}"
    unknown = sorted(set(given) - _TOOL)
    if unknown:
        raise SetupError(f"{where}: there is no option {unknown[0]}; there are {', '.join(sorted(_TOOL))}.")
    if given.get("effect") not in ("read", "write"):
        raise SetupError(f'{where}: say effect = "read" or "write"; what the server says about itself does not count.')
    if given.get("idempotency", "none") != "none":
        raise SetupError(f'{where}: MCP knows no promise about repeats, so idempotency is "none".')
    if given.get("error_means", "unknown") not in _ERROR_MEANS:
        raise SetupError(f"{where}: error_means is {' or '.join(_ERROR_MEANS)}.")
    defaults = {} if timeout is None else {"timeout": timeout}
    return _Entry(theirs, ours, defaults | dict(given))


def _pin(server: mcpcalls.Server, missing: list[_Entry]) -> None:
    """Ask the server for tools nobody saw before, and keep what it says as accepted."""
    try:
        offered = server.offered(seconds=_LIST)
    except (mcpwire.Lost, mcpwire.Said) as error:
        raise SetupError(
            f"The MCP server {server.name} could not be asked for its tools, which were never seen before: {error}. "
            "Mend or start it, then start Copilot again."
        ) from error
    for each in missing:
        if each.theirs not in offered:
            names = ", ".join(sorted(plainschema.cleaned(name, 64) for name in offered)[:40]) or "nothing"
            raise SetupError(f"The MCP server {server.name} has no tool {each.theirs}; it offers {names}.")
        try:
            with transaction():
                mcppins.first_seen(each.ours, source=f"mcp:{server.name}", found=mcppins.definition(offered[each.theirs]))
        except BadInput as error:
            raise SetupError(f"The tool {each.theirs} of the MCP server {server.name} cannot be used: {error}.") from error


def _add(box: Toolbox, server: mcpcalls.Server, each: _Entry, accepted: Definition, binding: Mapping[str, Any]) -> None:
    """Register one tool as its accepted definition says."""
    schema, options = accepted["inputSchema"], each.options
    if "call" in schema.get("properties", {}):
        raise SetupError(
            f"The tool {each.theirs} of the MCP server {server.name} has an argument named call, which Copilot cannot pass on."
        )
    try:
        box.add(
            each.ours,
            _function(server, each, mcppins.fingerprint(accepted), structured=accepted["outputSchema"] is not None),
            description=options.get("description") or accepted["description"] or f"{each.theirs} of {server.name}",
            parameters=schema,
            returns=accepted["outputSchema"],
            source=f"mcp:{server.name}",
            binding=binding,
            **{option: value for option, value in options.items() if option in _PASSED_ON},
            **patterns.hooks(each.ours, options, schema),
        )
    except (ToolDefinitionError, TypeError) as error:
        raise SetupError(f"[[mcp]] {server.name}: {error}") from error
    _in_use[each.ours] = mcppins.fingerprint(accepted)


def _function(server: mcpcalls.Server, each: _Entry, fingerprint: str, *, structured: bool) -> Callable[..., Any]:
    """The tool's function: it calls only while the server still shows the definition that was accepted."""
    writes = each.options["effect"] == "write"
    harmless = each.options.get("error_means") == "nothing-happened"

    def run(*, call: Call, **arguments: Any) -> Any:
        try:
            offered = server.offered(seconds=call.seconds_left(datetime.now(UTC)))
        except (mcpwire.Lost, mcpwire.Said) as error:
            happened = False if writes else None  # for a read, that it cannot be asked is no refusal
            raise ToolError(f"The server {server.name} could not be asked: {error}.", happened=happened) from error
        _compare(each.ours, offered.get(each.theirs))
        with database.fresh_context():
            reason = mcppins.suspended(each.ours, using=fingerprint)
        if reason is not None:
            raise ToolRefused(reason)
        return server.call(each.theirs, arguments, call=call, writes=writes, harmless_errors=harmless, structured=structured)

    return run


def _compare(ours: str, offered: Mapping[str, Any] | None) -> None:
    """Remember it when the server shows something else than was accepted."""
    if offered is None:
        mcppins.saw(ours, None)
        return
    try:
        found = mcppins.definition(offered)
    except BadInput as error:  # it cannot even be shown; nobody can accept it like this
        found = {"name": str(offered.get("name")), "unusable": str(error)}
    mcppins.saw(ours, found)
