"""One call of one operation of an HTTP API: the request as the document says, and what its answer means for the effect."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from copilot.audit import ownsecrets
from copilot.errors import SetupError
from copilot.gateway import apidoc, outbound, plainschema, secrets
from copilot.gateway.credentials import Credentials
from copilot.toolkit import Call, ToolError, ToolRefused

_STEPS = re.compile(r"%2F|%5C")  # some servers take an encoded slash for a real one
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,2000}\Z")
_LONGEST_URL = 8_000
_NOT_REFUSALS = frozenset({408, 425})  # too slow or too early: whether it was done after all is anybody's guess
_TOLD = ("detail", "message", "error_description", "title", "error")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one tool calls and how: everything but the arguments. `writes` decides what an unclear end means."""

    tool: str
    base: str
    operation: apidoc.Operation
    credentials: Credentials
    writes: bool
    max_bytes: int
    key_header: str | None = None
    token_header: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def call(endpoint: Endpoint, arguments: Mapping[str, Any], call: Call) -> Any:
    """Make the call and return the answer's JSON (or text, or None).

    ToolRefused: the service said no, and nothing happened. ToolError: what is known about the effect stands in `happened`.
    """
    url, headers, body = _written(endpoint, dict(arguments) | dict(endpoint.operation.fixed))
    if endpoint.key_header and endpoint.writes:
        headers[endpoint.key_header.lower()] = call.idempotency_key
    if endpoint.token_header and call.token:
        headers[endpoint.token_header.lower()] = call.token
    for again in (False, True):
        proof = endpoint.credentials.headers(seconds=_left(call))
        answer = _sent(endpoint, url, headers | proof, body, seconds=_left(call))
        repeatable = not endpoint.writes or endpoint.key_header is not None
        if answer.status != 401 or again or not repeatable or not endpoint.credentials.renew(proof):
            break
    return _meaning(endpoint, answer)


def _left(call: Call) -> float:
    left = call.seconds_left(datetime.now(UTC))
    if left <= 0:
        raise ToolError("The time for the call was over before it could be made, so nothing happened.", happened=False)
    return left


def _written(endpoint: Endpoint, arguments: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes | None]:
    operation = endpoint.operation
    values: dict[str, str] = {}
    query: list[tuple[str, str]] = []
    headers = {"accept": "application/json"}
    for parameter in operation.parameters:
        value = arguments.get(parameter.name)
        if value is None:
            continue
        parts = [_text(part) for part in value] if isinstance(value, list) else [_text(value)]
        if parameter.place == "path":
            values[parameter.name] = ",".join(quote(part, safe="") for part in parts)
        elif parameter.place == "header":
            headers[parameter.name.lower()] = _header(parameter.name, ",".join(parts))
        elif parameter.explode:
            query += [(parameter.name, quote(part, safe="")) for part in parts]
        else:
            query.append((parameter.name, ",".join(quote(part, safe="") for part in parts)))
    path = "/".join(_segment(part, values) for part in operation.path.split("/"))
    url = endpoint.base + path + ("?" + "&".join(f"{quote(name, safe='')}={value}" for name, value in query) if query else "")
    if len(url) > _LONGEST_URL:
        raise ToolRefused("The values are too long for an address, so nothing was sent.")
    body = _body(operation, arguments)
    if body is not None:
        headers["content-type"] = "application/json"
    return url, headers | _extra(endpoint), body  # what is configured stands above every argument


def _extra(endpoint: Endpoint) -> dict[str, str]:
    try:
        return {
            name.lower(): secrets.resolve(text).reveal() if secrets.is_reference(text) else text for name, text in endpoint.extra.items()
        }
    except SetupError as error:
        raise ToolError(f"{error} Nothing happened.", happened=False) from error


