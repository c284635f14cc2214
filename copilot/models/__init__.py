"""Every table, grouped by story: people, work, record, control."""

from copilot.models.control import Budget, Grant, GrantChange, Heartbeat, Holder, Notification, Reservation, Rule, Switch
from copilot.models.people import ApiToken, User, UserSession
from copilot.models.record import AuditEvent, Decision, Execution, Feedback, Proposal, ProposalVersion
from copilot.models.work import Agent, Customer, Message, Run, Step, Ticket

__all__ = [
    "Agent",
    "ApiToken",
    "AuditEvent",
    "Budget",
    "Customer",
    "Decision",
    "Execution",
    "Feedback",
    "Grant",
    "GrantChange",
    "Heartbeat",
    "Holder",
    "Message",
    "Notification",
    "Proposal",
    "ProposalVersion",
    "Reservation",
    "Rule",
    "Run",
    "Step",
    "Switch",
    "Ticket",
    "User",
    "UserSession",
]
