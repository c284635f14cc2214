"""The ReAct approach: the model thinks, reads, thinks again, until it wants one action or is done.

The conversation is the state: a claim that died in the middle is picked up where its written steps end. Knows neither
database nor job; reads go through the gate, and every text goes through redaction on its way to the model.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from copilot.agents import llm, lookups, prompts, strict
from copilot.agents.drafts import ChatMessage, Ending, Entry, Finished, Record, Stuck, Wants, Work, storable
from copilot.audit import redaction
from copilot.errors import BadInput
from copilot.gate import schema
from copilot.toolkit import Tool

SECONDS = 45.0  # for one claim: shorter than its lease
MOST_MODEL_CALLS = 12
MOST_TOKENS = 60_000
_SAME_READ = 3
_BAD_ANSWERS = 2  # told back to the model; the next one ends the run
_GIVEN_UP = frozenset({"injection", "duplicate"})  # reasons for a rejection that leave nothing to be done

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NOT_JSON = "not_json"  # stands in the conversation for arguments that were none: some servers parse what we send back


@dataclass(slots=True)
class _Desk:
    """What one claim has in front of it; the only thing here that changes."""

    work: Work
    record: Record
    deadline: float
    messages: list[ChatMessage]
    marks: Mapping[str, str]
    tokens: int
    bad_answers: int = 0
    reads: Counter[str] = field(default_factory=Counter)

    def hide(self, value: Any) -> Any:
        """The value as the model may see it; new marks are remembered."""
        hidden = redaction.redact_value(storable(value), known=self.work.known, marks=self.marks)
        self.marks = hidden.marks
        return hidden.text

    def keep(self, value: Any) -> Any:
        """What the model wrote, as it is kept and sent back: its marks stay, anything personal it made up goes."""
        kept = redaction.redact_marked(storable(value), known=self.work.known, marks=self.marks)
        self.marks = kept.marks
        return kept.text

    def write(self, entries: Sequence[Entry]) -> None:
        """Write steps down, then go on from them: what is not recorded has not happened."""
        self.record(entries, self.marks)
        self.messages += [entry.message for entry in entries if entry.message is not None]


@dataclass(frozen=True, slots=True)
class _Called:
    """One tool call of the model, judged: with the tool and its real arguments, or what is wrong with it."""

    call_id: str
    tool: Tool | None
    arguments: dict[str, Any]
    problem: dict[str, Any] | None = None


def draft(work: Work, *, record: Record) -> Ending:
    """Work on the conversation until the agent wants an action, is done, or a person has to go on.

    Talks to the model and to tools, so no transaction may be open; `record` writes each step and raises when the claim
    is lost, and what it raises comes out of here.
    """
    desk = _Desk(work, record, time.monotonic() + SECONDS, list(work.messages), work.marks, work.tokens)
    while True:
        last = desk.messages[-1]
        pending = _unanswered(desk.messages)
        if pending:
            ending = _serve(desk, pending)
        elif last["role"] == "assistant":
            return _closed(desk, last)
        else:
            ending = _ask(desk)
        if ending is not None:
            return ending


def _unanswered(messages: Sequence[ChatMessage]) -> list[Mapping[str, Any]]:
    """The calls of the last assistant message that have no answer yet; nothing after a later user message."""
    answered = set()
    for message in reversed(messages):
        if message["role"] == "tool":
            answered.add(message["tool_call_id"])
        elif message["role"] == "assistant":
            return [call for call in message.get("tool_calls", ()) if call["id"] not in answered]
        else:
            return []
    return []


# ---- asking the model


def _ask(desk: _Desk) -> Stuck | None:
    turn = sum(message["role"] == "assistant" for message in desk.messages)
    if turn >= MOST_MODEL_CALLS:
        return Stuck("step-limit", f"The agent asked the model {MOST_MODEL_CALLS} times without coming to an end.")
    tools = [strict.definition(tool) for tool in desk.work.tools]
    size = len(json.dumps([desk.messages, tools], ensure_ascii=False)) // 4
    if desk.tokens + size > MOST_TOKENS:
        return Stuck("token-limit", f"The agent used up its {MOST_TOKENS:,} tokens without coming to an end.")
    if time.monotonic() >= desk.deadline:
        return Stuck("too-slow", "The draft was not ready in time.")
    answer = llm.complete(desk.messages, tools=tools, deadline=desk.deadline)
    if isinstance(answer, llm.NoAnswer):
        details = {"code": answer.code}
        desk.write([Entry("note", None, details, None, answer.milliseconds, answer.input_tokens, answer.output_tokens)])
        return Stuck(answer.code, answer.reason)
    spent_in, spent_out = answer.input_tokens or size, answer.output_tokens or len(answer.text) // 4
    desk.tokens += spent_in + spent_out
    message = _kept(desk, answer, turn)
    desk.write([Entry("model", message, {}, None, answer.milliseconds, spent_in, spent_out, answer.model)])
    return None


def _kept(desk: _Desk, answer: llm.Answer, turn: int) -> ChatMessage:
    """The model's answer as it is kept and sent back: redacted, and with call ids of our own, unique within the run."""
    message: ChatMessage = {"role": "assistant", "content": desk.keep(answer.text) or None}
    calls = []
    for place, call in enumerate(answer.calls):
        function = {
            "name": call.name if _TOOL_NAME.match(call.name) else "no_such_tool",
            "arguments": json.dumps(desk.keep(_parsed(call.arguments)), ensure_ascii=False),
        }
        calls.append({"id": f"call_{turn}_{place}", "type": "function", "function": function})
    if calls:
        message["tool_calls"] = calls
    return message


