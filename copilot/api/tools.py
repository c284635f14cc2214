"""Tools: what this caller may use, and reads through the gate."""

from __future__ import annotations

from flask import Response

from copilot import db as database
from copilot.agents import intake
from copilot.api import answers, bodies, edge
from copilot.api.edge import bp
from copilot.autonomy import grants
from copilot.gate import facts, identity, tools
from copilot.gateway import reads
from copilot.people.tokens import Principal
from copilot.toolkit import Tool


@bp.get("/tools")
def list_tools() -> Response:
    """The tools this agent's token covers, with their JSON Schemas; for a person, all."""
    known = edge.caller()
    listed = tools.current().all()
    if isinstance(known, Principal):
        listed = tuple(tool for tool in listed if identity.allows_somewhere(known.scopes, tool.name, tool.effect))
    return answers.reply(
        answers.ToolsAnswer(items=[_tool(tool, known.agent_id if isinstance(known, Principal) else None) for tool in listed])
    )


@bp.post("/tools/<name>")
def read(name: str) -> Response:
    """The result of a read. 409 for a write: that is proposed, on every path."""
    principal = edge.agent()
    tool = tools.current().get(name)
    sent = edge.body(bodies.ReadBody)
    if tool.effect == "read":
        edge.require(principal, tool.name, "read", somewhere=True)
    ticket_id = intake.by_either_id(sent.ticket_id).id if sent.ticket_id else None
    came = facts.Origin(session=f"{principal.agent_id}:{ticket_id}" if ticket_id else principal.agent_id, token_scopes=principal.scopes)
    database.read_again()
    result = reads.call(tool.name, sent.arguments, agent_id=principal.agent_id, ticket_id=ticket_id, origin=came)
    return answers.reply(answers.ReadAnswer(tool=tool.name, result=result))


def _tool(tool: Tool, agent_id: str | None) -> answers.ToolAnswer:
    return answers.ToolAnswer(
        name=tool.name,
        description=tool.description,
        effect=tool.effect,
        risk=tool.risk,
        reversible=tool.reversible,
        idempotency=sorted(tool.idempotency),
        parameters=dict(tool.parameters),
        level=grants.level(agent_id, tool.name) if agent_id and tool.effect == "write" else None,
    )
