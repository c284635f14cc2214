"""The one-use token a tool gets with a call: who acts for whom, on what, with exactly which arguments, for a minute.

Signed with Ed25519, so that a tool which can check it (see `copilot.proof`) cannot mint one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from copilot import config, proof
from copilot.toolkit import Tool

if TYPE_CHECKING:
    from copilot.gate.facts import Snapshot  # costs the whole database layer, which the supervisor, who hands out the keys, can spare

_PURPOSE = b"copilot tool token ed25519 v1"


def mint(snap: Snapshot, tool: Tool, arguments: Mapping[str, Any], digest: str) -> str:
    """A token for one call of this tool, as approved under `digest`. Its `sub` is the ticket's customer, else whose target it is."""
    key, key_id = _pair(config.current().secret)
    issued = int(datetime.now(UTC).timestamp())
    customer = snap.customer.external_id if snap.customer else snap.version.customer_ref
    claims = {
        "iss": proof.ISSUER,
        "aud": f"tool:{tool.name}",
        "sub": customer or "",
        "act": {"sub": snap.agent.name},
        "jti": secrets.token_urlsafe(24),
        "target": snap.version.target,
        "digest": digest,
        "arguments": proof.fingerprint(arguments),
        "key": snap.proposal.id,
        "iat": issued,
        "exp": issued + proof.LIFETIME,
    }
    return jwt.encode(claims, key, algorithm=proof.ALGORITHM, headers={"kid": key_id, "typ": proof.KIND})


def public_jwks(secret: str | None = None) -> dict[str, Any]:
    """The public keys of this installation as a JWKS document; of this secret, where no settings are installed yet."""
    key, key_id = _pair(secret if secret is not None else config.current().secret)
    return {"keys": [_jwk(key) | {"kid": key_id, "use": "sig", "alg": proof.ALGORITHM}]}


@lru_cache(maxsize=4)
def _pair(secret: str) -> tuple[Ed25519PrivateKey, str]:
    """The signing key of a secret, and its id: the thumbprint of the public part (RFC 7638)."""
    seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
    key = Ed25519PrivateKey.from_private_bytes(seed)
    canonical = json.dumps(_jwk(key), sort_keys=True, separators=(",", ":")).encode()
    return key, _encoded(hashlib.sha256(canonical).digest())


def _jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": _encoded(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))}


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