def _parsed(text: str) -> dict[str, Any]:
    """The arguments as an object, or an object that says they were none."""
    try:
        value = json.loads(text or "{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return {_NOT_JSON: text[:500]}
    return value if isinstance(value, dict) else {_NOT_JSON: text[:500]}


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


# ---- serving its calls


def _serve(desk: _Desk, pending: Sequence[Mapping[str, Any]]) -> Wants | Stuck | None:
    called = [_judged(desk, call) for call in pending]
    writes = [call for call in called if call.tool is not None and call.tool.effect == "write"]
    to_read = [call for call in called if call.tool is not None and call.tool.effect == "read"]
    bad = [call for call in called if call.tool is None]
    if bad and not writes and not to_read:
        desk.bad_answers += 1
        if desk.bad_answers > _BAD_ANSWERS:
            return Stuck("model-invalid", "The model kept calling tools in ways they cannot be called.")
    else:
        desk.bad_answers = 0
    if _circles(desk, to_read):
        return Stuck("loop", "The agent kept reading the same thing without getting on.")
    answers = _read_all(desk, to_read)
    answers += [_told(desk, call.call_id, call.problem or {}, call.tool) for call in bad]
    answers += [_told(desk, call.call_id, _ONE_AT_A_TIME, call.tool) for call in writes[1:]]
    if answers:
        desk.write(answers)
    return _wanted(desk, writes[0]) if writes else None


_ONE_AT_A_TIME = prompts.error("one-at-a-time", "One action at a time: this one was not proposed. Wait for the outcome of the other.")


def _judged(desk: _Desk, call: Mapping[str, Any]) -> _Called:
    """One call with its tool and real arguments, or the problem the model is told."""
    call_id, name = call["id"], call["function"]["name"]
    given = json.loads(call["function"]["arguments"])
    tool = next((tool for tool in desk.work.tools if tool.name == name), None)
    if tool is None:
        return _Called(call_id, None, {}, prompts.error("unknown-tool", f"There is no tool {name} for you."))
    if set(given) == {_NOT_JSON}:
        return _Called(call_id, None, {}, prompts.error("invalid-json", "The arguments are no JSON object, or too long."))
    invented = redaction.unknown_marks(given, desk.marks)
    if invented:
        message = f"Nobody gave you {', '.join(invented[:5])}; use only marks you were given."
        return _Called(call_id, None, {}, prompts.error("unknown-mark", message))
    try:
        real = redaction.restore(strict.relaxed(tool.parameters, given), desk.marks)
        return _Called(call_id, tool, schema.normalise(tool, real))
    except BadInput as problem:
        return _Called(call_id, None, {}, prompts.error("invalid-arguments", str(problem), problem.problems))
    except RecursionError:
        return _Called(call_id, None, {}, prompts.error("invalid-arguments", "The arguments are nested too deeply."))


def _circles(desk: _Desk, calls: Sequence[_Called]) -> bool:
    for call in calls:
        assert call.tool is not None
        same = f"{call.tool.name} {json.dumps(call.arguments, sort_keys=True)}"
        desk.reads[same] += 1
        if desk.reads[same] >= _SAME_READ:
            return True
    return False


def _wanted(desk: _Desk, call: _Called) -> Wants:
    said = next(message for message in reversed(desk.messages) if message["role"] == "assistant")
    text, confidence = prompts.rationale(said.get("content") or "")
    assert call.tool is not None
    return Wants(call.tool.name, call.arguments, redaction.restore(text, desk.marks), confidence, call.call_id)


def _read_all(desk: _Desk, calls: Sequence[_Called]) -> list[Entry]:
    asked = [lookups.Lookup(call.tool.name, call.arguments) for call in calls if call.tool is not None]
    found = lookups.run(asked, agent_id=desk.work.agent_id, ticket_id=desk.work.ticket_id, run_id=desk.work.run_id, deadline=desk.deadline)
    return [_told(desk, call.call_id, one.answer, call.tool, one.milliseconds) for call, one in zip(calls, found, strict=True)]


def _told(desk: _Desk, call_id: str, answer: Any, tool: Tool | None, milliseconds: int = 0) -> Entry:
    """The step that answers one call, redacted."""
    failed = answer["error"] if isinstance(answer, dict) and isinstance(answer.get("error"), dict) else {}
    details = {"tool": tool.name if tool else None, "code": failed.get("code", "ok")}
    kind = "read" if tool is not None and tool.effect == "read" else "note"
    return Entry(kind, prompts.answer(call_id, desk.hide(answer)), details, None, milliseconds)


# ---- the end


def _closed(desk: _Desk, last: ChatMessage) -> Finished | Stuck:
    """The model calls nothing more: done if something was done for what the customer wrote last, else a person's turn."""
    text = redaction.restore(last.get("content") or "", desk.marks)
    outcome, reason = _latest_outcome(desk)
    if outcome in ("executed", "edited_and_executed", "duplicate") or (outcome == "rejected" and reason in _GIVEN_UP):
        return Finished(text)
    if outcome is None:
        return Stuck("no-action", "The agent ended without proposing anything; read the ticket and its last words.")
    return Stuck("gave-up", f"The agent's last proposal ended as {outcome}, and it proposed nothing else.")


def _latest_outcome(desk: _Desk) -> tuple[str | None, str | None]:
    """How the latest proposal since the customer's last word ended, and the code of the reason."""
    readers = {tool.name for tool in desk.work.tools if tool.effect == "read"}
    calls = [call for message in desk.messages for call in message.get("tool_calls", ())]
    was_read = {call["id"] for call in calls if call["function"]["name"] in readers}
    for message in reversed(desk.messages):
        if message["role"] == "user":
            break
        if message["role"] == "tool" and message["tool_call_id"] not in was_read:  # a tool's answer could look like an outcome
            with contextlib.suppress(ValueError, AttributeError):
                told = json.loads(message["content"])
                if "outcome" in told and "proposal" in told:
                    return str(told["outcome"]), (told.get("reason") or {}).get("code")
    return None, None
