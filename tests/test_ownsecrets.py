"""Our own secrets stay out of everything that comes back, however its JSON spells them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from copilot.audit import ownsecrets, redaction
from copilot.gateway import mcpwire

AWKWARD = 'p/ss"w\\rd-4711'


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownsecrets, "_protected", {})
    ownsecrets.protect(AWKWARD)


def plain(text: str) -> str:
    return json.dumps(text)


def slashes(text: str) -> str:
    return json.dumps(text).replace("/", "\\/")


def numbered(text: str) -> str:
    return '"' + "".join(f"\\u{ord(character):04x}" for character in text) + '"'


def some_numbered(text: str) -> str:
    return slashes(text).replace("d", "\\u0064")


SPELLINGS = [plain, slashes, numbered, some_numbered]


@pytest.mark.parametrize("spell", SPELLINGS)
def test_a_message_of_a_server_holds_no_secret_however_it_is_spelled(spell: Callable[[str], str]) -> None:
    said = spell(f"your key is {AWKWARD}.")
    key = spell(AWKWARD)
    (message,) = mcpwire.decoded(f'{{"id": 1, "result": {{"text": {said}, {key}: [{{"deep": {key}}}]}}}}')
    assert message["result"] == {"text": "your key is [secret].", "[secret]": [{"deep": "[secret]"}]}


def test_a_number_that_is_a_secret_is_one_too() -> None:
    ownsecrets.protect("47114711")
    assert ownsecrets.without_in({"pin": 47114711, "n": 4711, "ok": True, "none": None, "part": 0.547114711}) == {
        "pin": "[secret]",
        "n": 4711,
        "ok": True,
        "none": None,
        "part": "0.5[secret]",
    }


def test_a_log_line_that_writes_it_as_json_does_loses_it_as_well() -> None:
    for spell in (plain, slashes):
        assert redaction.scrub(f"sent {spell(AWKWARD)}") == 'sent "[secret]"'
    assert redaction.redact_value({AWKWARD: 1}).text == {"[secret]": 1}


def test_a_secret_that_expired_is_forgotten_in_every_spelling() -> None:
    ownsecrets.unprotect(AWKWARD)
    assert ownsecrets._protected == {}
    assert ownsecrets.without(AWKWARD) == AWKWARD


def test_what_is_too_short_or_too_deep_breaks_nothing() -> None:
    ownsecrets.protect("abc")
    assert ownsecrets.without("abc") == "abc"
    assert mcpwire.decoded("[" * 900 + "]" * 900) == []
    assert mcpwire.decoded('{"a":' * 900 + "1" + "}" * 900) == []
