"""An agent of the OpenAI Agents SDK whose refunds go through Copilot: the decorated function is an ordinary function tool.

export COPILOT_URL=http://127.0.0.1:8000 COPILOT_CLIENT_ID=refund-desk COPILOT_CLIENT_SECRET=…
export OPENAI_API_KEY=… OPENAI_MODEL=…
python openai_agents.py T-1042 "Order 1403 never arrived. Please send my money back."
"""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

from agents import Agent, OpenAIChatCompletionsModel, RunContextWrapper, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from copilot.client import Client, requires_approval

set_tracing_disabled(True)  # else the SDK sends what it does to its maker


def told(_context: RunContextWrapper[Any], error: Exception) -> str:
    """What the model hears when a proposal was denied or rejected: the sentence, with the reviewer's own words."""
    return f"Not done. {error}"


def agent_for(ticket: str, copilot: Client) -> Agent[Any]:
    """An agent that may look an order up, and may ask for a refund."""

    @function_tool
    def get_order(order_id: str) -> Any:
        """Read one order: its items, amounts in minor units and status."""
        return copilot.read("get_order", arguments={"order_id": order_id}, ticket_id=ticket)

    @function_tool(failure_error_function=told)
    @requires_approval("issue_refund", client=copilot, ticket_id=ticket)
    async def issue_refund(
        order_id: str,
        amount_minor: int,
        currency: Literal["EUR", "GBP", "USD"],
        reason: Literal["damaged", "not_received", "wrong_item", "late", "goodwill"],
    ) -> dict[str, Any]:
        """Refund part or all of an order. A person decides first; this returns when it is done."""
        raise AssertionError("the tool behind the gate runs, never this body")

    model = OpenAIChatCompletionsModel(os.environ["OPENAI_MODEL"], AsyncOpenAI())
    return Agent("Refund desk", instructions="You help a shop's customers.", model=model, tools=[get_order, issue_refund])


def main(ticket: str, letter: str) -> None:
    """Work on one ticket."""
    with Client(
        os.environ["COPILOT_URL"],
        client_id=os.environ["COPILOT_CLIENT_ID"],
        client_secret=os.environ["COPILOT_CLIENT_SECRET"],
    ) as copilot:
        print(Runner.run_sync(agent_for(ticket, copilot), letter).final_output)


if __name__ == "__main__":
    main(*sys.argv[1:])
