"""The forms with fixed fields. The edit form of an action is made from its tool's schema: see `arguments`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, RadioField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, Optional, Regexp, ValidationError

from copilot.gate import approvals
from copilot.models.work import CHANNELS
from copilot.review.decisions import Reason

_PRINTABLE = Regexp(r"^[^\x00-\x1f\x7f]*$", message="Leave out characters one cannot print.")


def _no_nul(form: Any, field: Any) -> None:  # noqa: ARG001 -- the shape of a validator
    if "\0" in (field.data or ""):
        raise ValidationError("Leave out the character NUL.")


def _choices(words: Mapping[str, str]) -> list[SelectChoice]:
    return [SelectChoice(value, label) for value, label in words.items()]


class SignInForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """E-mail address and password."""

    email = StringField("E-mail address", [InputRequired("Enter your e-mail address."), Length(max=254), _no_nul])
    password = PasswordField("Password", [InputRequired("Enter your password."), Length(max=1000)])
    next = HiddenField()


class PasswordForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """A new password, typed twice."""

    password = PasswordField("New password", [InputRequired("Choose a password."), Length(12, 1000, "Use at least 12 characters.")])
    again = PasswordField("The same again", [InputRequired("Type it a second time.")])

    def validate_again(self, field: Any) -> None:
        """Both have to be the same."""
        if field.data != self.password.data:
            raise ValidationError("The two are not the same.")


class ApproveForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """An approval of exactly what was on screen: `seen` is its digest."""

    seen = HiddenField(validators=[InputRequired()])


class ReasonMixin:
    """A reason from the taxonomy, with a note that `other` requires."""

    reason = RadioField("Why?", [InputRequired("Choose a reason.")], choices=_choices(approvals.REASONS))
    note = TextAreaField("Note", [Length(max=2000), _no_nul])

    def validate_note(self, field: Any) -> None:
        """A code says enough, except `other`."""
        if self.reason.data == "other" and not (field.data or "").strip():
            raise ValidationError("Say in a few words what it is; “other” alone teaches nobody anything.")

    def as_reason(self) -> Reason:
        """The reason as the decision takes it."""
        return Reason(self.reason.data, (self.note.data or "").strip())


class RejectForm(ReasonMixin, FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """A rejection of what was on screen."""

    seen = HiddenField(validators=[InputRequired()])


class EditForm(ReasonMixin, FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """The fixed part of an edit: what it started from, why, and what to do with it."""

    seen = HiddenField(validators=[InputRequired()])
    step = HiddenField(default="approve")


class TicketForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """A ticket typed in by hand."""

    subject = StringField("Subject", [DataRequired("Give it a subject."), Length(max=500), _PRINTABLE])
    body = TextAreaField("What the customer wrote", [DataRequired("Paste or type the message."), Length(max=100_000), _no_nul])
    customer_id = StringField("Customer number", [DataRequired("Whose request is it?"), Length(max=128), _PRINTABLE])
    customer_name = StringField("Name", [Optional(), Length(max=200), _PRINTABLE])
    customer_email = StringField("E-mail address", [Optional(), Length(max=254), _PRINTABLE])
    region = StringField("Region", [Optional(), Length(max=16), _PRINTABLE])
    channel = SelectField("Channel", choices=_choices({name: name.capitalize() for name in CHANNELS}), default="email")
    external_id = HiddenField(validators=[InputRequired(), Length(max=64), Regexp(r"^page-[a-z0-9]{8,40}$")])


class NoteForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """A sentence of why, which the record keeps."""

    note = TextAreaField("Why?", [DataRequired("Say why; it stands in the record."), Length(max=2000), _no_nul])


class OutcomeForm(NoteForm):
    """What a person found out about an action whose outcome nobody knew."""

    happened = RadioField(
        "What did you find?",
        [InputRequired("Say whether it happened.")],
        choices=_choices({"yes": "It happened", "no": "It did not happen"}),
    )


class LevelForm(NoteForm):
    """A level for one agent and one action."""

    level = RadioField("Level", [InputRequired("Choose a level.")], choices=_choices({"off": "Off", "suggest": "Suggest", "auto": "Auto"}))


class SwitchForm(NoteForm):
    """A kill switch to throw or release."""

    scope = StringField("What", [InputRequired("Choose what to stop."), Length(max=200), _PRINTABLE])


class RuleForm(NoteForm):
    """A second-person rule to switch on or off."""

    name = HiddenField(validators=[InputRequired(), Length(max=64)])
    on = HiddenField(validators=[InputRequired()])


class PlainForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """Nothing but the CSRF token: a button."""
