"""The offline model: a loopback server that speaks the chat completions protocol and answers by rules.

    python -m copilot.demo.model --port 0      prints {"port": N} when it is ready

Deterministic and without memory: the same messages get the same answer. `POST /faults {mode, times, seconds}` breaks it
on purpose: `slow`, `429` (`seconds` is its Retry-After), `500`, `reset`, `truncated`, `refusal`, `invalid_json`, `unknown_tool`, `empty`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

from copilot.demo import drafting, jsonhttp, plans
from copilot.demo.drafting import Step
from copilot.demo.faults import Faults, UnknownFault
from copilot.demo.jsonhttp import Answer, Hangup, Request

Json = dict[str, Any]

NAME = "offline"
MODES = ("slow", "429", "500", "reset", "truncated", "refusal", "invalid_json", "unknown_tool", "empty")
_PIECE = 24  # characters a streamed chunk


class Model:
    """The model behind one `handle` function. `mistakes` is how many letters in a hundred it drafts wrongly at first."""

    def __init__(self, *, mistakes: int = plans.MISTAKES) -> None:
        self.mistakes = mistakes
        self.faults = Faults(MODES)

    def handle(self, request: Request) -> Answer:
        """Answer one request."""
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                return self._complete(request)
            case "GET", "/v1/models":
                return Answer(200, {"object": "list", "data": [{"id": NAME, "object": "model", "owned_by": "sample company"}]})
            case "GET", "/health":
                return Answer(200, {"ok": True})
            case "POST", "/faults":
                try:
                    return Answer(200, {"waiting": self.faults.plant(request.body)})
                except UnknownFault as error:
                    return Answer(400, {"detail": str(error)})
            case "DELETE", "/faults":
                self.faults.clear()
                return Answer(200, {"waiting": 0})
        return _problem(404, "There is no such page.")

    def _complete(self, request: Request) -> Answer:
        fault = self.faults.take("model")
        mode = fault.mode if fault else ""
        if fault and mode == "slow":
            time.sleep(fault.seconds)
        if fault and mode == "429":
            return _problem(429, "Too many requests.", {"Retry-After": f"{fault.seconds:g}"})
        if mode == "500":
            return _problem(500, "The model tripped.")
        if mode == "reset":
            raise Hangup
        body = request.body if isinstance(request.body, dict) else {}
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
            return _problem(400, "messages is a list of objects.")
        try:
            tools = [tool["function"]["name"] for tool in body.get("tools") or ()]
            step = drafting.step(messages, tools, mistakes=self.mistakes)
        except (KeyError, TypeError, AttributeError) as error:
            return _problem(400, f"The request does not follow the protocol ({type(error).__name__}).")
        said = _broken(_message(step, messages), mode, tools)
        completion = _completion(body, said, "length" if mode == "truncated" else "tool_calls" if said.get("tool_calls") else "stop")
        if body.get("stream"):
            options = body.get("stream_options") or {}
            return Answer(200, events=_chunks(completion, with_usage=bool(options.get("include_usage"))))
        return Answer(200, completion)


def _message(step: Step, messages: list[Json]) -> Json:
    said: Json = {"role": "assistant", "content": step.text or None, "refusal": None}
    if step.calls:
        turn = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:12]
        said["tool_calls"] = [
            _call(f"call_{turn}_{place}", name, json.dumps(arguments)) for place, (name, arguments) in enumerate(step.calls)
        ]
    return said


def _call(call_id: str, name: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _broken(said: Json, mode: str, tools: list[str]) -> Json:
    """The same answer with a fault in it."""
    if mode == "refusal":
        return {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    if mode == "empty":
        return {"role": "assistant", "content": "", "refusal": None}
    calls = said.get("tool_calls") or [_call("call_0", tools[0] if tools else "nothing", "{}")]
    if mode == "truncated":
        whole = calls[0]["function"]
        calls = [_call(calls[0]["id"], whole["name"], whole["arguments"][: max(len(whole["arguments"]) // 2, 1)])]
    elif mode == "invalid_json":
        calls = [_call(call["id"], call["function"]["name"], call["function"]["arguments"] + '{"') for call in calls]
    elif mode == "unknown_tool":
        calls = [_call(calls[0]["id"], "delete_everything", "{}")]
    else:
        return said
    return {**said, "tool_calls": calls}


def _completion(body: Json, said: Json, finish: str) -> Json:
    asked, told = len(json.dumps([body.get("messages"), body.get("tools")])) // 4, len(json.dumps(said)) // 4
    return {
        "id": f"chatcmpl-{hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": str(body.get("model") or NAME),
        "choices": [{"index": 0, "message": said, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told},
    }


def _chunks(completion: Json, *, with_usage: bool) -> Iterator[str]:
    """The same completion as a stream: words and arguments in pieces, then how it ended, then what it cost."""
    head = {key: completion[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    usage = {"usage": None} if with_usage else {}
    choice = completion["choices"][0]
    said = choice["message"]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _pieces(said.get("content") or "")]
    if said.get("refusal"):
        deltas.append({"refusal": said["refusal"]})
    for index, call in enumerate(said.get("tool_calls") or ()):
        deltas.append({"tool_calls": [{"index": index, **call, "function": {"name": call["function"]["name"], "arguments": ""}}]})
        for piece in _pieces(call["function"]["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    for delta in deltas:
        yield json.dumps({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **usage})
    yield json.dumps({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}], **usage})
    if with_usage:
        yield json.dumps({**head, "choices": [], "usage": completion["usage"]})
    yield "[DONE]"


def _pieces(text: str) -> list[str]:
    return [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"error": {"message": message, "type": "sample_company", "param": None, "code": None}}, headers or {})


def main() -> None:
    """Serve the offline model on a loopback port."""
    parser = argparse.ArgumentParser(prog="python -m copilot.demo.model", description="The sample company's offline model, on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--mistakes", type=int, default=plans.MISTAKES, help="how many letters in a hundred it drafts wrongly at first")
    options = parser.parse_args()
    jsonhttp.run(Model(mistakes=options.mistakes).handle, port=options.port)


if __name__ == "__main__":
    main()
