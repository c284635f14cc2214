"""REST v1 for programs: tokens only, JSON only, and every error as problem+json."""

from __future__ import annotations

from flask import Flask

from copilot.api import actions, budgets, decisions, edge, keys, openapi, problems, proposals, tickets, token, tools, trace

_VIEWS = (actions, budgets, decisions, keys, openapi, proposals, tickets, token, tools, trace)  # importing one registers its routes
problems.install(edge.bp)  # once, as the routes: a blueprint takes nothing more after it was mounted


def register(app: Flask) -> None:
    """Mount the API. Its requests carry no cookie that means anything, so forgery protection does not apply to them."""
    app.register_blueprint(edge.bp)
    csrf = app.extensions.get("csrf")
    if csrf is not None:
        csrf.exempt(edge.bp)
