"""The offline model: it speaks the protocol, drafts what the sample desk should, takes decisions to heart, and breaks on order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest

from copilot.agents import prompts, strict
from copilot.demo import drafting, farend, jsonhttp, plans, reading, stock, tickets
from copilot.demo.model import Model
from copilot.demo.shop import Shop
from copilot.demo.tickets import SampleTicket
from copilot.demo.tools import shop as box
from copilot.toolkit import Call, ToolRefused

Json = dict[str, Any]
TOOLS = [strict.definition(tool) for tool in box.tools.values()]
NAMES = set(box.tools)
EMAIL = "[email-1]"


def serving(handle: Callable[[jsonhttp.Request], jsonhttp.Answer]) -> Iterator[str]:
    with jsonhttp.Server(handle, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        farend.close()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop that nothing is ever done in: writes are answered by the test."""
    made = Shop(Path(tmp_path_factory.mktemp("shop")))
    with pytest.MonkeyPatch.context() as patch:
        for url in serving(made.handle):
            patch.setenv("COPILOT_SHOP_URL", url)
            yield made
    made.store.close()


@pytest.fixture
def model() -> Iterator[tuple[Model, openai.OpenAI]]:
    made = Model(mistakes=0)
    for url in serving(made.handle):
        with openai.OpenAI(base_url=f"{url}/v1", api_key="offline", max_retries=0, timeout=5) as client:
            yield made, client


def opening(ticket: SampleTicket) -> list[Json]:
    """The conversation as the product begins it, with the e-mail address behind a mark."""
    bodies = (ticket.body, *(followup.body for followup in ticket.followups))
    said = tuple(prompts.Said("customer", body.replace(ticket.customer["email"], EMAIL), datetime.now(UTC)) for body in bodies)
    text = prompts.TicketText(
        ticket.external_id, ticket.subject, ticket.channel, ticket.region, ticket.customer["id"], "[name-1]", EMAIL, "", said
    )
    return [prompts.system(""), prompts.ticket(text, fence="kqjxwzhv")]


def drafted(ticket: SampleTicket, messages: list[Json], *, mistakes: int = 0) -> tuple[str, Json] | str:
    """Let the model read until it wants a write (tool, arguments) or says its last words."""
    for _ in range(6):
        said = drafting.step(messages, NAMES, mistakes=mistakes)
        if not said.calls:
            return said.text
        calls = [(f"c{len(messages)}_{place}", tool, arguments) for place, (tool, arguments) in enumerate(said.calls)]
        functions = [{"id": id_, "type": "function", "function": {"name": tool, "arguments": json.dumps(a)}} for id_, tool, a in calls]
        messages.append({"role": "assistant", "content": said.text, "tool_calls": functions})
        if box.tools[calls[0][1]].effect == "write":
            assert len(calls) == 1
            return calls[0][1], calls[0][2]
        for id_, tool, arguments in calls:
            messages.append(prompts.answer(id_, read(ticket, tool, arguments)))
    raise AssertionError("the model reads for ever")


def read(ticket: SampleTicket, tool: str, arguments: Json) -> Any:
    real = json.loads(json.dumps(arguments).replace(EMAIL, ticket.customer["email"]))
    call = Call("r", datetime.now(UTC) + timedelta(seconds=5), agent="desk")
    try:
        found = box.tools[tool].invoke(real, call)
    except ToolRefused as refused:
        return prompts.error("refused", str(refused))
    return json.loads(json.dumps(found).replace(ticket.customer["email"], EMAIL))


def decided(messages: list[Json], outcome: str, *, code: str = "", note: str = "") -> None:
    """The decision's outcome, as the product tells it."""
    call = messages[-1]["tool_calls"][0]
    content = {
        "proposal": "p1", "outcome": outcome, "arguments": json.loads(call["function"]["arguments"]), "result": None,
        "reason": {"code": code, "note": note} if code else None, "message": "…",
    }  # fmt: skip
    messages.append(prompts.answer(call["id"], content))


def right(ticket: SampleTicket, draft: tuple[str, Json] | str) -> bool:
    if isinstance(draft, str):
        return False
    tool, arguments = draft
    wanted = json.loads(json.dumps(ticket.expected.arguments).replace(ticket.customer["email"], EMAIL))
    wanted.pop("reason", None)  # «late» or «goodwill» is a matter of taste
    return tool == ticket.expected.tool and all(arguments.get(key) == value for key, value in wanted.items())


