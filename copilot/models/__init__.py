"""Every table, grouped by story: people, work, record, control, gate."""

from copilot.models.control import Budget, Grant, GrantChange, Heartbeat, Holder, Notification, Reservation, Rule, Switch
from copilot.models.gate import Breaker, Change, Note, OutboundCall, PolicyVersion, Rate, ToolPin, Verdict
from copilot.models.people import ApiToken, User, UserSession
from copilot.models.record import AuditEvent, Decision, Execution, Feedback, Proposal, ProposalVersion
from copilot.models.work import Agent, Customer, Message, Run, Step, Ticket

__all__ = [
    "Agent",
    "ApiToken",
    "AuditEvent",
    "Breaker",
    "Budget",
    "Change",
    "Customer",
    "Decision",
    "Execution",
    "Feedback",
    "Grant",
    "GrantChange",
    "Heartbeat",
    "Holder",
    "Message",
    "Note",
    "Notification",
    "OutboundCall",
    "PolicyVersion",
    "Proposal",
    "ProposalVersion",
    "Rate",
    "Reservation",
    "Rule",
    "Run",
    "Step",
    "Switch",
    "Ticket",
    "ToolPin",
    "User",
    "UserSession",
    "Verdict",
]
