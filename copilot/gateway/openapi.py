"""Tools from an HTTP API: chosen operations of its OpenAPI document, each declared read or write by whoever configures it.

A document says how to call; what a call means (effect, risk, amount, target, whose it is) is said in the configuration
only. Where it goes and as whom (`binding`: method, address, place of each argument, fixed values, headers, credentials) is part
of the tool's definition like its schema, so a document or a file that says otherwise voids the approvals given before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from copilot import config
from copilot.errors import BadInput, SetupError
from copilot.gate import amounts, digest
from copilot.gateway import apicall, apidoc, apipaper, credentials, entries, limits, patterns, secrets
from copilot.toolkit import Arguments, Call, Money, Outcome, Preview, Toolbox, ToolDefinitionError

_SOURCE = frozenset({"name", "document", "sha256", "base_url", "auth", "timeout", "max_bytes", "headers", "tool"})
_TOOL = patterns.HOOKS | {
    "operation", "name", "description", "effect", "risk", "reversible", "timeout", "max_bytes", "concurrency", "window",
    "idempotency_header", "key_lifetime", "token_header", "scopes", "fixed", "omit", "provider_id", "revision_after", "revision", "preview",
}  # fmt: skip
_LOOK = frozenset({"operation", "arguments", "pointer"})
_PREVIEW = frozenset({"operation", "arguments", "consequence", "facts", "before", "customer", "known"})
_TYPES = ("string", "integer", "boolean")


def load(entry: Mapping[str, Any], *, folder: Path) -> Toolbox:
    """One `[[openapi]]` table as a toolbox; SetupError names the table, the tool and what to change."""
    name = entries.text(entry, "name", where="An [[openapi]] table")
    where = f"[[openapi]] {name}"
    entries.known(entry, _SOURCE, where=where)
    document = apidoc.Document(apipaper.read(entry, where=where, folder=folder), source=f"{where}: its document")
    base = _base(entry, document, where)
    try:
        box = Toolbox(name)
        for chosen in entries.tables(entry, "tool", where=where):
            _Maker(box, document, base, entry, chosen, where).add()
    except ToolDefinitionError as error:
        raise SetupError(f"{where}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:  # a text where a number or a table belongs
        raise SetupError(f"{where}: an option has a value of the wrong kind: {error}.") from error
    return box


class _Maker:
    """Makes one tool of one operation."""

    def __init__(
        self, box: Toolbox, document: apidoc.Document, base: str, source: Mapping[str, Any], entry: Mapping[str, Any], where: str
    ) -> None:
        entries.known(entry, _TOOL, where=f"{where}: a tool")
        self.name = entries.text(entry, "name", where=f"{where}: a tool")
        self.where = f"{where}, tool {self.name}"
        self.box, self.document, self.base, self.source, self.entry = box, document, base, source, entry
        self.headers = _headers(source.get("headers", {}), self.where)
        self.proof = credentials.read(self.where, source.get("auth"), scopes=entry.get("scopes"), allow=config.current().outbound_allow)
        self.always = _once(self.where, *self.headers, self.proof.header)
        self.looks: dict[str, str] = {}  # what else is asked, by the option it serves
        self.limit = int(entry.get("max_bytes", source.get("max_bytes", limits.RESULT_BYTES)))
        if not 0 < self.limit <= limits.RESULT_BYTES:
            raise SetupError(f"{self.where}: max_bytes is at most {limits.RESULT_BYTES}.")

    def add(self) -> None:
        entry, omit = self.entry, frozenset(self.entry.get("omit", []))
        ours = _once(self.where, *self.always, entry.get("idempotency_header"), entry.get("token_header"))
        operation = self.document.operation(
            entries.text(entry, "operation", where=self.where), fixed=entry.get("fixed", {}), omit=omit, ours=ours
        )
        for name in operation.kept:
            if name not in omit:
                raise SetupError(
                    f"{self.where}: the header {name} is an argument of the operation and is also sent as this file says. No agent may "
                    f'choose it: write omit = ["{name}"].'
                )
        effect = entry.get("effect", "read" if operation.method in ("GET", "HEAD") else None)
        if effect not in ("read", "write"):
            raise SetupError(f'{self.where}: {operation.method} may change something, so say effect = "write" or effect = "read".')
        endpoint = self._endpoint(operation, writes=effect == "write")
        given: dict[str, Any] = patterns.hooks(self.name, entry, operation.schema)
        if "idempotency_header" in entry:
            given |= {"idempotency": {"key"}, "key_lifetime": entry.get("key_lifetime")}
        if "revision" in entry:
            given["revision"] = self._revision(entry["revision"], operation.schema)
        if "preview" in entry:
            given |= self._preview(entry["preview"], operation.schema, given.get("amount"))
        self.box.add(
            self.name,
            self._function(endpoint),
            effect=effect,
            description=entry.get("description") or operation.description or f"{operation.method} {operation.path}",
            parameters=operation.schema,
            returns=operation.returns,
            timeout=entry.get("timeout", self.source.get("timeout", 10)),
            max_bytes=self.limit,
            source=f"openapi:{self.box.name}",
            binding=self._binding(operation),
            **{option: entry[option] for option in ("risk", "reversible", "window", "concurrency") if option in entry},
            **given,
        )

    def _endpoint(self, operation: apidoc.Operation, *, writes: bool) -> apicall.Endpoint:
        return apicall.Endpoint(
            tool=self.name,
            base=self.base,
            operation=operation,
            credentials=self.proof,
            writes=writes,
            max_bytes=self.limit,
            key_header=self.entry.get("idempotency_header") if writes else None,
            token_header=self.entry.get("token_header") if writes else None,
            extra=self.headers,
        )

    def _binding(self, operation: apidoc.Operation) -> Mapping[str, Any]:
        """Where a call goes and as whom, as plain JSON; secrets stand in it by their references."""
        entry = self.entry
        found = {
            "address": f"{operation.method} {self.base}{operation.path}",
            "arguments": operation.places,
            "fixed": dict(operation.fixed),
            "headers": dict(self.headers),
            **{option: entry[option] for option in ("idempotency_header", "token_header") if option in entry},
            "auth": self.proof.shown,
            **self.looks,
            "document": f"{self.source['document']}, fetched at every start and held to no hash" if apipaper.unpinned(self.source) else "",
        }
        try:
            plain: dict[str, Any] = json.loads(digest.canonical({option: value for option, value in found.items() if value}))
        except BadInput as error:
            raise SetupError(f"{self.where}: fixed holds a value that is no plain JSON. {error}") from error
        return plain

    def _function(self, endpoint: apicall.Endpoint) -> Callable[..., Outcome]:
        option = {key: self.entry.get(key) for key in ("provider_id", "revision_after")}
        found = {key: patterns.pointer(self.name, key, given) for key, given in option.items() if given is not None}

        def function(*, call: Call, **arguments: Any) -> Outcome:
            answer = apicall.call(endpoint, arguments, call)
            values = {key: patterns.pointed(answer, pointer) for key, pointer in found.items()}
            return Outcome(answer, _id(values.get("provider_id")), _id(values.get("revision_after")))

        return function

    def _ask(self, table: Any, option: str, schema: Mapping[str, Any]) -> tuple[apidoc.Operation, Callable[[Arguments, Call], Any]]:
        """A read operation asked with this tool's own arguments."""
        operation = self.document.operation(entries.text(table, "operation", where=f"{self.where}: {option}"), fixed={}, ours=self.always)
        if operation.method not in ("GET", "HEAD"):
            raise SetupError(f"{self.where}: {option} asks with {operation.method}, which may change something; choose a GET.")
        wanted = operation.schema["properties"]
        named = table.get("arguments", {name: f"{{{name}}}" for name in wanted if name in schema.get("properties", {})})
        missing = [name for name in operation.schema["required"] if name not in named]
        if missing:
            raise SetupError(f"{self.where}: {option} needs {', '.join(missing)}; write it under arguments.")
        reads = {name: _typed(self.name, option, template, schema) for name, template in named.items()}
        endpoint = self._endpoint(operation, writes=False)
        self.looks[option] = f"{operation.method} {self.base}{operation.path}"

        def ask(arguments: Arguments, call: Call) -> Any:
            return apicall.call(endpoint, {name: read(arguments) for name, read in reads.items()}, call)

        return operation, ask

    def _revision(self, table: Any, schema: Mapping[str, Any]) -> Callable[[Arguments, Call], str | None]:
        entries.known(table, _LOOK, where=f"{self.where}: revision")
        _, ask = self._ask(table, "revision", schema)
        pointer = patterns.pointer(self.name, "revision", table.get("pointer"))

        def revision(arguments: Arguments, call: Call) -> str | None:
            found = patterns.pointed(ask(arguments, call), pointer)
            if isinstance(found, dict | list):
                return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
            return _id(found)

        return revision

    def _preview(self, table: Any, schema: Mapping[str, Any], amount: Callable[[Arguments], Money | None] | None) -> dict[str, Any]:
        """The preview hook, and the types of what it tells the policies."""
        entries.known(table, _PREVIEW, where=f"{self.where}: preview")
        operation, ask = self._ask(table, "preview", schema)
        pointers: dict[str, dict[str, str]] = {
            group: {label: patterns.pointer(self.name, group, given) for label, given in table.get(group, {}).items()}
            for group in ("facts", "before", "known")
        }
        customer = patterns.pointer(self.name, "customer", table["customer"]) if "customer" in table else None
        sentence = entries.text(table, "consequence", where=f"{self.where}: preview")
        money = "{amount}" in sentence and amount is not None
        places = {**schema, "properties": {**schema.get("properties", {}), **({"amount": {}} if money else {})}}
        consequence = patterns.text(self.name, "consequence", sentence, places)
        types = {label: _type(operation.returns, pointer, f"{self.where}: known.{label}") for label, pointer in pointers["known"].items()}

        def preview(arguments: Arguments, call: Call) -> Preview:
            answer = ask(arguments, call)
            sum_ = amount(arguments) if money and amount is not None else None
            shown = arguments | ({"amount": amounts.show(sum_)} if sum_ is not None else {})
            found = {group: {label: patterns.pointed(answer, at) for label, at in wanted.items()} for group, wanted in pointers.items()}
            return Preview(
                consequence=consequence(shown) or self.name.replace("_", " ").capitalize(),
                before=found["before"],
                facts=found["facts"],
                customer_id=_id(patterns.pointed(answer, customer)) if customer is not None else None,
                known={label: value for label, value in found["known"].items() if value is not None},
            )

        known = {"type": "object", "properties": types, "additionalProperties": False}
        return {"preview": preview} | ({"known": known} if types else {})


