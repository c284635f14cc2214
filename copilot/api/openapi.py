"""GET /openapi.json: the API's description, made from the same models that read requests and write answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flask import Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from copilot.api import answers, bodies, budgets, trace
from copilot.api.edge import bp

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_TEXT = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Route:
    """One call as the document describes it. `ok` maps a status to its sentence; all of them answer with `answer`."""

    method: str
    path: str
    name: str
    promise: str
    who: str
    answer: type[BaseModel] | None
    ok: dict[int, str]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    body_needed: bool = True
    problems: tuple[int, ...] = ()


_A, _P, _BOTH = "agent", "person", "either"
_DONE = {200: "Done."}
_FIRST = {201: "Taken.", 200: "It was here already; this is the first."}
_CHANGED = (404, 409, 422)

ROUTES = (
    Route("post", "/tickets", "createTicket", "Hand in a ticket, once per external id.", _BOTH, answers.TicketAnswer, _FIRST,
          body=bodies.TicketBody, problems=(422,)),
    Route("post", "/tickets/{external_id}/messages", "addMessage", "Add a message to a ticket, once per external id.", _BOTH,
          answers.MessageAnswer, _FIRST, body=bodies.MessageBody, problems=(404, 422)),
    Route("patch", "/tickets/{external_id}", "setStatus", "Set a ticket's status.", _BOTH, answers.StatusAnswer, _DONE,
          body=bodies.StatusBody, problems=(404, 422)),
    Route("get", "/tools", "listTools", "The tools this caller may use.", _BOTH, answers.ToolsAnswer, _DONE),
    Route("post", "/tools/{name}", "read", "Run a read through the gate; a write is refused with 409.", _A, answers.ReadAnswer, _DONE,
          body=bodies.ReadBody, problems=_CHANGED),
    Route("post", "/proposals", "propose", "Propose an action, once per Idempotency-Key. Also what the gate refuses is stored and "
          "answered with 201, in state DENIED with the verdict.", _A, answers.ProposalAnswer, _FIRST, body=bodies.ProposalBody,
          headers=("Idempotency-Key",), problems=_CHANGED),
    Route("get", "/proposals", "listProposals", "One page of proposals, oldest deadline first.", _BOTH, answers.ProposalsAnswer, _DONE,
          query=bodies.ProposalsQuery, problems=(422,)),
    Route("get", "/proposals/{proposal_id}", "getProposal", "One proposal; with `wait`, after its next change.", _BOTH,
          answers.ProposalAnswer, _DONE, query=bodies.WaitQuery, problems=(404, 422)),
    Route("post", "/proposals/{proposal_id}/decisions", "decide", "Approve, edit or reject exactly what the digest names.", _P,
          answers.DecisionAnswer, {200: "Recorded."}, body=bodies.DecisionBody, problems=_CHANGED),
    Route("post", "/proposals/{proposal_id}/withdraw", "withdraw", "Take a proposal back before anything happened.", _BOTH,
          answers.ProposalAnswer, _DONE, body=bodies.WithdrawBody, body_needed=False, problems=_CHANGED),
    Route("get", "/proposals/{proposal_id}/trace", "getTrace", "Everything the record holds about one proposal.", _BOTH,
          trace.TraceAnswer, _DONE, problems=(404,)),
    Route("get", "/budgets", "listBudgets", "What limits this agent's calls and how much is left; for a person every rule, its fullest "
          "windows first.", _BOTH, budgets.BudgetsAnswer, _DONE),
    Route("get", "/actions", "listActions", "How much each agent does alone with each tool, and on what evidence.", _BOTH,
          answers.ActionsAnswer, _DONE),
    Route("put", "/actions/{agent}/{tool}/level", "setLevel", "Set a level; 409 names the evidence that is missing.", _P,
          answers.LevelAnswer, _DONE | {202: "Kept until a second person confirms it."}, body=bodies.LevelBody, problems=_CHANGED),
)  # fmt: skip

_WHO: dict[str, tuple[dict[str, list[str]], ...]] = {_A: ({"agent": []},), _P: ({"person": []},), _BOTH: ({"agent": []}, {"person": []})}
_PROBLEMS = {
    400: "The request is no JSON.",
    401: "No valid token came with it.",
    403: "This caller may not do this; `rule` says why.",
    404: "There is no such thing, or not for this caller.",
    409: "It changed meanwhile, is decided, or the gate refused it; nothing was written.",
    413: "The body is larger than 256 KiB.",
    415: "The body is not application/json.",
    422: "`problems` names each field and what is wrong with it.",
    503: "Not available at the moment; try again.",
}


class Problem(BaseModel):
    """An error (RFC 9457). `code` is for programs, `detail` and `next_step` for people, `problems` maps a field to its sentence."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    rule: str = ""
    problems: dict[str, str]
    next_step: str = ""


