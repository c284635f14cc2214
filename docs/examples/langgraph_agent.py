"""A LangGraph graph with Copilot as the step between drafting and done: a rejected draft goes back with the reviewer's reason.

export COPILOT_URL=http://127.0.0.1:8000 COPILOT_CLIENT_ID=refund-desk COPILOT_CLIENT_SECRET=…
export OPENAI_API_KEY=… OPENAI_MODEL=…
python langgraph_agent.py T-1042 "Order 1403 never arrived. Please send my money back."
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from openai import OpenAI

from copilot.client import Client, NotDone, Rejected, perform

MOST_DRAFTS = 3


class Work(TypedDict, total=False):
    """What the graph carries from step to step."""

    ticket: str
    messages: list[Any]
    call_id: str
    draft: dict[str, Any]
    drafts: int
    rejected: bool
    outcome: str


def graph(copilot: Client) -> Any:
    """Draft, ask, and either end or draft again."""
    model = OpenAI()
    tool = next(tool for tool in copilot.tools() if tool["name"] == "issue_refund")
    offered: Any = [{"type": "function", "function": {key: tool[key] for key in ("name", "description", "parameters")}}]

    def draft(work: Work) -> Work:
        """Let the model write the refund's arguments."""
        asked = (
            model.chat.completions.create(
                model=os.environ["OPENAI_MODEL"], messages=work["messages"], tools=offered, tool_choice="required"
            )
            .choices[0]
            .message
        )
        call = (asked.tool_calls or [])[0]
        return {
            "messages": [*work["messages"], asked.model_dump(exclude_none=True)],
            "call_id": call.id,
            "draft": json.loads(call.function.arguments),
            "drafts": work.get("drafts", 0) + 1,
        }

    def ask(work: Work) -> Work:
        """Propose it and wait: the refund itself is made behind the gate, with what was approved."""
        key = f"{work['ticket']}-draft-{work['drafts']}"  # a graph that is resumed finds the same proposal
        rejected = False
        try:
            done = perform(copilot, "issue_refund", arguments=work["draft"], ticket_id=work["ticket"], idempotency_key=key)
            outcome = f"Refunded {done.arguments['amount_minor'] / 100:.2f} {done.arguments['currency']}."
        except Rejected as no:
            outcome, rejected = str(no), True
        except NotDone as no:
            outcome = f"Not done. {no}"
        heard = {"role": "tool", "tool_call_id": work["call_id"], "content": outcome}
        return {"messages": [*work["messages"], heard], "outcome": outcome, "rejected": rejected}

    def next_step(work: Work) -> str:
        """Draft again with the reviewer's words, a few times at most."""
        return "draft" if work["rejected"] and work["drafts"] < MOST_DRAFTS else END

    made = StateGraph(Work)
    made.add_node("draft", draft)
    made.add_node("ask", ask)
    made.add_edge(START, "draft")
    made.add_edge("draft", "ask")
    made.add_conditional_edges("ask", next_step, ["draft", END])
    return made.compile()


def main(ticket: str, letter: str) -> None:
    """Work on one ticket."""
    with Client(
        os.environ["COPILOT_URL"],
        client_id=os.environ["COPILOT_CLIENT_ID"],
        client_secret=os.environ["COPILOT_CLIENT_SECRET"],
    ) as copilot:
        print(graph(copilot).invoke({"ticket": ticket, "messages": [{"role": "user", "content": letter}]})["outcome"])


if __name__ == "__main__":
    main(*sys.argv[1:])
