"""How a configured tool proves who it is to its service: nothing, a bearer token, a header, a password, or OAuth 2."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from copilot.audit import ownsecrets
from copilot.errors import SetupError
from copilot.gateway import entries, oauth, secrets
from copilot.toolkit import ToolError

_KEYS: dict[str, tuple[frozenset[str], frozenset[str]]] = {  # kind -> what it needs, what it may have besides
    "none": (frozenset(), frozenset()),
    "bearer": (frozenset({"secret"}), frozenset()),
    "header": (frozenset({"name", "secret"}), frozenset()),
    "basic": (frozenset({"user", "secret"}), frozenset()),
    "oauth2": (frozenset({"token_url", "client_id", "secret"}), frozenset({"audience", "send"})),
}
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}\Z")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What to put on each request. `references` are the secrets it rests on, for checks that never show a value."""

    kind: str
    options: Mapping[str, Any]
    tokens: oauth.Tokens | None = None
    scopes: tuple[str, ...] = ()

    @property
    def header(self) -> str | None:
        """The header that carries the proof, in lower case."""
        return {"none": None, "header": str(self.options.get("name")).lower()}.get(self.kind, "authorization")

    @property
    def shown(self) -> dict[str, Any]:
        """As whom we come, for people and for a tool's definition: the secret's reference stands for the secret."""
        return {"kind": self.kind, **self.options} | ({"scopes": list(self.scopes)} if self.tokens is not None else {})

    @property
    def references(self) -> tuple[str, ...]:
        """The secret references in use."""
        return (self.options["secret"],) if "secret" in self.options else ()

    def headers(self, *, seconds: float) -> dict[str, str]:
        """The headers of one request; ToolError that says nothing happened when they cannot be had."""
        if self.tokens is not None:
            return {"authorization": f"Bearer {self.tokens.current(seconds=seconds)}"}
        if self.kind == "none":
            return {}
        try:
            value = secrets.resolve(self.options["secret"]).reveal()
        except SetupError as error:
            raise ToolError(f"{error} Nothing happened.", happened=False) from error
        if self.kind == "bearer":
            return {"authorization": f"Bearer {value}"}
        if self.kind == "basic":
            packed = base64.b64encode(f"{self.options['user']}:{value}".encode()).decode()
            ownsecrets.protect(packed)
            return {"authorization": f"Basic {packed}"}
        return {self.options["name"].lower(): value}

    def renew(self, used: Mapping[str, str]) -> bool:
        """Whether a request that was answered with 401 may be made again with a fresh token."""
        if self.tokens is None:
            return False
        self.tokens.drop(used["authorization"].removeprefix("Bearer "))
        return True


def read(where: str, given: Any, *, scopes: Any, allow: Iterable[str]) -> Credentials:
    """The `auth` of a configured source for one tool; SetupError says what is wrong. Every secret must be set by now.

    `allow` lists the hosts whose token service may be reached without https.
    """
    auth = {"kind": "none"} if given is None else given
    kind = auth.get("kind") if isinstance(auth, Mapping) else None
    if kind not in _KEYS:
        raise SetupError(f"{where}: auth has a kind, which is one of {', '.join(_KEYS)}.")
    needed, besides = _KEYS[kind]
    options = {key: value for key, value in auth.items() if key != "kind"}
    if not needed <= set(options) <= needed | besides or not all(isinstance(value, str) and value for value in options.values()):
        raise SetupError(f"{where}: auth of the kind {kind} is written with {', '.join(sorted(needed)) or 'nothing else'}.")
    if kind == "header" and not _HEADER.match(options["name"]):
        raise SetupError(f"{where}: {options['name'][:40]!r} is no header's name.")
    if "secret" in options:
        secrets.resolve(options["secret"])
    if kind != "oauth2":
        if scopes:
            raise SetupError(f"{where}: scopes belong to auth of the kind oauth2.")
        return Credentials(kind, options)
    if not isinstance(scopes, list) or not all(isinstance(scope, str) and re.fullmatch(r"[!#-\[\]-~]{1,200}", scope) for scope in scopes):
        raise SetupError(f'{where}: name the scopes this tool needs and no more, such as scopes = ["refunds:write"]; [] for none.')
    entries.address(options["token_url"], "token_url", where=where, allow=allow, example="https://login.example.com/token")
    if options.get("send", "basic") not in ("basic", "form"):
        raise SetupError(f'{where}: send is "basic" or "form".')
    client = oauth.Client(
        options["token_url"], options["client_id"], options["secret"], options.get("audience"), post=options.get("send") == "form"
    )
    return Credentials(kind, options, oauth.Tokens(client, tuple(scopes)), tuple(scopes))
