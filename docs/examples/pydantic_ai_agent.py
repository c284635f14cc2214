"""A Pydantic AI agent whose refunds go through Copilot.

export COPILOT_URL=http://127.0.0.1:8000 COPILOT_CLIENT_ID=refund-desk COPILOT_CLIENT_SECRET=…
export OPENAI_API_KEY=… OPENAI_MODEL=…
python pydantic_ai_agent.py T-1042 "Order 1403 never arrived. Please send my money back."
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

from openai import AsyncOpenAI
from pydantic_ai import Agent, RunContext
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from copilot.client import Client, NotDone, perform


@dataclass(frozen=True)
class Desk:
    """What the tools need: the way to Copilot, and the ticket this is about."""

    copilot: Client
    ticket: str


agent = Agent(deps_type=Desk, instructions="You help a shop's customers. When something is not done, say so and say why.")


@agent.tool
async def get_order(context: RunContext[Desk], order_id: str) -> Any:
    """Read one order: its items, amounts in minor units and status."""
    desk = context.deps
    return await asyncio.to_thread(desk.copilot.read, "get_order", arguments={"order_id": order_id}, ticket_id=desk.ticket)


@agent.tool
async def issue_refund(
    context: RunContext[Desk],
    order_id: str,
    amount_minor: int,
    currency: Literal["EUR", "GBP", "USD"],
    reason: Literal["damaged", "not_received", "wrong_item", "late", "goodwill"],
) -> dict[str, Any]:
    """Refund part or all of an order. A person decides first; this returns when it is done."""
    desk = context.deps
    arguments = {"order_id": order_id, "amount_minor": amount_minor, "currency": currency, "reason": reason}
    try:
        done = await asyncio.to_thread(perform, desk.copilot, "issue_refund", arguments=arguments, ticket_id=desk.ticket)
    except NotDone as no:
        return {"done": False, "why": str(no)}
    return {"done": True, "edited_by_a_reviewer": done.edited, "arguments": done.arguments, "result": done.result}


def main(ticket: str, letter: str) -> None:
    """Work on one ticket."""
    model = OpenAIChatModel(os.environ["OPENAI_MODEL"], provider=OpenAIProvider(openai_client=AsyncOpenAI()))
    with Client(
        os.environ["COPILOT_URL"],
        client_id=os.environ["COPILOT_CLIENT_ID"],
        client_secret=os.environ["COPILOT_CLIENT_SECRET"],
    ) as copilot:
        print(agent.run_sync(letter, model=model, deps=Desk(copilot, ticket)).output)


if __name__ == "__main__":
    main(*sys.argv[1:])
