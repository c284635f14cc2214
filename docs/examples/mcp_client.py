"""An agent that knows nothing of Copilot but speaks MCP: it starts `copilot mcp` and uses whatever tools are offered.

export COPILOT_URL=http://127.0.0.1:8000 COPILOT_CLIENT_ID=refund-desk COPILOT_CLIENT_SECRET=…
export OPENAI_API_KEY=… OPENAI_MODEL=…
python mcp_client.py T-1042 "Order 1403 never arrived. Please send my money back."
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from openai import AsyncOpenAI

INSTRUCTIONS = "You help a shop's customers. Pass wait_seconds=300 to whatever changes something, and ticket_id={ticket} to every tool."


async def work(ticket: str, letter: str) -> None:
    """Work on one ticket until the model has nothing more to do."""
    credentials = {name: os.environ[name] for name in ("COPILOT_URL", "COPILOT_CLIENT_ID", "COPILOT_CLIENT_SECRET")}
    model = AsyncOpenAI()
    async with Client(StdioServerParameters(command="copilot", args=["mcp"], env=credentials)) as copilot:
        listed = (await copilot.list_tools()).tools
        offered: Any = [
            {"type": "function", "function": {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}}
            for tool in listed
        ]
        messages: list[Any] = [{"role": "system", "content": INSTRUCTIONS.format(ticket=ticket)}, {"role": "user", "content": letter}]
        for _ in range(10):
            answer = await model.chat.completions.create(model=os.environ["OPENAI_MODEL"], messages=messages, tools=offered)
            said = answer.choices[0].message
            messages.append(said.model_dump(exclude_none=True))
            if not said.tool_calls:
                print(said.content)
                return
            for call in said.tool_calls:
                result = await copilot.call_tool(call.function.name, json.loads(call.function.arguments))
                text = "\n".join(block.text for block in result.content if block.type == "text")
                messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
