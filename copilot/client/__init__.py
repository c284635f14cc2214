"""What other programs import to talk to Copilot: one typed client over the REST API, and a decorator for functions that act.

    with Client("https://copilot.example.com", client_id="refund-desk", client_secret="…") as copilot:

        @requires_approval("issue_refund", client=copilot)
        def refund(order_id: str, amount_minor: int, currency: str) -> dict:
            '''Refund an order to its original payment method.'''

        refund("1043", 8000, "EUR")  # proposes, waits for the decision, gives back what the tool behind the gate answered

A source or an agent signs in with its client credentials, a person with their API token. Nothing here knows the rest of
Copilot, so this package can be used on its own.
"""

from copilot.client.approval import (
    Denied,
    Done,
    Failed,
    NotDone,
    Rejected,
    TakenBack,
    Undecided,
    Unknown,
    perform,
    requires_approval,
    wait_for,
)
from copilot.client.rest import ApiError, Client, Unreachable

__all__ = [
    "ApiError",
    "Client",
    "Denied",
    "Done",
    "Failed",
    "NotDone",
    "Rejected",
    "TakenBack",
    "Undecided",
    "Unknown",
    "Unreachable",
    "perform",
    "requires_approval",
    "wait_for",
]
