"""Sends sample tickets while the sample company is open: a handful at once, then one every so often, follow-ups later.

    python -m copilot.demo.trickle --base-url URL --tickets 200

Signs in with COPILOT_DEMO_CLIENT_ID and COPILOT_DEMO_CLIENT_SECRET. Waits for the web to come up. Started again on the
same data it passes over what was sent before, for tickets are known by their external id.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import sys
import time

from copilot.client import ApiError, Client
from copilot.demo import lifeline, patience, tickets
from copilot.demo.tickets import Followup, SampleTicket

_PATIENCE = 3600.0


class Trickle:
    """The tickets still to come, and what customers will write later."""

    def __init__(self, client: Client, *, first: int, every: float, later: float) -> None:
        self.client, self.left_at_once, self.every, self.later = client, first, every, later
        self._due: list[tuple[float, int, str, Followup]] = []
        self._order = itertools.count()

    def send(self, ticket: SampleTicket) -> bool:
        """Hand in one ticket; whether it was new. Its follow-ups are put aside."""
        answer = patience.insist(lambda: self.client.create_ticket(**ticket.payload()), seconds=_PATIENCE)
        for followup in ticket.followups:
            heapq.heappush(self._due, (time.monotonic() + self.later, next(self._order), ticket.external_id, followup))
        return bool(answer.get("created", True))

    def wait(self, seconds: float) -> None:
        """Let time pass, sending the follow-ups that come due."""
        until = time.monotonic() + seconds
        while self._due and self._due[0][0] <= until:
            due, _, external_id, followup = heapq.heappop(self._due)
            time.sleep(max(0.0, due - time.monotonic()))
            self._follow_up(external_id, followup)
        time.sleep(max(0.0, until - time.monotonic()))

    def run(self, some: list[SampleTicket]) -> None:
        """Send them all: the first at once, what was sent in an earlier life without waiting, then in good time."""
        for ticket in some:
            new = self.send(ticket)
            self.left_at_once -= 1
            if new and self.left_at_once < 1:
                self.wait(self.every)
        self.wait(self.later if self._due else 0)

    def _follow_up(self, external_id: str, followup: Followup) -> None:
        patience.insist(
            lambda: self.client.add_message(external_id, external_id=followup.external_id, author="customer", body=followup.body),
            seconds=_PATIENCE,
        )


def main() -> None:
    """Read the command line and the credentials, and send."""
    parser = argparse.ArgumentParser(prog="python -m copilot.demo.trickle", description="A trickle of sample tickets.")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--tickets", type=int, default=300, help="how many in all, those of earlier starts included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=8, help="how many at once")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between tickets after those")
    parser.add_argument("--later", type=float, default=45.0, help="seconds until a customer writes again")
    options = parser.parse_args()
    lifeline.die_with_parent()
    lifeline.exit_on_signals()
    try:
        client = Client(
            options.base_url,
            client_id=os.environ["COPILOT_DEMO_CLIENT_ID"],
            client_secret=os.environ["COPILOT_DEMO_CLIENT_SECRET"],
            scope="tickets:write",
        )
    except KeyError as missing:
        sys.exit(f"Set {missing.args[0]} first.")
    try:
        Trickle(client, first=options.first, every=options.every, later=options.later).run(tickets.generate(options.seed, options.tickets))
    except ApiError as error:
        sys.exit(f"Copilot refused a sample ticket: {error}")
    except KeyboardInterrupt:
        pass
    finally:
        client.close()


if __name__ == "__main__":
    main()
