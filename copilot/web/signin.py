"""Signing in and out, and the one-time link by which a person sets a password."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_limiter.util import get_remote_address
from flask_login import current_user, login_user, logout_user

from copilot.db import read_again, transaction
from copilot.errors import BadInput
from copilot.models import User
from copilot.people import accounts, passwords, sessions
from copilot.web import access
from copilot.web.forms import PasswordForm, SignInForm
from copilot.web.security import limiter, safe_target

bp = Blueprint("signin", __name__)


def _account() -> str:
    """A rate limit's key for the account that is tried, without keeping the address."""
    return hashlib.sha256(request.form.get("email", "").strip().lower().encode()).hexdigest()


def _account_from_here() -> str:
    """The same for one account tried from one address: a stranger elsewhere must not lock a colleague out."""
    return f"{_account()}:{get_remote_address()}"


def _failed(response: Response) -> bool:
    """Whether a try counts: signing in well, and being turned away at the limit, costs nothing."""
    return response.status_code == 422


def _begin(user: User, earlier: str | None) -> str:
    """Start a session and end the one this browser had; runs inside the transaction."""
    if earlier is not None:
        sessions.end(earlier)
    return sessions.start(user, request.user_agent.string)


def _earlier() -> str | None:
    """The key of the session this browser has now."""
    return access.viewer().key if current_user.is_authenticated else None


@bp.get("/sign-in")
def form() -> ResponseReturnValue:
    """Show the form, unless somebody is signed in already."""
    if current_user.is_authenticated:
        return redirect(url_for("queue.index"), code=303)
    return render_template("signin/form.html", form=SignInForm(next=request.args.get("next")))


@bp.post("/sign-in")
@limiter.limit("30 per minute; 200 per hour", deduct_when=_failed)
@limiter.limit("8 per minute; 40 per hour", key_func=_account_from_here, deduct_when=_failed)
@limiter.limit("60 per minute; 400 per hour", key_func=_account, deduct_when=_failed)
def enter() -> ResponseReturnValue:
    """Start a session, or say that the two do not fit, without saying which."""
    entered = SignInForm()
    if not entered.validate_on_submit():
        return render_template("signin/form.html", form=entered), 422
    earlier = _earlier()
    user = accounts.check(entered.email.data, entered.password.data)
    if user is None:
        with transaction():
            accounts.failed(entered.email.data)
        entered.password.errors = ["This address and password do not fit together."]
        return render_template("signin/form.html", form=entered), 422
    with transaction():
        key = _begin(user, earlier)
    session.clear()
    login_user(access.Viewer(key, user))
    return redirect(safe_target(entered.next.data, url_for("queue.index")), code=303)


@bp.post("/sign-out")
def leave() -> ResponseReturnValue:
    """End the session's row, so that a copy of the cookie is worth nothing."""
    with transaction():
        sessions.end(access.viewer().key)
    logout_user()
    session.clear()
    flash("You are signed out.", "success")
    return redirect(url_for("signin.form"), code=303)


@bp.get("/link/<secret>")
@limiter.limit("30 per minute")
def link(secret: str) -> ResponseReturnValue:
    """Show whose link it is and ask for a password."""
    user = accounts.linked(secret)
    return render_template("signin/link.html", form=PasswordForm(), user=user), 200 if user else 404


@bp.post("/link/<secret>")
@limiter.limit("10 per minute")
def follow(secret: str) -> ResponseReturnValue:
    """Set the password and sign in."""
    entered = PasswordForm()
    user, earlier = accounts.linked(secret), _earlier()
    if user is None or not entered.validate_on_submit():
        return render_template("signin/link.html", form=entered, user=user), 422 if user else 404
    read_again()  # setting a password takes long on purpose; nothing is held open meanwhile
    try:
        hashed = passwords.hash(entered.password.data)
        with transaction():
            user = accounts.follow(secret, hashed=hashed)
            key = _begin(user, earlier)
    except BadInput as error:
        entered.password.errors = [str(error)]
        return render_template("signin/link.html", form=entered, user=user), 422
    session.clear()
    login_user(access.Viewer(key, user))
    flash("Your password is set. Welcome.", "success")
    return redirect(url_for("queue.index"), code=303)
