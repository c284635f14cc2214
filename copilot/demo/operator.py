"""The scripted operator of a headless run: hands in sample tickets and decides everything that is proposed about them.

    python -m copilot.demo.operator --base-url URL --tickets 200 --seed 1

Signs in with COPILOT_DEMO_CLIENT_ID and _SECRET as the helpdesk, with COPILOT_DEMO_TOKEN as a person, and with
COPILOT_DEMO_TOKEN_2 as a second one where two are needed. Ends when nothing has been waiting for a while, with one line
of JSON; exit code 0 if every ticket was accepted and everything about them was decided in time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2

from copilot.client import ApiError, Client
from copilot.demo import judging, lifeline, patience, tickets
from copilot.demo.tickets import SampleTicket

Json = dict[str, Any]

THREADS = 6
_OPEN = ("PENDING", "APPROVED", "EXECUTING")
_LATER = 1.5  # seconds after its ticket that a customer writes again
_TRIES = 6  # decisions on one version that came to nothing before it is left alone
_UNSEEN = 20.0  # seconds to wait for a ticket about which nothing was proposed


@dataclass(slots=True)
class Desk:
    """What the operator knows and has done. Shared by its threads; `lock` guards the counts."""

    people: tuple[Client, ...]
    expected: dict[str, SampleTicket]
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)
    verdicts: dict[str, str] = field(default_factory=dict)
    approvers: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    vain: Counter[tuple[str, int]] = field(default_factory=Counter)
    decided_at: dict[str, float] = field(default_factory=dict)
    conflicts: int = 0

    def decide(self, proposal: Json) -> None:
        """Give one verdict on one version, by the first person who has not approved it yet."""
        version = (proposal["id"], proposal["version"])
        try:
            free = [index for index in range(len(self.people)) if index not in self.approvers.setdefault(version, set())]
            if not free or self.vain[version] >= _TRIES:
                return
            ticket = self.expected.get(proposal["ticket_external_id"] or "")
            opinion = judging.judge(proposal["tool"], proposal["arguments"], ticket.expected if ticket else None)
            self._send(version, free[0], proposal, opinion)
        finally:
            with self.lock:
                self.busy.discard(proposal["id"])

    def _send(self, version: tuple[str, int], who: int, proposal: Json, opinion: judging.Opinion) -> None:
        begun = time.time()
        try:
            answer = self.people[who].decide(
                proposal["id"],
                verdict=opinion.verdict,
                digest=proposal["digest"],
                arguments=opinion.arguments,
                reason=opinion.reason or None,
            )
        except ApiError as error:
            with self.lock:
                self.conflicts += error.status == 409
                if error.status == 403:
                    self.approvers[version].add(who)  # not theirs to decide: the other one's
                elif not patience.passing(error):
                    self.vain[version] += 1
            return
        with self.lock:
            if opinion.verdict != "approve" or proposal["id"] not in self.verdicts:
                self.verdicts[proposal["id"]] = opinion.verdict
            self.approvers.setdefault((proposal["id"], answer["version"]), set()).add(who)
            self.decided_at[proposal["id"]] = begun

    def pages(self, state: str) -> list[Json]:
        """Every proposal in a state, page by page."""
        found: list[Json] = []
        cursor: str | None = None
        for _ in range(50):
            page = self.people[0].proposals(state=state, limit=100, cursor=cursor)
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return found

    def note(self, proposals: Sequence[Json]) -> None:
        """Remember about which tickets something was proposed."""
        self.seen |= {proposal["ticket_external_id"] for proposal in proposals if proposal["ticket_external_id"]}


def hand_in(client: Client, some: Sequence[SampleTicket], *, patient: float) -> int:
    """Send every ticket, and what customers write later a little later; return how many tickets were accepted."""
    accepted, later = 0, []
    for ticket in some:
        patience.insist(lambda sent=ticket: client.create_ticket(**sent.payload()), seconds=patient)  # type: ignore[misc]  # bound now, for the loop goes on
        accepted += 1
        later += [(time.monotonic() + _LATER, ticket.external_id, followup) for followup in ticket.followups]
    for due, external_id, followup in later:
        time.sleep(max(0.0, due - time.monotonic()))
        patience.insist(
            lambda to=external_id, said=followup: client.add_message(to, external_id=said.external_id, author="customer", body=said.body),  # type: ignore[misc]  # bound now, for the loop goes on
            seconds=patient,
        )
    return accepted


def decide_all(desk: Desk, handing_in: threading.Thread, *, quiet: float, seconds: float) -> bool:
    """Decide until nothing has been open for `quiet` seconds; False when the time ran out before."""
    until, last_busy = time.monotonic() + seconds, time.monotonic()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="desk") as pool:
        while time.monotonic() < until:
            try:
                waiting = desk.pages("PENDING")
                desk.note(waiting)
                mine = [one for one in waiting if one["id"] not in desk.busy and desk.vain[one["id"], one["version"]] < _TRIES]
                moving = mine or desk.busy or handing_in.is_alive() or any(desk.pages(state) for state in _OPEN[1:])
            except ApiError as error:
                if not patience.passing(error):
                    raise
                time.sleep(0.5)
                last_busy = time.monotonic()
                continue
            with desk.lock:
                desk.busy |= {one["id"] for one in mine}
            for one in mine:
                pool.submit(desk.decide, one)
            now = time.monotonic()
            if moving:
                last_busy = now
            elif now - last_busy > (quiet if _all_seen(desk) else max(quiet, _UNSEEN)):
                return True
            time.sleep(0.1 if mine else 0.3)
    return False


def _all_seen(desk: Desk) -> bool:
    """Whether something was proposed about every ticket; what a rule denied was never pending."""
    if len(desk.seen) < len(desk.expected):
        try:
            desk.note(desk.pages("DENIED"))
        except ApiError:
            return False
    return len(desk.seen) >= len(desk.expected)


def to_effect_ms(desk: Desk, shop: str) -> float | None:
    """The 95th percentile of the time from a decision being sent to its effect in the shop's ledger, in milliseconds."""
    if not shop:
        return None
    rows = httpx2.get(f"{shop}/ledger", trust_env=False, timeout=30).json()
    first = {row["key"]: datetime.fromisoformat(row["at"]).timestamp() for row in reversed(rows)}
    times = sorted(first[key] - at for key, at in desk.decided_at.items() if key in first)
    return round(1000 * max(times[math.ceil(0.95 * len(times)) - 1], 0.0), 1) if times else None