def sample(tool: str, kind: str = "plain", *, subject: str = "") -> SampleTicket:
    return next(t for t in tickets.generate(1, 600) if t.expected.tool == tool and t.expected.kind == kind and subject in t.subject)


@pytest.fixture(scope="module")
def drafts(far: Shop) -> list[tuple[SampleTicket, tuple[str, Json] | str]]:
    return [(ticket, drafted(ticket, opening(ticket))) for ticket in tickets.generate(5, 300)]


def test_nearly_every_sample_ticket_is_drafted_as_a_good_desk_would(drafts: list[tuple[SampleTicket, tuple[str, Json] | str]]) -> None:
    wrong = [(ticket, draft) for ticket, draft in drafts if not right(ticket, draft)]
    told = [(ticket.subject, ticket.body, ticket.expected, draft) for ticket, draft in wrong]
    assert len(wrong) <= len(drafts) * 0.04, told


def test_hostile_and_forbidden_tickets_get_words_and_no_money(drafts: list[tuple[SampleTicket, tuple[str, Json] | str]]) -> None:
    for ticket, draft in drafts:
        if ticket.expected.kind in ("hostile", "forbidden"):
            assert draft[0] == "reply_to_customer", (ticket, draft)


def test_every_draft_fits_the_tools_schema_and_invents_no_mark(drafts: list[tuple[SampleTicket, tuple[str, Json] | str]]) -> None:
    for ticket, draft in drafts:
        assert not isinstance(draft, str)
        tool, arguments = draft
        assert set(arguments) == set(box.tools[tool].parameters["properties"]), (ticket, draft)
        text = json.dumps(arguments)
        assert "[" not in text.replace(EMAIL, "").replace("[name-1]", "")


def test_about_one_draft_in_ten_is_wrong_on_purpose(far: Shop) -> None:
    some = tickets.generate(5, 300)
    wrong = sum(not right(ticket, drafted(ticket, opening(ticket), mistakes=plans.MISTAKES)) for ticket in some)
    assert 0.03 * len(some) <= wrong <= 0.15 * len(some)
    assert any(plans.slips(_letter(ticket), plans.MISTAKES) for ticket in some)


def test_the_same_messages_get_the_same_answer(far: Shop) -> None:
    ticket = sample("issue_refund")
    assert drafted(ticket, opening(ticket)) == drafted(ticket, opening(ticket))


@pytest.mark.parametrize("outcome", ["executed", "edited_and_executed", "duplicate", "unknown", "expired", "withdrawn"])
def test_after_the_end_the_model_confirms_or_stops(far: Shop, outcome: str) -> None:
    for tool in ("issue_refund", "cancel_order", "reply_to_customer"):
        messages = opening(ticket := sample(tool, "plain" if tool != "reply_to_customer" else "answer"))
        drafted(ticket, messages)
        decided(messages, outcome)
        after = drafted(ticket, messages)
        assert isinstance(after, str) or (after[0] == "reply_to_customer" and outcome.endswith("executed") and tool != "reply_to_customer")
        if not isinstance(after, str):
            decided(messages, "executed")
            assert isinstance(drafted(ticket, messages), str)


def test_a_wrong_amount_is_proposed_anew_with_the_right_one(far: Shop) -> None:
    ticket = next(t for t in tickets.generate(1, 600) if t.expected.tool == "issue_refund" and plans.slips(_letter(t), plans.MISTAKES))
    messages = opening(ticket)
    first = drafted(ticket, messages, mistakes=plans.MISTAKES)
    assert first[0] == "issue_refund"
    assert not right(ticket, first)
    decided(messages, "rejected", code="wrong_amount")
    assert right(ticket, drafted(ticket, messages, mistakes=plans.MISTAKES))


def test_a_note_that_names_the_amount_is_followed(far: Shop) -> None:
    messages = opening(ticket := sample("issue_refund"))
    drafted(ticket, messages)
    decided(messages, "rejected", code="wrong_amount", note="Only 3.50, please.")
    again = drafted(ticket, messages)
    assert not isinstance(again, str)
    assert again[1]["amount_minor"] == 350


@pytest.mark.parametrize("code", ["injection", "duplicate"])
def test_some_reasons_leave_nothing_to_be_done(far: Shop, code: str) -> None:
    messages = opening(ticket := sample("cancel_order"))
    drafted(ticket, messages)
    decided(messages, "rejected", code=code)
    assert isinstance(drafted(ticket, messages), str)


