"""Policies: every version with who wrote and who published it, drafts with their tests and replay, and the way back."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from sqlalchemy import select
from wtforms import RadioField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, Optional

from copilot import doorbell
from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict, NotEntitled, Refused
from copilot.gate import approvals, history, library, policy, switches
from copilot.models import PolicyVersion, User
from copilot.web import access, versions
from copilot.web.filters import moment
from copilot.web.problems import told

bp = Blueprint("policies", __name__, url_prefix="/policies")

lookers = access.roles("manager", "admin", "auditor")

_AT_ONCE = 30
_DAYS = [SelectChoice(str(days), f"{days} days") for days in history.DAYS]


class DraftForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """Why a new version is drafted; its files come as fields of their own."""

    comment = TextAreaField("What changes, and why?", [DataRequired("Say what changes and why."), Length(max=2000)])


class ReplayForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """How far back to replay."""

    days = RadioField("How far back?", [InputRequired("Choose how far back.")], choices=_DAYS, default="30")


class PublishForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """A publication, with a note if the publisher has one."""

    note = TextAreaField("Note", [Optional(), Length(max=1000)])


@bp.get("")
@lookers
def index() -> ResponseReturnValue:
    """Every version, newest first."""
    below = request.args.get("below", "")
    rows = library.listed(below=int(below) if below.isascii() and below.isdigit() and len(below) < 9 else None, limit=_AT_ONCE + 1)
    following = dict(zip([row.id for row in rows], rows[1:], strict=False))
    current = library.current_version()
    return render_template(
        "policies/index.html",
        rows=rows[:_AT_ONCE],
        touched={row.id: versions.touched(following[row.id].files if row.id in following else {}, row.files) for row in rows[:_AT_ONCE]},
        next=rows[_AT_ONCE - 1].number if len(rows) > _AT_ONCE else None,
        current=current,
        names=_names(rows),
        problem=library.problem(),
        second=switches.holds(approvals.POLICY_SECOND_PERSON),
    )


@bp.get("/new")
@access.managers
def new() -> ResponseReturnValue:
    """A form with the text that is in force, or that of an older version."""
    source = request.args.get("from", "")
    version = library.get(source) if source else library.current_version()
    return _drafting(DraftForm(formdata=None), policy.current().files if version is None else version.files)


@bp.post("/new")
@access.managers
def draft() -> ResponseReturnValue:
    """Keep a draft, or show the form again with everything that was typed and a sentence at each mistake."""
    person, form = access.viewer(), DraftForm()
    files = _sent_files()
    if not form.validate_on_submit():
        return _drafting(form, files, status=422)
    try:
        with transaction():
            made = library.draft(files, by=db.session.get_one(User, person.user_id), comment=form.comment.data).id
    except (BadInput, Conflict) as error:
        return _drafting(form, files, problems=getattr(error, "problems", {}) or {"": str(error)}, said=str(error), status=error.status)
    flash("Drafted. Replay it over recorded verdicts next; nothing changes before it is published.", "success")
    return redirect(url_for("policies.show", version_id=made), code=303)


@bp.get("/<version_id>")
@lookers
def show(version_id: str) -> ResponseReturnValue:
    """One version: what it changes, its tests, its replay, its text."""
    return _version(version_id)


@bp.post("/<version_id>/replay")
@access.managers
def replay(version_id: str) -> ResponseReturnValue:
    """Ask for a replay in the background."""
    person, form = access.viewer(), ReplayForm()
    if not form.validate_on_submit():
        return _version(version_id, asking=form, status=422)
    with transaction():
        history.ask(version_id, days=int(form.days.data), by=db.session.get_one(User, person.user_id))
    rung = doorbell.enqueue("replay", version_id)
    flash(
        "The replay has been asked for." + ("" if rung else " No worker can be reached at the moment; it begins when one is back."),
        "success",
    )
    return redirect(url_for("policies.show", version_id=version_id, _anchor="replay"), code=303)


@bp.post("/<version_id>/publish")
@access.managers
def publish(version_id: str) -> ResponseReturnValue:
    """Put a draft in force."""
    person, form = access.viewer(), PublishForm()
    if not form.validate_on_submit():
        return _version(version_id, publishing=form, status=422)
    try:
        with transaction():
            library.publish(version_id, by=db.session.get_one(User, person.user_id), note=form.note.data or "")
    except (BadInput, Refused, Conflict, NotEntitled) as error:
        return _version(version_id, publishing=form, problem=told(error), status=error.status)
    flash(
        "Published. It decides from the next judgement on; what was approved under the old one is judged again before it runs.", "success"
    )
    return redirect(url_for("policies.show", version_id=version_id), code=303)


@bp.post("/<version_id>/discard")
@access.managers
def discard(version_id: str) -> ResponseReturnValue:
    """Put a draft away."""
    person = access.viewer()
    with transaction():
        library.discard(version_id, by=db.session.get_one(User, person.user_id))
    flash("Discarded. It stays readable here.", "warning")
    return redirect(url_for("policies.index"), code=303)


@bp.post("/<version_id>/roll-back")
@access.managers
def roll_back(version_id: str) -> ResponseReturnValue:
    """Draft a new version with this one's text."""
    person, form = access.viewer(), DraftForm()
    if not form.validate_on_submit():
        return _version(version_id, returning=form, status=422)
    number = library.get(version_id).number
    try:
        with transaction():
            made = library.roll_back(number, by=db.session.get_one(User, person.user_id), comment=form.comment.data).id
    except (BadInput, Conflict) as error:
        return _version(version_id, returning=form, problem=told(error), status=error.status)
    flash(f"Drafted with the text of version {number}. Replay it, and have it published like any other.", "success")
    return redirect(url_for("policies.show", version_id=made), code=303)


