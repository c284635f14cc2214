"""An MCP server that does what a file says, well or badly: `python mcp_far_end.py FOLDER`, over its pipes, standard library only.

FOLDER/plan.json holds `tools` (its list) and `do` (tool -> how it behaves); it is read anew for every message. FOLDER/notes
gets a line for every effect, FOLDER/seen one for every message, FOLDER/starts one for every start.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

ECHO = {
    "name": "echo",
    "description": "Say it again.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 500}}, "required": ["text"]},
    "outputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "annotations": {"readOnlyHint": True},
}
NOTE = {
    "name": "add-note",
    "description": "Add a note to a ticket.",
    "inputSchema": {
        "type": "object",
        "properties": {"ticket": {"type": "string"}, "text": {"type": "string", "maxLength": 2000}},
        "required": ["ticket", "text"],
    },
}


def main(folder: Path) -> None:
    """Answer until the input ends."""
    _add(folder / "starts", "start")
    for line in sys.stdin:
        message = json.loads(line)
        _add(folder / "seen", line.strip())
        plan = json.loads((folder / "plan.json").read_text())
        if "id" in message and "method" in message:
            _answer(message, plan, folder)


def _answer(message: dict[str, Any], plan: dict[str, Any], folder: Path) -> None:
    method, params = message["method"], message.get("params") or {}
    if method == "initialize":
        _say(message, {"protocolVersion": plan.get("version", "2025-06-18"), "capabilities": {"tools": {}}, "serverInfo": {"name": "far"}})
    elif method == "tools/list":
        at = int(params.get("cursor", 0))
        page: dict[str, Any] = {"tools": plan["tools"][at : at + 1]}
        if at + 1 < len(plan["tools"]):
            page["nextCursor"] = str(at + 1)
        _say(message, page)
    elif method == "tools/call":
        _call(message, plan.get("do", {}).get(params["name"], ""), params, folder)


def _call(message: dict[str, Any], how: str, params: dict[str, Any], folder: Path) -> None:
    arguments = params["arguments"]
    if how == "refuse":
        _out({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": "No such ticket."}})
        return
    if params["name"] == "add-note":
        _add(folder / "notes", arguments["text"])
    if how == "error":
        _say(message, {"isError": True, "content": [{"type": "text", "text": "It broke."}]})
    elif how == "die":
        sys.exit(1)
    elif how == "hang":
        time.sleep(30)
    elif how == "huge":
        _say(message, {"structuredContent": {"text": "x" * 100_000}, "content": []})
    elif how == "flood":
        sys.stdout.write("x" * 5_000_000)
        sys.stdout.flush()
        time.sleep(30)
    elif how == "wish":  # something we do not offer, and then an answer all the same
        _out({"jsonrpc": "2.0", "id": 77, "method": "sampling/createMessage", "params": {"messages": []}})
        _out({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        sys.stdout.write("this is no JSON\n")
        _say(message, {"structuredContent": {"text": "wished"}, "content": []})
    elif params["name"] == "echo" and how != "plain":
        _say(message, {"structuredContent": {"text": arguments["text"]}, "content": []})
    else:
        _say(message, {"content": [{"type": "text", "text": "noted"}, {"type": "image", "data": "", "mimeType": "image/png"}]})


def _say(message: dict[str, Any], result: dict[str, Any]) -> None:
    _out({"jsonrpc": "2.0", "id": message["id"], "result": result})


def _out(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _add(file: Path, line: str) -> None:
    with file.open("a") as out:
        out.write(line + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
