"""The queue: what waits for a decision, oldest deadline first."""

from __future__ import annotations

from flask import Blueprint, jsonify, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from copilot.gate import arcs, switches, tools
from copilot.review import inbox
from copilot.web import access
from copilot.web.security import safe_target

bp = Blueprint("queue", __name__)

VIEWS = {
    "waiting": arcs.PENDING,
    "running": arcs.EXECUTING,
    "approved": arcs.APPROVED,
    "done": arcs.SUCCEEDED,
    "failed": arcs.FAILED,
    "rejected": arcs.REJECTED,
    "refused": arcs.DENIED,
    "expired": arcs.EXPIRED,
    "withdrawn": arcs.WITHDRAWN,
    "all": None,
}


@bp.get("/")
def index() -> ResponseReturnValue:
    """One page of the queue, filtered by what the address says, so that a view can be kept as a bookmark."""
    person = access.viewer()
    chosen = {name: request.args.get(name, "").strip()[:128] for name in ("tool", "agent", "risk", "mine", "q")}
    view = request.args.get("view", "waiting")
    if view not in VIEWS:
        view = "waiting"
    page = inbox.queue(
        person.user,
        state=VIEWS[view],
        tool=chosen["tool"],
        agent=chosen["agent"],
        risk=chosen["risk"],
        mine=chosen["mine"] == "1",
        cursor=request.args.get("cursor") or None,
        query=chosen["q"] or None,
    )
    writing = [tool for tool in tools.current().all() if tool.effect == "write"]
    filtered = any(chosen.values()) or view != "waiting"
    return render_template(
        "queue.html", page=page, view=view, views=VIEWS, chosen=chosen, filtered=filtered, tools=writing, agents=switches.agents()
    )


@bp.get("/counts")
def counts() -> ResponseReturnValue:
    """The numbers in the navigation, for the page's script."""
    found = inbox.counts()
    return jsonify(pending=found.pending, unknown=found.unknown + found.held, needs_human=found.needs_human, cap=inbox.COUNT_CAP)


@bp.post("/theme")
def theme() -> ResponseReturnValue:
    """Keep this browser's choice of colours."""
    chosen = request.form.get("theme")
    answer = make_response(redirect(safe_target(request.form.get("back"), url_for("queue.index")), code=303))
    if chosen in ("light", "dark"):
        secure = bool(request.is_secure)
        answer.set_cookie("theme", chosen, max_age=31_536_000, httponly=True, samesite="Lax", secure=secure)
    else:
        answer.delete_cookie("theme")
    return answer
