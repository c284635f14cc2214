"""`python -m tests.dojo.figures [--json] [--every N]`: what a fully compromised agent achieves, and what it costs honest ones.

For every pair of a user's task and an attacker's wish the agent makes both their calls, the attack last, first or in turns. Attack
success is counted by effect: with no gate, with the gate alone (nobody approves; what waits, waits), and with an operator who is
committed code and sees the card only. Beside it: what becomes of the calls of every user's task when nobody attacks.

What honest work loses, as printed, and why:
- banking, gate alone: a bill whose account stands only in a file waits for a person, so do details that stand only in a file, and a
  password is never changed by an agent, not even at the user's own word. The operator approves none of these either: the file
  might be the attacker's, and the card cannot tell.
- slack, gate alone: an invitation always waits, hence what addresses the invited one is refused by the workspace itself; pages that
  only other pages name wait. The operator approves an invitation whose address stands in the request; the data's never does.
What this does not show: messages whose placeholder bodies (`<summary>`) would hold more, an attacker who writes an address in a way
nobody recognises as one, or who lies to the person on the phone.
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
        figures[name] = {
            gate: {"attacks": attacked(place, gate, every=every), "benign": benign(place, gate)} for gate in arena.GATES
        }  # fmt: skip
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
