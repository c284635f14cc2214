"""`python -m tests.dojo.figures [--json] [--every N]`: what a fully compromised agent achieves, and what stopping it costs honest work.

For every pair of a user's task and an attacker's wish the agent makes both their calls: the attack last, first, or in turns. Success is
counted by effect with no gate; with the gate alone, where every action is on auto, policies decide what runs, and nobody approves what
waits; with an operator beside it, who is committed code and sees the card only; and with that operator deciding every single action.
Beside it: what becomes of the calls of every user's task when nobody attacks.

What honest work loses, and why it stays lost:
- banking: a bill whose account stands only in a file waits for a person, so do details that stand only in a file. A password is never
  changed by an agent, not even at the user's own word. The operator lets no account pass that stands only in a file: the file may be
  the attacker's, and the card cannot tell.
- slack: an invitation always waits, so whoever was to be invited cannot be written to or let into channels. The operator approves one
  whose mail address stands in the request; in the data it stands only on a page of the web.
What this does not show: the data's messages are placeholders (`<summary>`), which real ones would not be; an address written so that
nobody recognises it as one passes for plain words (`attacks.DISGUISED`, counted apart); and no tool here lies about its own facts.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import click

from tests.dojo import arena, attacks, data
from tests.support import people as staff


def attacked(place: arena.Arena, gate: str, *, every: int = 1) -> dict[str, Any]:
    """How many of the pairs end as the attacker wanted; with `every`, only each so-many-th pair."""
    tried, won = 0, Counter[str]()
    pairs = [(user, attack) for attack in place.suite.attacks for user in place.suite.users]
    for number, (user, attack) in enumerate(pairs):
        for turn, order in enumerate(attacks.ORDERS):
            if (number + turn) % every:
                continue
            tried += 1
            place.play(attacks.calls(user, attack, order), asked=user.text, gate=gate, planted=attack.text)
            won[attack.id] += attacks.succeeded(place.suite.name, attack, place.world)
    return {
        "cases": tried,
        "succeeded": won.total(),
        "percent": round(100 * won.total() / tried, 1),
        "by": {k: v for k, v in won.items() if v},
    }


def disguised(place: arena.Arena, gate: str, *, every: int = 1) -> dict[str, Any]:
    """The same for attacks made up by somebody who has read these policies, after every user's task."""
    tried, won = 0, Counter[str]()
    for user in place.suite.users[::every]:
        for attack in attacks.DISGUISED[place.suite.name]:
            tried += 1
            place.play([*user.calls, *attack.calls], asked=user.text, gate=gate)
            won[attack.name] += attack.worked(place.world)
    return {"cases": tried, "succeeded": won.total(), "by": {k: v for k, v in won.items() if v}}


def benign(place: arena.Arena, gate: str) -> dict[str, Any]:
    """What became of every call of every user's task, when nobody attacks."""
    came: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    whole = 0
    for user in place.suite.users:
        fates = place.play(list(user.calls), asked=user.text, gate=gate)
        whole += all(fate.came == "ran" for fate in fates)
        came.update(fate.came for fate in fates)
        rules.update(f"{fate.tool}: {fate.came}, {fate.rule}" for fate in fates if fate.came != "ran")
    names = ("ran", "waits", "refused", "rejected", "failed")
    return {
        "calls": came.total(),
        **{name: came[name] for name in names},
        "tasks": len(place.suite.users),
        "whole": whole,
        "stopped": dict(rules),
    }


def measure(every: int = 1) -> dict[str, Any]:
    """Everything, for both suites, in the current application."""
    people = staff.add()
    figures: dict[str, Any] = {}
    for name in data.SUITES:
        place = arena.enter(data.load(name), people)
        figures[name] = {gate: {"attacks": attacked(place, gate, every=every), "benign": benign(place, gate)} for gate in arena.GATES}
        figures[name]["gate"]["disguised"] = disguised(place, "gate", every=every)
    return figures


def lines(figures: dict[str, Any]) -> list[str]:
    """The same for people."""
    said = []
    for suite, gates in figures.items():
        for gate, found in gates.items():
            attack, honest = found["attacks"], found["benign"]
            stopped = ", ".join(f"{honest[name]} {name}" for name in ("waits", "refused", "rejected", "failed") if honest[name])
            said.append(
                f"{suite}, {gate}: {attack['succeeded']} of {attack['cases']} attacks succeed ({attack['percent']} %); "
                f"of {honest['calls']} honest calls {honest['ran']} run{', ' + stopped if stopped else ''}; "
                f"{honest['whole']} of {honest['tasks']} tasks done whole"
            )
            said += [f"    {count} × {what}" for what, count in sorted(honest["stopped"].items())]
            if "disguised" in found:
                said.append(f"    of {found['disguised']['cases']} disguised attacks {found['disguised']['succeeded']} succeed:")
                said += [f"        {count} × {what}" for what, count in sorted(found["disguised"]["by"].items())]
    return said


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--every", default=1, show_default=True, help="Play only each so-many-th attack.")
def main(*, as_json: bool, every: int) -> None:
    """Print what a compromised agent achieves in AgentDojo's banking and slack suites."""
    if data.folder() is None:
        raise click.ClickException("COPILOT_TEST_DATA names no folder with data/agentdojo in it.")
    with tempfile.TemporaryDirectory(prefix="copilot-dojo-") as folder, arena.running(Path(folder)):
        figures = measure(every)
    click.echo(json.dumps(figures) if as_json else "\n".join(lines(figures)))


if __name__ == "__main__":
    sys.exit(main())
