"""What templates may say: filters for text, money and time, and the words for every state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, g, request, url_for
from markupsafe import Markup

from copilot import config
from copilot.db import now
from copilot.gate import approvals, arcs, switches
from copilot.models import Switch
from copilot.review import inbox
from copilot.toolkit import Money
from copilot.web import access, html, money, reading, security, text

# state -> (words for people, tone of the badge)
STATES = {
    arcs.PENDING: ("Waiting for a decision", "wait"),
    arcs.APPROVED: ("Approved, about to run", "move"),
    arcs.EXECUTING: ("Running now", "move"),
    arcs.SUCCEEDED: ("Done", "good"),
    arcs.FAILED: ("Failed, nothing happened", "bad"),
    arcs.OUTCOME_UNKNOWN: ("Outcome unknown", "alarm"),
    arcs.REJECTED: ("Rejected", "quiet"),
    arcs.EXPIRED: ("Expired", "quiet"),
    arcs.WITHDRAWN: ("Withdrawn", "quiet"),
    arcs.DENIED: ("Refused by the gate", "bad"),
    arcs.HELD: ("Held back", "alarm"),
    "QUEUED": ("Queued", "wait"),
    "DRAFTING": ("Drafting", "move"),
    "PARKED": ("Waiting for a decision", "wait"),
    "DONE": ("Finished", "good"),
    "NEEDS_HUMAN": ("Needs a person", "alarm"),
    "waiting": ("Waiting to be sent", "wait"),
    "sent": ("Sent", "good"),
    "dead": ("Gave up", "bad"),
    "unsent": ("No channel set up", "quiet"),
}

_MOST_TAGS = 4 * html.MOST_TAGS  # on one page
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def install(app: Flask) -> None:
    """Register the filters and the few functions every page uses."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        shown=text.shown, label=text.label, money=show_money, when=when, ago=ago, left=left, pretty=pretty, tone=tone, state=state,
        plural=plural, reason=reason, short=short, message=message, amount=amount, duration=duration, without=without,
        capitalize_first=capitalize_first,
    )  # fmt: skip
    app.jinja_env.globals.update(
        nonce=security.nonce, asset=asset, lines=reading.lines, difference=text.difference, changes=reading.changes, moment=moment,
        nav=nav, stopped=stopped, offline=offline, COUNT_CAP=inbox.COUNT_CAP, theme=theme,
        args_without=args_without,
    )  # fmt: skip


def moment() -> datetime:
    """The stored clock's now, asked once a request."""
    if "moment" not in g:
        g.moment = now()
    found: datetime = g.moment
    return found


def theme() -> str | None:
    """The colours this browser chose; None follows the system."""
    chosen = request.cookies.get("theme")
    return chosen if chosen in ("light", "dark") else None


def offline() -> bool:
    """Whether the model of this installation is the sample company's offline one."""
    settings = config.current()
    return settings.demo and settings.model == "offline"


def nav() -> dict[str, Any]:
    """The navigation with its counts, read once a page."""
    if "nav" not in g:
        g.nav = {"counts": inbox.counts(), "person": access.viewer()}
    found: dict[str, Any] = g.nav
    return found


def stopped() -> list[tuple[str, Switch]]:
    """Every kill switch that is on, with words for what it covers."""
    thrown = switches.listed()
    names = {f"agent:{agent.id}": f"the agent {agent.name}" for agent in switches.agents()} if thrown else {}
    return [
        (names.get(row.scope, "everything" if row.scope == "all" else text.label(row.scope.removeprefix("tool:"))), row) for row in thrown
    ]


def asset(filename: str) -> str:
    """A static file's address with a mark of its content's age, so that a new version is fetched."""
    return url_for("static", filename=filename, v=_age(filename))


@cache
def _age(filename: str) -> str:
    path = Path(config.files("static"), filename)
    return f"{int(path.stat().st_mtime):x}" if path.is_file() else "0"


def show_money(amount: Money | None) -> str:
    """Money for reading; nothing for no money."""
    return "" if amount is None else money.show(amount)


def iso(at: datetime) -> str:
    """A moment for a <time> element."""
    return at.isoformat(timespec="seconds")


