"""Signing in and out, and the one-time link by which a person sets a password."""

from __future__ import annotations

import hashlib

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from copilot.db import transaction
from copilot.errors import BadInput
from copilot.people import accounts, sessions
from copilot.web import access
from copilot.web.forms import PasswordForm, SignInForm
from copilot.web.security import limiter, safe_target

bp = Blueprint("signin", __name__)


def _account() -> str:
    """A rate limit's key for the account that is tried, without keeping the address."""
    return hashlib.sha256(request.form.get("email", "").strip().lower().encode()).hexdigest()


@bp.get("/sign-in")
def form() -> ResponseReturnValue:
    """Show the form, unless somebody is signed in already."""
    if current_user.is_authenticated:
        return redirect(url_for("queue.index"), code=303)
    return render_template("signin/form.html", form=SignInForm(next=request.args.get("next")))


@bp.post("/sign-in")
@limiter.limit("30 per minute; 200 per hour")
@limiter.limit("8 per minute; 40 per hour", key_func=_account)
def enter() -> ResponseReturnValue:
    """Start a session, or say that the two do not fit, without saying which."""
    entered = SignInForm()
    if not entered.validate_on_submit():
        return render_template("signin/form.html", form=entered), 422
    user = accounts.check(entered.email.data, entered.password.data)
    if user is None:
        with transaction():
            accounts.failed(entered.email.data)
        entered.password.errors = ["This address and password do not fit together."]
        return render_template("signin/form.html", form=entered), 422
    with transaction():
        key = sessions.start(user, request.user_agent.string)
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
    user = accounts.linked(secret)
    if user is None or not entered.validate_on_submit():
        return render_template("signin/link.html", form=entered, user=user), 422 if user else 404
    try:
        with transaction():
            user = accounts.follow(secret, entered.password.data)
            key = sessions.start(user, request.user_agent.string)
    except BadInput as error:
        entered.password.errors = [str(error)]
        return render_template("signin/link.html", form=entered, user=user), 422
    session.clear()
    login_user(access.Viewer(key, user))
    flash("Your password is set. Welcome.", "success")
    return redirect(url_for("queue.index"), code=303)
