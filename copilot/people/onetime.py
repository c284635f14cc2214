"""Secrets that are shown once: 256 random bits, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets


def fresh(prefix: str) -> tuple[str, str]:
    """A new secret and its hash. The prefix lets a secret scanner, and a person, recognise what leaked."""
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    return secret, hashed(secret)


def hashed(secret: str) -> str:
    """What is stored of it, in hex. A plain hash is enough: there is nothing to guess in 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, stored: str) -> bool:
    """Whether this is the secret whose hash is stored, compared in constant time."""
    return hmac.compare_digest(hashed(secret), stored)
