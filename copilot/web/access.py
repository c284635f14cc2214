"""Who is looking: the signed-in person of a request, and the rule that pages are closed unless listed as open."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Flask, Response, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user

from copilot.db import transaction
from copilot.errors import BadInput, NotAuthenticated, NotEntitled
from copilot.models import User
from copilot.models.people import DECIDING_ROLES
from copilot.people import sessions

# Every page outside this list needs somebody signed in; the API's blueprint looks after itself by tokens.
PUBLIC = frozenset(
    {
        "static",
        "bootstrap.static",
        "signin.form",
        "signin.enter",
        "signin.link",
        "signin.follow",
        "health.alive",
        "health.ready",
        "health.metrics",
    }
)
_FOR_SCRIPTS = frozenset({"live.stream", "queue.counts"})
MANAGERS = frozenset({"manager", "admin"})

View = TypeVar("View", bound=Callable[..., Any])


class Viewer(UserMixin):  # type: ignore[misc]  # flask_login ships no types
    """The signed-in person: `user` is the row, the rest is copied so that pages need not read it again."""

    def __init__(self, key: str, user: User) -> None:
        self.key = key
        self.user = user
        self.user_id = user.id
        self.name = user.name
        self.email = user.email
        self.role = user.role

    def get_id(self) -> str:
        """What the cookie keeps: the session's key, never the person's id."""
        return self.key

    @property
    def decides(self) -> bool:
        """Whether this role decides proposals at all."""
        return self.role in DECIDING_ROLES

    @property
    def manages(self) -> bool:
        """Whether this role may change levels, switches and notifications."""
        return self.role in MANAGERS

    @property
    def admin(self) -> bool:
        """Whether this role administers the installation."""
        return self.role == "admin"


def viewer() -> Viewer:
    """The person of this request; NotAuthenticated when nobody is signed in."""
    if not current_user.is_authenticated:
        raise NotAuthenticated("Sign in to go on.")
    return cast("Viewer", current_user._get_current_object())  # noqa: SLF001 -- the documented way past the proxy


def install(app: Flask) -> None:
    """Find the person by the cookie's session key, and turn strangers away from everything that is not public."""
    manager = LoginManager(app)
    manager.session_protection = None  # the session is a row of ours; ending the row is the protection
    manager.user_loader(_load)
    app.before_request(_guard)


def roles(*allowed: str) -> Callable[[View], View]:
    """Let only these roles in; everyone else gets a page that says who may."""

    def around(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if viewer().role not in allowed:
                raise NotEntitled(f"This needs the role {' or '.join(sorted(allowed))}; yours is {viewer().role}.", rule="role")
            return view(*args, **kwargs)

        return cast("View", guarded)

    return around


deciders = roles(*sorted(DECIDING_ROLES))
managers = roles(*sorted(MANAGERS))
admins = roles("admin")


def _load(key: str) -> Viewer | None:
    user = sessions.find(key)
    return Viewer(key, user) if user is not None else None


def _guard() -> ResponseReturnValue | None:
    """Default deny: an endpoint that nobody listed is closed, also one added tomorrow."""
    if request.blueprint != "api" and (
        "\0" in request.path or any("\0" in part for pair in request.args.items(multi=True) for part in pair)
    ):
        raise BadInput("The address holds a character that no address of ours has.")
    if request.endpoint is None or request.endpoint in PUBLIC or request.blueprint == "api":
        return None
    if current_user.is_authenticated:
        if request.method == "GET" and sessions.stale(viewer().key):
            with transaction():
                sessions.touch(viewer().key)
        return None
    if request.method != "GET":
        flash("You were signed out in the meantime, so nothing was done. Sign in and try again.", "warning")
        return redirect(url_for("signin.form"), code=303)
    if request.endpoint in _FOR_SCRIPTS or request.headers.get("X-Requested-With") == "fragment":
        return Response("Sign in first.\n", status=401, mimetype="text/plain")
    target = request.full_path.rstrip("?") if request.path != "/" or request.query_string else None
    return current_app.redirect(url_for("signin.form", next=target), code=303)