def _sent_files() -> dict[str, str]:
    """The files as they were typed; a new one needs a name and a text."""
    sent = {name.removeprefix("file-"): body for name, body in request.form.items() if name.startswith("file-")}
    name, body = request.form.get("new_name", "").strip(), request.form.get("new_text", "")
    return sent | ({name: body} if name or body.strip() else {})


def _drafting(
    form: DraftForm, files: dict[str, Any], *, problems: dict[str, str] | None = None, said: str = "", status: int = 200
) -> ResponseReturnValue:
    kept = {name: files.get(name, "") for name in (*sorted(name for name in files if name.endswith(".cedar")), *library.EXTRA_FILES)}
    others = {name: body for name, body in files.items() if name not in kept}
    page = render_template("policies/new.html", form=form, files=kept, others=others, problems=problems or {}, said=said)
    return page, status


def _version(version_id: str, *, problem: tuple[str, str] | None = None, status: int = 200, **forms: FlaskForm) -> ResponseReturnValue:
    version, current = library.get(version_id), library.current_version()
    compared = current if version.state == "draft" and current is not None else library.before(version)
    policies, broken = versions.read(version.files)
    report, untestable = versions.tested(policies)
    person, result = access.viewer(), version.replay or {}
    own = version.state == "draft" and version.author_id == person.user_id and switches.holds(approvals.POLICY_SECOND_PERSON)
    context: dict[str, Any] = {
        "version": version,
        "current": current,
        "compared": compared,
        "difference": versions.difference({} if compared is None else compared.files, version.files),
        "broken": broken,
        "policies": policies,
        "report": report,
        "untestable": untestable,
        "names": _names([version]),
        "flips": versions.outcome(result, "flips", policies),
        "unknown": versions.outcome(result, "unknown", policies),
        "about": versions.ABOUT,
        "in_the_way": _in_the_way(
            version, current, own=own, readable=broken is None, passes=untestable is None and (report is None or report.ok)
        ),
        "alone": own and not library.publishers(version),
        "problem": problem,
        "asking": forms.get("asking") or ReplayForm(formdata=None),
        "publishing": forms.get("publishing") or PublishForm(formdata=None),
        "returning": forms.get("returning") or DraftForm(formdata=None),
        "plain": FlaskForm(formdata=None),
    }
    return render_template("policies/show.html", **context), status


def _in_the_way(version: PolicyVersion, current: PolicyVersion | None, *, own: bool, readable: bool, passes: bool) -> list[str]:
    """Everything that keeps a draft from being published by whoever is looking, each in a sentence; first what only another draft mends."""
    if version.state != "draft":
        return []
    said = []
    if not readable:
        said.append("It cannot be read, so it cannot be published. Correct the text in another draft.")
    if not passes:
        said.append("Its own tests do not all pass, so it cannot be published. Correct the policies or the tests in another draft.")
    if current is not None and current.number > version.number:
        said.append(f"Version {current.number} was published after this one was drafted. Draft it again from what is in force.")
    if not said and (missing := library.replay_missing(version, at=moment())):
        said.append(missing)
    return [*said, "You wrote this version, so somebody else has to publish it."] if own else said


def _names(rows: list[PolicyVersion]) -> dict[str, str]:
    ids = {person for row in rows for person in (row.author_id, row.published_by) if person}
    return {row.id: row.name for row in db.session.execute(select(User.id, User.name).where(User.id.in_(ids)))}