def _segment(part: str, values: Mapping[str, str]) -> str:
    """One step of the path with its values; none may make it vanish or climb."""
    places = apidoc.PLACE.findall(part)
    made = apidoc.PLACE.sub(lambda found: values.get(found[1], ""), part)
    if places and (not made or not set(places) <= set(values) or {".", ".."} & set(_STEPS.split(made))):
        raise ToolRefused("One of the values cannot stand in an address, so nothing was sent.")
    return made


def _body(operation: apidoc.Operation, arguments: Mapping[str, Any]) -> bytes | None:
    given: Any
    if operation.whole is not None:
        if operation.whole not in arguments:
            return None
        given = arguments[operation.whole]
    elif operation.body is not None:
        given = {name: arguments[name] for name in sorted(operation.body) if name in arguments}
    else:
        return None
    return json.dumps(given, ensure_ascii=False, allow_nan=False).encode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _header(name: str, value: str) -> str:
    if not _HEADER_VALUE.match(value):
        raise ToolRefused(f"The value for {plainschema.cleaned(name, 60)} cannot be sent: only plain characters on one line can.")
    return value


def _sent(endpoint: Endpoint, url: str, headers: Mapping[str, str], body: bytes | None, *, seconds: float) -> outbound.Answer:
    try:
        return outbound.request(
            endpoint.operation.method, url, purpose=endpoint.tool, headers=headers, content=body, timeout=seconds, limit=endpoint.max_bytes
        )
    except outbound.NotSent as error:
        raise ToolError(str(error), happened=False) from error
    except ValueError as error:
        raise ToolError("The request cannot be written as HTTP, so nothing was sent.", happened=False) from error
    except outbound.Broken as error:
        done = error.status is not None and 200 <= error.status < 300
        if endpoint.writes and done:
            raise ToolError(f"The service said that it is done. {error}", happened=True) from error
        if error.status is not None and _refusal(error.status):
            raise ToolRefused(f"The service said no ({error.status}).") from error
        raise ToolError(str(error), happened=None if endpoint.writes else False) from error


def _meaning(endpoint: Endpoint, answer: outbound.Answer) -> Any:
    status = answer.status
    if 200 <= status < 300:
        return _read(endpoint, answer)
    if status == 401:
        raise ToolError("The service does not accept our credentials, so nothing happened. An admin has to look at them.", happened=False)
    if status == 429:
        raise ToolError("The service asks for fewer calls, so nothing happened.", happened=False)
    said = _said(answer)
    if _refusal(status):
        right = " Our credentials may lack the right to do it." if status == 403 else ""
        raise ToolRefused(f"The service said no ({status}){': ' + said if said else '.'}{right}")
    if 300 <= status < 400:
        sentence = f"The service answered with a redirect ({status}), which is not followed."
    else:
        sentence = f"The service failed ({status}){': ' + said if said else '.'}"
    raise ToolError(sentence, happened=None if endpoint.writes else False)


def _refusal(status: int) -> bool:
    return 400 <= status < 500 and status not in _NOT_REFUSALS


def _read(endpoint: Endpoint, answer: outbound.Answer) -> Any:
    text = answer.content.decode("utf-8", "replace")
    if not text.strip():
        return None
    try:
        return ownsecrets.without_in(json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError):
        if answer.headers.get("content-type", "").startswith("text/") and endpoint.operation.returns is None:
            return ownsecrets.without(text)
        done = "The service said that it is done, but its" if endpoint.writes else "The service's"
        raise ToolError(f"{done} answer is no JSON and was not kept.", happened=endpoint.writes) from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _said(answer: outbound.Answer) -> str:
    """The service's own words in an error, cut and cleaned; they are a stranger's."""
    try:
        given = answer.json()
    except (ValueError, RecursionError):
        return ""
    if isinstance(given, dict) and isinstance(given.get("error"), dict):
        given = given["error"]
    words = next((given[key] for key in _TOLD if isinstance(given.get(key), str)), "") if isinstance(given, dict) else ""
    return plainschema.cleaned(ownsecrets.without(words), 300)
