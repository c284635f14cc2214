"""A policy folder as text: `*.cedar`, `budgets.toml`, `calendar.toml` and `tests.toml`, read and proofread.

Every mistake is named with its file, line and policy, and with what was probably meant.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy
from cedarpy import pst

from copilot.errors import BadInput, SetupError
from copilot.gate import budgets, calendar, proofread, rules, vocabulary
from copilot.gate.budgets import BudgetRule
from copilot.gate.calendar import Calendar
from copilot.gate.vocabulary import Vocabulary
from copilot.toolkit import Tool

BUDGETS, CALENDAR, TESTS = "budgets.toml", "calendar.toml", "tests.toml"

_EXTRA = (BUDGETS, CALENDAR, TESTS)
_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}\.cedar")
_LONGEST_FILE = 200_000
_MOST_FILES = 40


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy: where it stands, what its author wrote for people, and what it asks about."""

    file: str
    line: int
    id: str
    sentence: str
    next_step: str
    policy: pst.Template
    asked: frozenset[proofread.Mention]
    mentions: frozenset[str]

    @property
    def permits(self) -> bool:
        """Whether it permits; the others forbid."""
        return self.policy.effect == "permit"

    def concerns(self, action: str) -> bool:
        """Whether it speaks about this question at all."""
        scope = self.policy.action
        if isinstance(scope, pst.ActionEq):
            return scope.entity.id == action
        return not isinstance(scope, pst.ActionIn) or any(each.id == action for each in scope.entities)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder without mistakes. `text` is all policies as one, in which statement N has the name `policyN`."""

    text: str
    statements: tuple[Statement, ...]
    words: Vocabulary
    schema: Any
    budget_rules: tuple[BudgetRule, ...]
    calendar: Calendar
    hash: str


def from_disk(directory: Path) -> dict[str, str]:
    """The folder's files by name; SetupError when one cannot be read."""
    names = [*(file.name for file in directory.glob("*.cedar")), BUDGETS, CALENDAR, TESTS]
    try:
        return {name: (directory / name).read_text(encoding="utf-8") for name in sorted(names) if (directory / name).is_file()}
    except (OSError, UnicodeError) as error:
        raise SetupError(f"Policies in {directory} cannot be read: {error}") from error


def tidy(files: Mapping[str, str]) -> dict[str, str]:
    """Known names only, one kind of line end, a line end at the end, and no empty files."""
    odd = [name for name in files if name not in _EXTRA and not _FILE.fullmatch(name)]
    if odd:
        allowed = f"a name such as refunds.cedar, or one of {', '.join(_EXTRA)}"
        raise BadInput(f"A policy file has {allowed}.", problems={odd[0]: f"use {allowed}"})
    long = [name for name, text in files.items() if len(text) > _LONGEST_FILE or "\x00" in text]
    if long or len(files) > _MOST_FILES:
        problems = dict.fromkeys(long, f"at most {_LONGEST_FILE:,} characters, and no character NUL")
        raise BadInput(f"A version holds at most {_MOST_FILES} files of {_LONGEST_FILE:,} characters.", problems=problems)
    lines = {name: text.replace("\r\n", "\n").replace("\r", "\n").strip("\n") for name, text in files.items()}
    return {name: f"{text}\n" for name, text in sorted(lines.items()) if text.strip()}


def read(files: Mapping[str, str], *, tools: Iterable[Tool] = ()) -> Folder:
    """Read and proofread everything; BadInput.problems has a sentence for each file with a mistake."""
    sources = {name: text for name, text in sorted(files.items()) if name.endswith(".cedar")}
    if not sources:
        raise BadInput("There are no .cedar files, so nothing could ever be allowed.", problems={"": "write a .cedar file"})
    rates = _budgets(files.get(BUDGETS, ""))
    hours = calendar.read(files.get(CALENDAR, ""))
    words = vocabulary.of(tools, [rule.id for rule in rates])
    problems: dict[str, list[str]] = {}
    statements = [statement for name, text in sources.items() for statement in _statements(name, text, problems)]
    _say(problems)
    for statement in statements:
        for why in proofread.mistakes(statement.policy, words):
            problems.setdefault(statement.file, []).append(_at(statement, why))
    _names(statements, rates, problems)
    _say(problems)
    text = "\n".join(sources.values())
    schema = cedarpy.Schema.from_str(words.text())
    _validate(text, schema, statements, problems)
    _say(problems)
    whole = json.dumps(sorted(files.items()), ensure_ascii=True).encode()
    return Folder(text, tuple(statements), words, schema, rates, hours, hashlib.sha256(whole).hexdigest())


def _budgets(text: str) -> tuple[BudgetRule, ...]:
    try:
        return budgets.read(text, source=BUDGETS)
    except SetupError as error:
        raise BadInput(str(error), problems={BUDGETS: str(error)}) from error


def _statements(name: str, text: str, problems: dict[str, list[str]]) -> list[Statement]:
    found = []
    for line, piece in proofread.statements(text):
        try:
            parsed = cedarpy.policies_to_pst(piece)
        except ValueError as error:
            problems.setdefault(name, []).append(f"{name} line {line}: this does not parse: {error}")
            continue
        for policy in parsed.static_policies.values():
            notes = policy.annotations
            words = (notes.get("id", ""), notes.get("sentence", ""), notes.get("next", ""))
            found.append(Statement(name, line, *words, policy, proofread.asked(policy), proofread.mentions(policy)))
        if parsed.templates:
            problems.setdefault(name, []).append(f"{name} line {line}: templates with ?principal or ?resource are not supported")
    return found


def _names(statements: list[Statement], rates: tuple[BudgetRule, ...], problems: dict[str, list[str]]) -> None:
    """Ids and sentences: every policy has both, an id is fit for the record, and none means two things."""
    taken = {rule.id: "a budget has" for rule in rates}
    for statement in statements:
        why = None
        if not statement.id or not statement.sentence:
            why = "every policy carries @id(…) and @sentence(…)"
        elif not budgets.ID.fullmatch(statement.id):
            why = f"@id {statement.id[:80]!r}: use lower-case letters, digits, dots and dashes, at most 64"
        elif statement.id in taken:
            why = f"{taken[statement.id]} the same @id"
        elif rules.known(statement.id) and statement.id != rules.BROKEN:
            why = "this @id is the name of one of the gate's own rules; choose another"
        taken[statement.id] = "another policy has"
        if why is not None:
            problems.setdefault(statement.file, []).append(_at(statement, why))


def _validate(text: str, schema: Any, statements: list[Statement], problems: dict[str, list[str]]) -> None:
    """What Cedar's own strict validator says, in front of the policy it is about."""
    for error in cedarpy.validate_policies(text, schema).errors:
        number = error.policy_id.removeprefix("policy")
        why = error.error.replace(f"for policy `{error.policy_id}`, ", "").replace("`", "")
        if "optional attribute" in why:
            why += "; ask whether it is there first, as in context has amount_minor && context.amount_minor > 100"
        if number.isdigit() and int(number) < len(statements):
            statement = statements[int(number)]
            problems.setdefault(statement.file, []).append(_at(statement, why))
        else:
            problems.setdefault("", []).append(why)


def _at(statement: Statement, why: str) -> str:
    return f"{statement.file} line {statement.line}, policy {statement.id or 'without an id'}: {why}"


def _say(problems: Mapping[str, list[str]]) -> None:
    if problems:
        said = {name: "; ".join(sentences) for name, sentences in problems.items()}
        whole = "; ".join(said.values())
        raise BadInput(whole if whole.endswith("?") else f"{whole}.", problems=said)
