"""Passwords: argon2id, and one length of time for every answer."""

from __future__ import annotations

from dataclasses import astuple
from functools import cache

from argon2 import Parameters, PasswordHasher, profiles
from argon2.exceptions import InvalidHashError, VerificationError

from copilot.errors import BadInput

PROFILE: Parameters = profiles.RFC_9106_LOW_MEMORY  # tests set profiles.CHEAPEST

SHORTEST = 12
LONGEST = 200


def _hasher(profile: Parameters) -> PasswordHasher:
    return PasswordHasher.from_parameters(profile)


@cache
def _nobodys(*parts: object) -> str:
    return _hasher(Parameters(*parts)).hash("nobody has this password")  # type: ignore[arg-type]  # as astuple took it apart


def check(password: str) -> str:
    """The password if it may be set; BadInput says what is wrong with it."""
    problem = None
    if len(password) < SHORTEST:
        problem = f"Use at least {SHORTEST} characters; a few words in a row are fine."
    elif len(password) > LONGEST:
        problem = f"Use at most {LONGEST} characters."
    elif not password.strip() or "\0" in password:
        problem = "Use characters one can type."
    if problem:
        raise BadInput(problem, problems={"password": problem})
    return password


def hash(password: str) -> str:  # noqa: A001 - always called as passwords.hash
    """The argon2id hash to store; BadInput for a password that is too short or too long."""
    return _hasher(PROFILE).hash(check(password))


def verify(hashed: str | None, password: str) -> bool:
    """Whether the password is the one hashed. With None it takes as long and says no, so that nobody learns who exists."""
    stand_in = _nobodys(*astuple(PROFILE))  # made on the first call, whoever that is about
    try:
        matches = _hasher(PROFILE).verify(hashed or stand_in, password[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return False
    return matches and hashed is not None