def _headers(given: Any, where: str) -> Mapping[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in given.values()):
        raise SetupError(f"{where}: headers is a table of texts or secret references.")
    for text in given.values():
        if secrets.is_reference(text):
            secrets.resolve(text)
    return given


def _typed(tool: str, option: str, template: Any, schema: Mapping[str, Any]) -> Callable[[Arguments], Any]:
    """An argument itself when the template is nothing but its place, so that a number stays one; else a text."""
    read = patterns.text(tool, option, template, schema)
    if template.startswith("{") and template.endswith("}") and template.count("{") == 1:
        return lambda arguments: patterns.value(arguments, template[1:-1])
    return read


def _type(returns: Mapping[str, Any] | None, pointer: str, where: str) -> dict[str, str]:
    node: Any = returns or {}
    for part in pointer.split("/")[1:]:
        node = node.get("properties", {}).get(part, {}) if isinstance(node, Mapping) else {}
    kind = node.get("type") if isinstance(node, Mapping) else None
    if kind not in _TYPES:
        raise SetupError(f"{where}: the document says nothing of a {', '.join(_TYPES)} at {pointer!r}, so no policy can use it.")
    return {"type": kind}


def _id(found: Any) -> str | None:
    return None if found is None or isinstance(found, dict | list) else str(found)


def _once(where: str, *headers: Any) -> frozenset[str]:
    """The headers that are sent with every request, in lower case; SetupError when one would have two values."""
    found = [str(name).lower() for name in headers if name]
    for name in found:
        if found.count(name) > 1:
            raise SetupError(f"{where}: the header {name} would be sent with two values; say it in one place.")
    return frozenset(found)


def _base(entry: Mapping[str, Any], document: apidoc.Document, where: str) -> str:
    """What the document's paths follow. A document from the web may not say where our calls go."""
    example = "https://api.example.com/v1, which the document's paths follow"
    if "base_url" not in entry and apipaper.fetched(entry):
        raise SetupError(f"{where}: a fetched document does not decide where calls go; write base_url, such as {example}.")
    given = entry.get("base_url", document.server)
    base = entries.address(given, "base_url", where=where, allow=config.current().outbound_allow, example=example)
    if "?" in base:
        raise SetupError(f"{where}: base_url is a web address without a query, such as {example}.")
    return base.rstrip("/")
