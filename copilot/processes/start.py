"""What `copilot demo` and `copilot up` do: bring an installation up, say where it is, and stay until told to stop."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from copilot.errors import SetupError
from copilot.processes import output, supervisor
from copilot.processes.family import Child, Family, Stopped
from copilot.processes.supervisor import Installation, Plan

_T = TypeVar("_T")

_PER_TICKET, _LEAST = 6.0, 180.0  # seconds the scripted operator may take
_SETTLING = 180.0


def up(plan: Plan) -> None:
    """Everything on this machine but the sample company, until Ctrl-C."""
    with supervisor.running(plan, output.to_terminal) as made:
        _say(f"\nCopilot is ready: {made.url}\nThe first account: copilot users add you@example.com --role admin\nStop with Ctrl-C.\n")
        _stay(made)


def demo(plan: Plan, *, tickets: int) -> None:
    """The product with the sample company and a trickle of its tickets, until Ctrl-C."""
    with supervisor.running(plan, output.to_terminal) as made:
        words = ("copilot.demo.trickle", "--base-url", made.url, "--tickets", str(tickets))
        made.family.start(supervisor.guest("trickle", *words, environ=_guest_environ(made), stranger=True))
        _say(_welcome(made))
        _stay(made)


def headless(plan: Plan, *, tickets: int, seed: int) -> dict[str, Any]:
    """Run the main job with the scripted operator and return what the checker found. Logs go to `logs` in the data folder."""
    sink = output.to_files(plan.data_dir / "logs")
    with supervisor.running(replace(plan, tokens=True), sink) as made:
        words = ("copilot.demo.operator", "--base-url", made.url, "--tickets", str(tickets), "--seed", str(seed))
        operator = supervisor.guest("operator", *words, environ=_guest_environ(made), stranger=True)
        code, told = _result(made, operator, seconds=max(_LEAST, _PER_TICKET * tickets))
        supervisor.end_tokens(made)
        made.family.also = None  # no more chaos: what is left has to settle
        asked = ("--shop", made.environ["COPILOT_SHOP_URL"], "--accepted", str(told["tickets"]), "--wait", str(_SETTLING))
        checker = supervisor.guest("checker", "copilot.processes.checker", *asked, environ=made.environ)
        checked, found = _result(made, checker, seconds=_SETTLING + 120)
    whole = told["tickets"] == tickets and told["finished"] and code == checked == 0
    return {"asked": tickets, "accepted": told["tickets"], "operator_finished": bool(told["finished"]), "complete": bool(whole)} | found


def passed(found: dict[str, Any]) -> bool:
    """Whether the whole job was done, nothing was lost or doubled, and the log verifies."""
    return bool(found["complete"]) and not found["lost"] and not found["duplicate_effects"] and bool(found["audit_verified"])


@contextmanager
def data_dir(chosen: Path | None, *, usual: str, headless: bool = False) -> Iterator[Path]:
    """The folder to keep data in: the chosen one; else a passing one for a headless run, and the setting's or `usual` otherwise."""
    if chosen is not None:
        yield chosen
    elif headless:
        with tempfile.TemporaryDirectory(prefix="copilot-demo-") as folder:
            yield Path(folder)
    else:
        yield Path(os.environ.get("COPILOT_DATA_DIR") or usual)


def _guest_environ(made: Installation) -> dict[str, str]:
    """A guest knows the shop and its own credentials, and none of the installation's secrets."""
    environ = {"COPILOT_SHOP_URL": made.environ["COPILOT_SHOP_URL"]}
    environ["COPILOT_DEMO_CLIENT_ID"] = made.credentials["client_id"]
    environ["COPILOT_DEMO_CLIENT_SECRET"] = made.credentials["client_secret"]
    return environ | dict(zip(("COPILOT_DEMO_TOKEN", "COPILOT_DEMO_TOKEN_2"), made.credentials["tokens"], strict=False))


def _welcome(made: Installation) -> str:
    password = made.credentials["password"]
    people = "\n".join(f"  {email:<18} {role:<9} password {password}" for email, role in made.credentials["people"])
    model = "an offline model stands in for a real one" if made.plan.offline else f"drafts by {os.environ.get('COPILOT_MODEL')}"
    return (
        f"\nCopilot is ready: {made.url}\n\nSample company ({model}). Sign in as:\n{people}\n\n"
        f"Data in {made.environ['COPILOT_DATA_DIR']}. Stop with Ctrl-C.\n"
    )


def _stay(made: Installation) -> None:
    while not made.family.stopping:
        made.family.turn()
    _say("\nStopping ...")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _result(made: Installation, child: Child, *, seconds: float) -> tuple[int, dict[str, Any]]:
    code, said = made.family.task(child, seconds=seconds)
    answer = last_object(said)
    if answer is None:
        raise SetupError(f"The {child.name} failed with exit code {code}: {child.last or 'it said nothing'}")
    return code, answer


def last_object(said: str) -> dict[str, Any] | None:
    """The JSON object on the last line of what a task printed."""
    try:
        last = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return last if isinstance(last, dict) else None


def stoppable(body: Callable[[], _T]) -> _T:
    """Run what may be stopped by Ctrl-C or SIGTERM while it is still starting or waiting: that ends it quietly, with exit code 130."""
    try:
        return body()
    except Stopped as stopped:
        raise SystemExit(130) from stopped


def workers(queues: dict[str, int]) -> None:
    """Run so many workers of each queue, starting again whoever crashes, until told to stop."""
    family = Family(output.to_terminal)
    try:
        supervisor.ask(family, Child("ready", lambda _: (sys.executable, "-m", "copilot.processes.ready", *queues)))
        for queue, count in queues.items():
            for number in range(1, count + 1):
                family.start(supervisor.worker(queue, number, environ={}))
        while not family.stopping:
            family.turn()
    finally:
        family.stop()