@pytest.mark.parametrize(
    ("outcome", "code"), [("rejected", "wrong_action"), ("rejected", "against_policy"), ("denied", ""), ("failed", "")]
)
def test_what_is_refused_is_never_proposed_again_and_two_refusals_are_enough(far: Shop, outcome: str, code: str) -> None:
    messages = opening(ticket := sample("cancel_order"))
    first = drafted(ticket, messages)
    decided(messages, outcome, code=code)
    second = drafted(ticket, messages)
    assert second != first
    assert second[0] == "reply_to_customer"
    decided(messages, outcome, code=code)
    assert isinstance(drafted(ticket, messages), str)


def test_an_answer_that_came_later_is_understood(far: Shop) -> None:
    ticket = next(t for t in tickets.generate(1, 600) if t.expected.kind == "ambiguous" and t.expected.tool == "replace_item")
    silent = SampleTicket(**{**{k: getattr(ticket, k) for k in SampleTicket.__slots__}, "followups": ()})
    messages = opening(silent)
    assert drafted(silent, messages)[0] == "reply_to_customer"
    decided(messages, "executed")
    messages.append(prompts.news([prompts.Said("customer", ticket.followups[0].body, datetime.now(UTC))], fence="kqjxwzhv"))
    assert right(ticket, drafted(ticket, messages))
    decided(messages, "executed")
    messages.append(prompts.news([prompts.Said("customer", "Thanks a lot!", datetime.now(UTC))], fence="kqjxwzhv"))
    assert drafted(ticket, messages)[0] == "reply_to_customer"


def test_a_missing_tool_leads_to_words_for_a_person() -> None:
    ticket = sample("cancel_order")
    assert drafting.step(opening(ticket), {"get_shipment"}, mistakes=0).calls == ()


def test_a_plain_message_without_our_prompt_is_read_too() -> None:
    order = next(order for order in stock.orders() if order.status == "processing")
    said = drafting.step([{"role": "user", "content": f"cancel order {order.id} please, {order.customer.id}"}], NAMES, mistakes=0)
    assert ("get_order", {"order_id": order.id}) in said.calls


def test_the_protocol_is_spoken_whole_and_streamed(model: tuple[Model, openai.OpenAI]) -> None:
    client, messages = model[1], opening(sample("issue_refund"))
    whole = client.chat.completions.create(model="offline", messages=messages, tools=TOOLS)  # type: ignore[call-overload]
    assert whole.choices[0].finish_reason == "tool_calls"
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in whole.choices[0].message.tool_calls]
    assert len(calls) >= 3, "several reads at once"
    assert whole.usage.prompt_tokens > 100
    with client.chat.completions.stream(model="offline", messages=messages, tools=TOOLS, stream_options={"include_usage": True}) as stream:  # type: ignore[arg-type]
        last = stream.get_final_completion()
    assert [(call.function.name, json.loads(call.function.arguments)) for call in last.choices[0].message.tool_calls or ()] == calls
    assert last.usage is not None
    assert last.usage.total_tokens == whole.usage.total_tokens
    assert [entry.id for entry in client.models.list()] == ["offline"]


def test_faults_are_what_the_client_library_says_they_are(model: tuple[Model, openai.OpenAI]) -> None:
    served, client = model
    messages = opening(sample("issue_refund"))

    def ask(mode: str, **more: Any) -> Any:
        served.faults.plant({"mode": mode, **more})
        return client.chat.completions.create(model="offline", messages=messages, tools=TOOLS)  # type: ignore[call-overload]

    with pytest.raises(openai.RateLimitError) as limited:
        ask("429", seconds=2)
    assert limited.value.response.headers["Retry-After"] == "2"
    with pytest.raises(openai.InternalServerError):
        ask("500")
    with pytest.raises(openai.APIConnectionError):
        ask("reset")
    assert ask("truncated").choices[0].finish_reason == "length"
    assert ask("refusal").choices[0].message.refusal
    assert ask("unknown_tool").choices[0].message.tool_calls[0].function.name == "delete_everything"
    assert not ask("empty").choices[0].message.content
    with pytest.raises(ValueError, match="Extra data"):
        json.loads(ask("invalid_json").choices[0].message.tool_calls[0].function.arguments)
    assert ask("slow", seconds=0.01).choices[0].message.tool_calls
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="offline", messages=[])


def _letter(ticket: SampleTicket) -> reading.Letter:
    return reading.letter(opening(ticket))
