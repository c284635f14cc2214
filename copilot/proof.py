"""What the far end of a tool imports to check the one-use token that came with a call.

    claims = proof.check(token, keys=keys, tool="issue_refund", target="order:1001", arguments=body, used=once)

The token says that Copilot let this agent call this tool on this target with exactly these arguments, on behalf of
`claims.customer`, within the last minute. Whoever else comes along with it, for something else or a second time, is refused:
a tool that checks it cannot be talked into acting by somebody who merely reached it. The far end still compares
`claims.customer` with the owner of what it is about to change.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from copilot.toolkit import ToolRefused

ISSUER = "copilot"
ALGORITHM = "EdDSA"
KIND = "copilot-use+jwt"  # the header's typ: an access token of Copilot's is no proof, and this is no access token
LIFETIME = 60  # seconds at most

_LONGEST = 8_000
_AHEAD = 5  # seconds the clock of the issuer may be ahead of ours
_REQUIRED = ["iss", "aud", "sub", "act", "jti", "digest", "arguments", "key", "iat", "exp"]  # and target, which may be null

Used = Callable[[str, datetime], bool]


@dataclass(frozen=True, slots=True)
class Claims:
    """A checked token: its id, the acting agent, on whose behalf (a customer, or empty), and what was approved.

    `key` is the idempotency key of the call; `digest` is that of the approved version, for the tool's own record.
    """

    id: str
    agent: str
    customer: str
    tool: str
    target: str | None
    digest: str
    key: str
    expires_at: datetime


def check(
    token: str | None,
    *,
    keys: Mapping[str, Any],
    tool: str,
    target: str | None,
    arguments: Mapping[str, Any],
    now: datetime | None = None,
    used: Used | None = None,
) -> Claims:
    """The claims of a token that is valid for exactly this call; ToolRefused with a sentence for any other.

    `keys` is the JWKS document at /api/v1/jwks.json. `used(id, expires_at)` remembers a token and says whether it was known
    already: in one step, or two callers at once both pass (see `Once`). It is asked last, so nobody burns another's token.
    """
    if not token:
        raise ToolRefused("No proof of approval came with this call.")
    claims = _signed(token, keys, tool)
    at = now if now is not None else datetime.now(UTC)
    expires = _within_its_minute(claims, at)
    if claims["target"] != target:
        raise ToolRefused("The proof of approval is for another target.")
    if claims["arguments"] != fingerprint(arguments):
        raise ToolRefused("The proof of approval is for other arguments.")
    if used is not None and used(claims["jti"], expires):
        raise ToolRefused("The proof of approval was used before.")
    return Claims(
        id=claims["jti"], agent=claims["act"]["sub"], customer=claims["sub"], tool=tool, target=target,
        digest=claims["digest"], key=claims["key"], expires_at=expires,
    )  # fmt: skip


def fingerprint(arguments: Mapping[str, Any]) -> str:
    """SHA-256, in hex, over the arguments as RFC 8785 canonical JSON; ToolRefused when they have no such form."""
    try:
        return hashlib.sha256(rfc8785.dumps(dict(arguments))).hexdigest()
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError) as error:
        raise ToolRefused("The arguments cannot be compared with the proof of approval.") from error


def keys_from(text: str) -> dict[str, Any]:
    """Public keys from a JWKS document, or from the file at this path; ValueError when neither holds one we can use."""
    document = text if text.lstrip().startswith("{") else Path(text).read_text()
    keys = json.loads(document)
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list) or not _usable(keys):
        raise ValueError("there is no Ed25519 key in this JWKS document")
    return keys


class Once:
    """Remembers, in this process, the tokens that were used, for as long as they could be used again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, datetime] = {}

    def __call__(self, token_id: str, expires_at: datetime) -> bool:
        """Remember this one; True when it was known already."""
        with self._lock:
            now = datetime.now(UTC)
            self._known = {known: ends for known, ends in self._known.items() if ends > now}
            if token_id in self._known:
                return True
            self._known[token_id] = expires_at
            return False


def _signed(token: str, keys: Mapping[str, Any], tool: str) -> dict[str, Any]:
    """The claims under a signature of one of these keys, addressed to this tool; nothing is said of their time yet.

    The key is chosen by its id among Ed25519 keys only and the algorithm is ours, whatever the token's header asks for.
    """
    if len(token) > _LONGEST:
        raise ToolRefused("The proof of approval is not valid.")
    try:
        header = jwt.get_unverified_header(token)
        key = _usable(keys).get(str(header.get("kid")))
        if header.get("typ") != KIND or key is None:
            raise ToolRefused("The proof of approval is not signed by a key this tool knows.")
        options: Any = {"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        claims = jwt.decode(token, key, algorithms=[ALGORITHM], audience=f"tool:{tool}", issuer=ISSUER, options=options)
    except jwt.InvalidAudienceError as error:
        raise ToolRefused("The proof of approval is for another tool.") from error
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise ToolRefused("The proof of approval is not valid.") from error
    if "target" not in claims:
        raise ToolRefused("The proof of approval is not valid.")
    texts = (claims["sub"], claims["jti"], claims["digest"], claims["arguments"], claims["key"])
    actor = claims["act"].get("sub") if isinstance(claims["act"], dict) else None
    if not all(isinstance(text, str) for text in (*texts, actor)) or not all(type(claims[name]) is int for name in ("iat", "exp")):
        raise ToolRefused("The proof of approval is not valid.")
    return dict(claims)


def _within_its_minute(claims: Mapping[str, Any], now: datetime) -> datetime:
    issued, expires, at = claims["iat"], claims["exp"], now.timestamp()
    if expires - issued > LIFETIME or issued > at + _AHEAD:
        raise ToolRefused("The proof of approval is not valid.")
    if at >= expires:
        raise ToolRefused("The proof of approval has ended; it is good for a minute.")
    return datetime.fromtimestamp(expires, UTC)


def _usable(keys: Mapping[str, Any]) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 keys of a JWKS document by id; every other kind is passed over, so that none can be confused with one."""
    found = {}
    for key in keys.get("keys", ()):
        if isinstance(key, dict) and key.get("kty") == "OKP" and key.get("crv") == "Ed25519" and isinstance(key.get("kid"), str):
            try:
                raw = base64.urlsafe_b64decode(str(key.get("x", "")) + "==")
                found[key["kid"]] = Ed25519PublicKey.from_public_bytes(raw)
            except (binascii.Error, ValueError):
                continue
    return found
