"""Actions: how much each agent does alone with each tool, on what evidence, and a manager's change of it."""

from __future__ import annotations

from flask import Response

from copilot.api import answers, bodies, edge
from copilot.api.answers import ActionAnswer, ActionsAnswer
from copilot.api.edge import bp
from copilot.autonomy import board, grants
from copilot.db import db, transaction
from copilot.gate import changes
from copilot.models import User
from copilot.people import principals
from copilot.people.tokens import Principal


@bp.get("/actions")
def list_actions() -> Response:
    """A card per agent and action; an agent sees its own."""
    known = edge.caller()
    cards = board.cards()
    if isinstance(known, Principal):
        cards = [card for card in cards if card.agent_id == known.agent_id]
    return answers.reply(ActionsAnswer(items=[_action(card) for card in cards]))


@bp.put("/actions/<agent>/<tool>/level")
def set_level(agent: str, tool: str) -> Response:
    """Set a level; 409 with what is missing, in words, when the evidence does not carry it yet.

    202 and the wish's id where a second person has to confirm it first; the level is then still the old one.
    """
    manager_id = edge.person("manager", "admin").id
    sent = edge.body(bodies.LevelBody)
    agent_id = principals.find(agent).id
    with transaction():
        manager = db.session.get_one(User, manager_id)
        wish = grants.set_level(agent_id, tool, sent.level, by=manager, reason=sent.reason, percent=sent.percent, ask=changes.ask)
        waiting = None if wish is None else wish.id
    answer = answers.LevelAnswer(agent_id=agent_id, tool=tool, level=grants.level(agent_id, tool), waiting=waiting)
    return answers.reply(answer, 202 if waiting else 200)


def _action(card: board.ActionCard) -> ActionAnswer:
    measured = card.measures
    return ActionAnswer(
        agent_id=card.agent_id,
        agent=card.agent,
        tool=card.tool,
        risk=card.risk,
        reversible=card.reversible,
        level=card.level,
        percent=card.percent,
        count=measured.count,
        approved_unchanged=measured.approved_unchanged,
        edited=measured.edited,
        rejected=measured.rejected,
        rate=measured.rate,
        interval=(measured.interval.low, measured.interval.high),
        target=card.target.lower_bound,
        p95_seconds=measured.p95_seconds,
        refusals=measured.refusals,
        failures=measured.failures,
        unknowns=measured.unknowns,
        shortfalls=list(card.shortfalls),
        settable=list(card.settable),
    )
