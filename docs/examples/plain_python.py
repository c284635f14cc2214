"""An agent in plain Python: a loop around a model, with Copilot between the model and everything it can do.

export COPILOT_URL=http://127.0.0.1:8000 COPILOT_CLIENT_ID=refund-desk COPILOT_CLIENT_SECRET=…
export OPENAI_API_KEY=… OPENAI_MODEL=…
python plain_python.py T-1042 "Order 1403 never arrived. Please send my money back."
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any

from openai import OpenAI

from copilot.client import ApiError, Client, NotDone, perform

INSTRUCTIONS = "You help a shop's customers. Look things up before you act. When something is not done, say so and say why."


def main(ticket: str, letter: str) -> None:
    """Work on one ticket until the model has nothing more to do."""
    model = OpenAI()
    with Client(
        os.environ["COPILOT_URL"],
        client_id=os.environ["COPILOT_CLIENT_ID"],
        client_secret=os.environ["COPILOT_CLIENT_SECRET"],
    ) as copilot:
        tools = copilot.tools()  # only what this agent may use
        effects = {tool["name"]: tool["effect"] for tool in tools}
        messages: list[Any] = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": letter}]
        for _ in range(10):
            said = (
                model.chat.completions.create(
                    model=os.environ["OPENAI_MODEL"],
                    messages=messages,
                    tools=[
                        {"type": "function", "function": {key: tool[key] for key in ("name", "description", "parameters")}}
                        for tool in tools
                    ],
                )
                .choices[0]
                .message
            )
            messages.append(said.model_dump(exclude_none=True))
            if not said.tool_calls:
                print(said.content)
                return
            for call in said.tool_calls:
                name, arguments = call.function.name, json.loads(call.function.arguments)
                answer = act(copilot, effects.get(name, "write"), name, arguments, ticket)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": answer})


def act(copilot: Client, effect: str, name: str, arguments: dict[str, Any], ticket: str) -> str:
    """Read at once; propose what changes something, wait for the decision, and tell the model how it ended."""
    try:
        if effect == "read":
            return json.dumps(copilot.read(name, arguments=arguments, ticket_id=ticket))
        once = hashlib.sha256(json.dumps([ticket, name, arguments], sort_keys=True).encode()).hexdigest()
        done = perform(
            copilot, name, arguments=arguments, ticket_id=ticket, idempotency_key=once
        )  # started again, it finds the same proposal
        note = "A reviewer changed the arguments." if done.edited else "It was approved."
        return json.dumps({"note": note, "arguments": done.arguments, "result": done.result})
    except (NotDone, ApiError) as no:
        return f"Not done. {no}"


if __name__ == "__main__":
    main(*sys.argv[1:])
