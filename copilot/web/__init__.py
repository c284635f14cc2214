"""Pages for people: one blueprint per file, forms, filters, and what every page shares. `register` puts them into an app."""

from __future__ import annotations

from flask import Flask
from flask_bootstrap import Bootstrap5

from copilot import config
from copilot.web import (
    access,
    actions,
    agents,
    budgets,
    changes,
    editing,
    filters,
    health,
    live,
    notifications,
    outcomes,
    people,
    policies,
    problems,
    proposals,
    queue,
    record,
    runs,
    security,
    settings,
    signin,
    tickets,
    tools,
)

_PAGES = (
    queue,
    proposals,
    editing,
    tickets,
    runs,
    outcomes,
    actions,
    agents,
    budgets,
    changes,
    policies,
    tools,
    notifications,
    record,
    people,
    settings,
    signin,
    live,
    health,
)


def register(app: Flask) -> None:
    """Put every page, the sign-in, the error pages and the response headers into this app."""
    current = config.current()
    app.config["BOOTSTRAP_SERVE_LOCAL"] = True  # nothing is fetched from elsewhere
    Bootstrap5(app)
    security.install(app, current)
    access.install(app)
    filters.install(app)
    problems.install(app)
    for page in _PAGES:
        app.register_blueprint(page.bp)