def when(at: datetime | None) -> Markup:
    """A moment in the installation's time zone, exact for programs and short for people."""
    if at is None:
        return Markup("–")
    zone = config.current().timezone
    local, today = at.astimezone(zone), moment().astimezone(zone)
    words = f"{local:%H:%M}" if local.date() == today.date() else f"{local.day} {local:%b}, {local:%H:%M}"
    if local.year != today.year:
        words = f"{local.day} {local:%b %Y}, {local:%H:%M}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(at), f"{local:%Y-%m-%d %H:%M:%S %Z}", words)


def ago(at: datetime | None) -> Markup:
    """How long ago, kept fresh by the page's script."""
    if at is None:
        return Markup("–")
    since = moment() - at
    title = f"{at.astimezone(config.current().timezone):%Y-%m-%d %H:%M:%S %Z}"
    return Markup('<time datetime="{}" title="{}" data-clock="ago" data-seconds="{:.0f}">{}</time>').format(
        iso(at), title, since.total_seconds(), _ago(since)
    )


def left(at: datetime) -> Markup:
    """How much time is left until a deadline, kept fresh by the page's script."""
    rest = at - moment()
    tone = "over" if rest <= timedelta(0) else "soon" if rest <= timedelta(minutes=15) else "calm"
    title = f"{at.astimezone(config.current().timezone):%Y-%m-%d %H:%M:%S %Z}"
    return Markup('<time class="left left-{}" datetime="{}" title="{}" data-clock="left" data-seconds="{:.0f}">{}</time>').format(
        tone, iso(at), title, rest.total_seconds(), _left(rest)
    )


def _span(seconds: float) -> str:
    for size, name in _UNITS:
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {name}{'s' if number > 1 else ''}"
    return "less than a minute"


def _ago(since: timedelta) -> str:
    return "just now" if since < timedelta(seconds=60) else f"{_span(since.total_seconds())} ago"


def _left(rest: timedelta) -> str:
    return f"{_span(-rest.total_seconds())} overdue" if rest <= timedelta(0) else f"{_span(rest.total_seconds())} left"


def pretty(value: Any) -> Markup:
    """JSON for reading, hostile characters marked."""
    return text.shown(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def state(name: str) -> str:
    """A state in words."""
    return STATES.get(name, (text.label(name.lower()), ""))[0]


def tone(name: str) -> str:
    """A state's tone of colour."""
    return STATES.get(name, ("", "quiet"))[1]


def plural(number: int, one: str, many: str | None = None) -> str:
    """A counted number with its noun; counting stops at the cap, and says so."""
    if number > inbox.COUNT_CAP:
        return f"{inbox.COUNT_CAP:,}+ {many or one + 's'}"
    return exactly(number, one, many)


def exactly(number: int, one: str, many: str | None = None) -> str:
    """A number somebody wrote down, such as a limit, with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def reason(code: str | None) -> str:
    """A reason's words."""
    return approvals.REASONS.get(code or "", text.label(code or ""))


def short(identifier: str) -> str:
    """A random id, short enough to compare by eye."""
    return identifier if len(identifier) <= 14 else f"{identifier[:12]}…"


def message(body: str) -> Markup:
    """A ticket's message, inert: plain text stays text, HTML keeps a handful of harmless tags.

    Only so much HTML is read for one page, however many messages a ticket has; the rest of it comes as plain text.
    """
    if not html.is_html(body):
        return text.shown(body)
    g.tags = g.get("tags", 0) + body.count("<")
    return html.harmless(body) if g.tags <= _MOST_TAGS else text.shown(body)


def amount(value: Mapping[str, Any]) -> str:
    """Money given as a mapping of `minor` and `currency`, as tools and notifications do."""
    try:
        return money.show(Money(value["minor"], value["currency"]))
    except (KeyError, TypeError, ValueError):
        return str(dict(value))


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def without(value: Mapping[str, Any] | None, *names: str) -> dict[str, Any]:
    """A mapping without some of its keys."""
    return {key: part for key, part in (value or {}).items() if key not in names}


def capitalize_first(sentence: str) -> str:
    """A sentence with a capital, the rest as it was."""
    return sentence[:1].upper() + sentence[1:]


def args_without(*names: str) -> dict[str, str]:
    """This address's parameters without some, for links that keep a filter; never one that means something to `url_for`."""
    return {key: part for key, part in request.args.items() if key not in names and part and key != "endpoint" and key[:1] != "_"}
