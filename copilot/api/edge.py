"""The API's door: who is calling, and what a request's body, query and path may hold.

Every route is closed unless it is listed in `PUBLIC`, also one added tomorrow. Cookies are never looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from flask import Blueprint, current_app, g, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import BadRequest, MethodNotAllowed, UnsupportedMediaType
from werkzeug.exceptions import NotFound as NoSuchRoute

from copilot import config
from copilot.errors import BadInput, NotAuthenticated, NotEntitled
from copilot.gate import identity
from copilot.models import User
from copilot.people import tokens
from copilot.people.tokens import Principal

MAX_BYTES = 256 * 1024
PUBLIC = frozenset({"api.give_token", "api.document", "api.public_keys"})

bp = Blueprint("api", __name__, url_prefix="/api/v1")

Body = TypeVar("Body", bound=BaseModel)

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@bp.before_request
def _open_door() -> None:
    request.max_content_length = MAX_BYTES
    if "\0" in request.path or any("\0" in part for pair in request.args.items(multi=True) for part in pair):
        raise BadInput("The address holds a NUL character.")
    if request.endpoint not in PUBLIC:
        g.caller = _authenticate()


def _authenticate() -> Principal | User:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("Send `Authorization: Bearer …` with an access token from /api/v1/token or a person's API token.")
    given = token.strip()
    return tokens.agent_from(given) if given.count(".") == 2 else tokens.person_from(given)


def caller() -> Principal | User:
    """Who sent this request."""
    known: Principal | User = g.caller
    return known


def agent(tool: str | None = None, effect: str | None = None) -> Principal:
    """The calling agent, holding the scope `tool:effect` when one is asked for; NotEntitled otherwise."""
    known = caller()
    if not isinstance(known, Principal):
        raise NotEntitled("Only an agent with its own token may do this.", rule="agent-only")
    if tool is not None and effect is not None:
        require(known, tool, effect)
    return known


def require(principal: Principal, tool: str, effect: str, *, somewhere: bool = False) -> None:
    """NotEntitled unless this token covers that effect of that tool.

    A scope bound to a region, ticket or customer counts only with `somewhere`, where the gate judges the bound afterwards.
    """
    covers = identity.allows_somewhere if somewhere else identity.allows
    if not covers(principal.scopes, tool, effect):
        raise uncovered(tool, effect)


def uncovered(tool: str, effect: str) -> NotEntitled:
    """What a caller is told whose token does not cover something."""
    return NotEntitled(f"This token does not cover the {effect} “{tool.replace('_', ' ')}”; ask for one that does.", rule="scope")


def person(*roles: str) -> User:
    """The calling person, in one of these roles when any are named; NotEntitled otherwise."""
    known = caller()
    if not isinstance(known, User):
        raise NotEntitled("Only a person with their own API token may do this.", rule="person-only")
    if roles and known.role not in roles:
        raise NotEntitled(f"This needs the role {' or '.join(sorted(roles))}; yours is {known.role}.", rule="role")
    return known


def body(model: type[Body], *, may_be_empty: bool = False) -> Body:
    """The request's body as this model, strictly: no unknown or repeated field, no coercion, no NUL, no NaN."""
    data = request.get_data(cache=False)
    if may_be_empty and not data.strip():
        data = b"{}"
    elif request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the body as application/json.")
    problems = unsound(data)
    if problems:
        raise BadInput("The body cannot be taken.", problems=problems)
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise _unfit(error) from error


def query(model: type[Body]) -> Body:
    """The request's query string as this model; every parameter at most once."""
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise BadInput("A parameter is given twice.", problems=dict.fromkeys(repeated, "is given more than once"))
    try:
        return model.model_validate(request.args.to_dict(), strict=False)
    except ValidationError as error:
        raise _unfit(error) from error


def page_url(path: str) -> str:
    """The address of a page for people."""
    return f"{config.current().base_url}{path}"


def unsound(data: bytes) -> dict[str, str]:
    """What is wrong with a JSON text before its shape is looked at, by field; raises BadRequest when it is no JSON."""
    problems: dict[str, str] = {}

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            names = [name for name, _ in pairs]
            problems.update({name: "is given more than once" for name in names if names.count(name) > 1})
        return made

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=_no_number)
        _walk(value, "", problems)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON: {str(error)[:200] or 'it is nested too deeply'}.") from error
    return problems


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _walk(value: Any, path: str, problems: dict[str, str]) -> None:
    if isinstance(value, str):
        if "\0" in value:
            problems[path] = "holds a NUL character"
        elif any("\ud800" <= letter <= "\udfff" for letter in value):
            problems[path] = "holds half of a character"
    elif isinstance(value, dict):
        for key, part in value.items():
            where = f"{path}.{key}".lstrip(".")
            _walk(key, where, problems)
            _walk(part, where, problems)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _walk(part, f"{path}.{number}".lstrip("."), problems)


def _unfit(error: ValidationError) -> BadInput:
    problems: dict[str, str] = {}
    for part in error.errors(include_url=False, include_input=False, include_context=False):
        problems.setdefault(".".join(str(step) for step in part["loc"]), part["msg"])
    first, sentence = next(iter(problems.items()))
    return BadInput(f"{first}: {sentence}." if first else f"{sentence}.", problems=problems)


@bp.route("/", defaults={"rest": ""}, methods=_METHODS)
@bp.route("/<path:rest>", methods=_METHODS)
def nothing_here(rest: str) -> NoReturn:  # noqa: ARG001 - Flask hands it in by name
    """Answer for every address that is none, or not by this method, in the API's own words."""
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None
    possible = [method for method in _METHODS if _endpoint(adapter.match, method) not in (None, "api.nothing_here")]
    if possible:
        raise MethodNotAllowed(possible, f"This address takes {', '.join(possible)}.")
    raise NoSuchRoute("There is nothing at this address; /api/v1/openapi.json lists what there is.")


def _endpoint(match: Callable[..., Any], method: str) -> str | None:
    try:
        endpoint, _ = match(method=method)
    except Exception:  # noqa: BLE001 - a redirect or no match: either way not a route that takes this method
        return None
    return str(endpoint)
