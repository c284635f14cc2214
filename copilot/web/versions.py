"""A version of the policies for reading: what changed against another, sentence by sentence and line by line, and its replay in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from copilot.errors import BadInput, SetupError
from copilot.gate import cases, history, policy, proofread, rules, tools
from copilot.gate.cases import Report
from copilot.gate.policy import Policies
from copilot.toolkit import Money
from copilot.web import money, text

ABOUT = {
    "proposals": "Proposals, as they were first judged",
    "edits": "Edits and refreshed proposals",
    "last checks": "Last checks before the call",
    "reads": "Reads",
}

_ID = re.compile(r'@id\(\s*"([^"]*)"')
_MOST_LINES = 4_000


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version has and another has not: sentences by policy or budget, and each changed file as a marked unified diff."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    files: tuple[tuple[str, Markup], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a replay's result: what would have gone otherwise, how often, about what money, why, and where to look."""

    about: str
    before: str
    after: str
    looser: bool
    count: int
    money: str
    why: tuple[str, ...]
    samples: tuple[str, ...]


def read(files: Mapping[str, str]) -> tuple[Policies | None, str | None]:
    """The policies of this text, or why they cannot be read."""
    try:
        return policy.from_files(files, tools=tools.current().all()), None
    except (BadInput, SetupError) as error:
        return None, str(error)


def tested(policies: Policies | None) -> tuple[Report | None, str | None]:
    """How the version's own tests went, or why they cannot be read; neither where it has none or cannot be read itself."""
    if policies is None or not policies.files.get("tests.toml", "").strip():
        return None, None
    try:
        return cases.run(policies, tools.current().all()), None
    except BadInput as error:
        return None, str(error)


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> Difference:
    """What changes from one text to the other."""
    before, after = _pieces(old), _pieces(new)
    sentences = _sentences(old) | _sentences(new)
    names = list(dict.fromkeys([*after, *before]))  # in the order of the files, what is gone last
    said = {name: sentences.get(name, name) for name in names}
    files = [name for name in sorted({*old, *new}) if old.get(name, "") != new.get(name, "")]
    return Difference(
        added=tuple(said[name] for name in names if name not in before),
        removed=tuple(said[name] for name in names if name not in after),
        changed=tuple(said[name] for name in names if name in before and name in after and before[name] != after[name]),
        files=tuple((name, lines(old.get(name, ""), new.get(name, ""))) for name in files),
    )


def touched(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The files that differ."""
    return sorted(name for name in {*old, *new} if old.get(name, "") != new.get(name, ""))


def lines(old: str, new: str) -> Markup:
    """A unified diff, safe for a page; very long files are shown as a whole in place of a comparison."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) + len(after) > _MOST_LINES:
        return text.shown(new)
    marked = []
    for line in list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]:
        shown = text.shown(line)
        marked.append(
            Markup("<ins>{}</ins>").format(shown)
            if line[:1] == "+"
            else Markup("<del>{}</del>").format(shown)
            if line[:1] == "-"
            else shown
        )
    return Markup("\n").join(marked)


def outcome(result: Mapping[str, Any], key: str, policies: Policies | None) -> list[Line]:
    """The flips or the unknowns of a stored replay, in words."""
    sentences = {} if policies is None else policies.sentences | {rule.id: rule.sentence for rule in policies.budget_rules}
    found = []
    for entry in result.get(key, ()):
        words = history.words(entry["about"])
        why = [(_why(each["reason"], sentences), each["count"]) for each in entry["reasons"]]
        found.append(
            Line(
                about=ABOUT.get(entry["about"], entry["about"]),
                before=words.get(entry.get("before", ""), ""),
                after=words.get(entry.get("after", ""), ""),
                looser=entry.get("direction") == "looser",
                count=entry["count"],
                money=", ".join(money.show(Money(minor, currency)) for currency, minor in entry["money"].items()),
                why=tuple(f"{sentence} ({count:,})" for sentence, count in why if sentence),
                samples=tuple(entry["samples"]),
            )
        )
    return found


def _why(reason: str, sentences: Mapping[str, str]) -> str:
    """A deciding policy's, budget's or gate rule's sentence; what is a sentence already stays."""
    told = [sentences.get(name) or (rules.RULES[name].sentence if rules.known(name) else "") for name in reason.split(" ")]
    return " ".join(sentence for sentence in told if sentence) or (reason if " " in reason else "")


def _pieces(files: Mapping[str, str]) -> dict[str, str]:
    """Each policy's text by its id, comments and blanks at its ends left out."""
    found = {}
    for name, source in sorted(files.items()):
        if name.endswith(".cedar"):
            for _, piece in proofread.statements(source):
                named = _ID.search(piece)
                found[named.group(1) if named else piece[:40]] = " ".join(piece.split())
    policies, _ = read(files)
    return found | ({rule.id: repr(rule) for rule in policies.budget_rules} if policies is not None else {})


def _sentences(files: Mapping[str, str]) -> dict[str, str]:
    policies, _ = read(files)
    return {} if policies is None else policies.sentences | {rule.id: rule.sentence for rule in policies.budget_rules}