@bp.get("/openapi.json")
def document() -> Response:
    """This API as an OpenAPI 3.1 document; it is public, like the documentation it is."""
    return Response(_document(), mimetype=_JSON)


@cache
def _document() -> str:
    paths: dict[str, Any] = {"/token": {"post": _token()}}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    try:
        number = version("copilot")
    except PackageNotFoundError:  # run from a folder nobody installed
        number = "0"
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Copilot",
                "version": number,
                "description": "Agents propose, people decide, and the record proves what happened.",
            },
            "servers": [{"url": "/api/v1"}],
            "paths": paths,
            "components": {"schemas": _schemas(), "securitySchemes": _security()},
        }
    )


def _schemas() -> dict[str, Any]:
    asked = [(route.body, "validation") for route in ROUTES if route.body]
    given = [(route.answer, "serialization") for route in ROUTES if route.answer]
    models = dict.fromkeys([*asked, *given, (Problem, "serialization")])
    _, definitions = models_json_schema(list(models), ref_template=_REF)  # type: ignore[arg-type]  # its Literal is not inferred
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _security() -> dict[str, Any]:
    flow = {"clientCredentials": {"tokenUrl": "/api/v1/token", "scopes": {}}}
    return {
        "agent": {"type": "oauth2", "description": "An agent's token of at most 15 minutes.", "flows": flow},
        "person": {"type": "http", "scheme": "bearer", "description": "A person's API token."},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.promise,
        "security": list(_WHO[route.who]),
        "parameters": [*_in_path(route.path), *_in_query(route.query), *[_header(name) for name in route.headers]],
        "responses": {str(status): _good(route, sentence) for status, sentence in route.ok.items()},
    }
    statuses = {401, 403, 503, *route.problems}
    if route.body is not None:
        schema = {"$ref": _REF.format(model=route.body.__name__)}
        operation["requestBody"] = {"required": route.body_needed, "content": {_JSON: {"schema": schema}}}
        statuses |= {400, 413, 415}
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    for status in sorted(statuses):
        operation["responses"][str(status)] = {"description": _PROBLEMS[status], "content": problem}
    return operation


def _good(route: Route, sentence: str) -> dict[str, Any]:
    assert route.answer is not None
    return {"description": sentence, "content": {_JSON: {"schema": {"$ref": _REF.format(model=route.answer.__name__)}}}}


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]


def _in_query(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    properties = model.model_json_schema()["properties"] if model else {}
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"}}


def _token() -> dict[str, Any]:
    form = {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"type": "string", "const": "client_credentials"},
            "client_id": _TEXT,
            "client_secret": _TEXT,
            "scope": {"type": "string", "description": "Scopes with blanks between; all that the client holds when left out."},
        },
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": _TEXT, "error_description": _TEXT}}
    token = {
        "type": "object",
        "required": ["access_token", "token_type", "expires_in", "scope"],
        "properties": {"access_token": _TEXT, "token_type": _TEXT, "expires_in": {"type": "integer", "maximum": 900}, "scope": _TEXT},
    }
    content = {"application/x-www-form-urlencoded": {"schema": form}, _JSON: {"schema": form}}
    wrong = {str(status): {"description": said, "content": {_JSON: {"schema": error}}} for status, said in _TOKEN_ERRORS.items()}
    return {
        "operationId": "token",
        "summary": "OAuth 2.0 client credentials: an agent's id (or name) and secret for a token of at most 15 minutes.",
        "security": [],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "A token.", "content": {_JSON: {"schema": token}}}, **wrong},
    }


_TOKEN_ERRORS = {
    400: "The request is wrong.",
    401: "The credentials are wrong.",
    413: "Too large.",
    429: "Too many failures; wait a minute.",
}
