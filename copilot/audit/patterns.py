"""What personal values and secrets look like: each detector yields (start, end, kind) for what it finds in a text.

Every shape is checked by more than its shape where more is known (Luhn, IBAN, dialling plans), and every quantifier is
bounded, so a hostile text costs time in proportion to its length. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

import phonenumbers
from stdnum import iban, luhn
from stdnum.us import ssn

Span = tuple[int, int, str]

SEVEN_DIGITS = re.compile(r"\d(?:[ \-./()]{0,3}\d){6}")
_EMAIL = re.compile(r"[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_DIGITS = re.compile(r"(?<![\w.])[2-6](?:[ -]?\d){12,18}(?!\w)")
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,4})?(?!\w)")
_SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_PHONE = re.compile(
    r"(?<![\w.+/#-])(?:\+|00)?\(?\d{1,4}\)?(?:[ .-]{1,2}\(?\d{2,4}\)?){1,5}(?:[ .-]?\d{2,5})?(?: ?(?:x|ext\.?) ?\d{1,6})?(?!\w)",
    re.IGNORECASE,
)
_THREE_DIGITS = re.compile(r"\d{3}")  # sizes such as 10 12 14 16 come in twos
_PART_OF_AN_ID = re.compile(r"[\w#][-/]?\Z")  # ORD-2025-000123
_DATE = re.compile(r"(?:19|20)\d\d[-. ](?:0?[1-9]|1[0-2])[-. ]|(?:0?[1-9]|[12]\d|3[01])[-. ](?:0?[1-9]|1[0-2])[-. ](?:19|20)\d\d\b")
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.{0,10000}?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?<![\w-])(?:sk|pk|rk)[-_](?:(?:live|test|proj|ant)[-_])?[A-Za-z0-9_-]{16,200}"),
    re.compile(r"(?<!\w)(?:gh[opsur]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|glpat-[\w-]{20,64}|xox[abeprs]-[\w-]{10,255})"),
    re.compile(r"(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)|(?<!\w)AIza[\w-]{35}"),
    re.compile(r"(?<!\w)eyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}\.[\w-]{8,2000}"),
    re.compile(r"(?i)(?<!\w)bearer\s{1,4}([\w.~+/-]{16,2000}={0,2})"),
    re.compile(
        r"(?i)(?<!\w)(?:password|passwort|passcode|api[ _-]?key|client[ _-]?secret|access[ _-]?token)"
        r"(?:\s{0,3}[:=]\s{0,3}|\s{1,3}is\s{1,3})[\"']?([^\s\"',;]{6,200})"
    ),
)


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from ((found.start(), found.end(), "email") for found in _EMAIL.finditer(text))


def _cards(text: str) -> Iterator[Span]:
    for found in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if len(set(digits)) > 1 and luhn.is_valid(digits):
            yield found.start(), found.end(), "card"


def _ibans(text: str) -> Iterator[Span]:
    for found in _IBAN.finditer(text):
        words = found[0].split(" ")
        for count in range(len(words), 0, -1):  # the words that follow an IBAN can look like its last group
            candidate = " ".join(words[:count])
            if iban.is_valid(candidate):
                yield found.start(), found.start() + len(candidate), "iban"
                break


def _ssns(text: str) -> Iterator[Span]:
    yield from ((found.start(), found.end(), "ssn") for found in _SSN.finditer(text) if ssn.is_valid(found[0]))


def _ips(text: str) -> Iterator[Span]:
    for pattern in (_IPV4, _IPV6):
        for found in pattern.finditer(text):
            try:
                ipaddress.ip_address(found[0])
            except ValueError:
                continue
            yield found.start(), found.end(), "ip"


def _phones(text: str) -> Iterator[Span]:
    """Numbers that some country really dials, and groups of digits written the way people write telephone numbers."""
    if not SEVEN_DIGITS.search(text):
        return
    for region in ("US", "GB"):
        for match in phonenumbers.PhoneNumberMatcher(text, region):
            if not _PART_OF_AN_ID.search(text, max(0, match.start - 2), match.start):
                yield match.start, match.end, "phone"
    for found in _PHONE.finditer(text):
        digits = sum(character.isdigit() for character in found[0])
        if 8 <= digits <= 20 and _THREE_DIGITS.search(found[0]) and not _DATE.match(found[0]):
            yield found.start(), found.end(), "phone"


def _secrets(text: str) -> Iterator[Span]:
    for pattern in _SECRETS:
        for found in pattern.finditer(text):
            group = 1 if pattern.groups else 0
            yield found.start(group), found.end(group), "secret"


DETECTORS: tuple[Callable[[str], Iterator[Span]], ...] = (_emails, _cards, _ibans, _ssns, _ips, _phones, _secrets)