def run(options: argparse.Namespace, environ: dict[str, str]) -> int:
    """Do the whole job and print the line; the exit code."""
    some = tickets.generate(options.seed, options.tickets)
    keys = [environ[name] for name in ("COPILOT_DEMO_TOKEN", "COPILOT_DEMO_TOKEN_2") if environ.get(name)]
    helpdesk = Client(
        options.base_url,
        client_id=environ["COPILOT_DEMO_CLIENT_ID"],
        client_secret=environ["COPILOT_DEMO_CLIENT_SECRET"],
        scope="tickets:write",
    )
    desk = Desk(tuple(Client(options.base_url, token=key) for key in keys), {ticket.external_id: ticket for ticket in some})
    accepted: list[int] = []
    patient = options.max_seconds or max(150.0, 5.0 * options.tickets)
    handing_in = threading.Thread(target=lambda: accepted.append(hand_in(helpdesk, some, patient=patient)), name="helpdesk", daemon=True)
    handing_in.start()
    finished = decide_all(desk, handing_in, quiet=options.quiet, seconds=patient)
    handing_in.join(5)
    counts = Counter(desk.verdicts.values())
    print(
        json.dumps(
            {
                "tickets": sum(accepted),
                "approved": counts["approve"],
                "edited": counts["edit"],
                "rejected": counts["reject"],
                "conflicts": desk.conflicts,
                "finished": finished,
                "p95_decision_to_effect_ms": to_effect_ms(desk, environ.get("COPILOT_SHOP_URL", "")),
            }
        ),
        flush=True,
    )
    for client in (helpdesk, *desk.people):
        client.close()
    return 0 if finished and sum(accepted) == len(some) else 1


def main() -> None:
    """Read the command line and the credentials, and work."""
    parser = argparse.ArgumentParser(prog="python -m copilot.demo.operator", description="A scripted helpdesk and its operators.")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--tickets", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quiet", type=float, default=5.0, help="seconds without anything waiting before it ends")
    parser.add_argument("--max-seconds", type=float, default=None, help="give up waiting after so long")
    options = parser.parse_args()
    lifeline.die_with_parent()
    lifeline.exit_on_signals()
    missing = [name for name in ("COPILOT_DEMO_CLIENT_ID", "COPILOT_DEMO_CLIENT_SECRET", "COPILOT_DEMO_TOKEN") if not os.environ.get(name)]
    if missing:
        sys.exit(f"Set {', '.join(missing)} first.")
    try:
        sys.exit(run(options, dict(os.environ)))
    except ApiError as error:
        sys.exit(f"Copilot refused the scripted operator: {error}")


if __name__ == "__main__":
    main()
