"""The forms about agents: a new one, what it may use, less of that, and a new secret."""

from __future__ import annotations

from collections.abc import Iterable

from wtforms import BooleanField, HiddenField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, Optional, Regexp

from copilot.people import principals
from copilot.web.forms import NoteForm, PlainForm

OVERLAPS = {"24": "Works on for 24 hours", "168": "Works on for a week", "0": "Ends at once, with every token"}
_PRINTABLE = Regexp(r"^[^\x00-\x1f\x7f]*$", message="Leave out characters one cannot print.")


class _GrantForm(NoteForm):
    """Scopes as somebody typed them. One for which no tool is installed is probably misspelt, and is granted only on a second word."""

    scopes: TextAreaField
    anyway = BooleanField("Grant it anyway: the tool will be installed later")
    doubtful = False

    def known(self, scopes: Iterable[str]) -> bool:
        """Whether an installed tool answers to each of these, or somebody said that it does not matter; says beside the field which."""
        said = list(principals.unknown(scopes).values())
        self.doubtful = bool(said)
        if said and not self.anyway.data:
            self.scopes.errors = [*self.scopes.errors, *said, "Correct it, or tick the box below."]
            return False
        return True


class AgentForm(_GrantForm):
    """A new agent."""

    name = StringField("Name", [DataRequired("Give it a name."), Length(max=64), _PRINTABLE])
    owner = SelectField("Owner", [InputRequired("Somebody has to answer for it.")])
    team = StringField("Team", [Optional(), Length(max=64), _PRINTABLE])
    scopes = TextAreaField("What it may use", [DataRequired("Give it at least one scope."), Length(max=50_000)])
    drafts = BooleanField("Give it every new ticket to draft for")


class ScopesForm(_GrantForm):
    """An agent's scopes, one a line; `seen` are those the page showed."""

    scopes = TextAreaField("What it may use", [Length(max=50_000)])
    seen = HiddenField()


class NarrowForm(PlainForm):
    """The scopes as they were shown, and the fewer ones to be left with."""

    seen = HiddenField(validators=[InputRequired()])
    after = HiddenField()


class RotateForm(NoteForm):
    """A new secret; `seen` keeps a form that is sent twice from rotating twice."""

    overlap = SelectField(
        "The secret it has now",
        [InputRequired("Choose what becomes of it.")],
        choices=[SelectChoice(*each) for each in OVERLAPS.items()],
        default="24",
    )
    seen = HiddenField(validators=[InputRequired()])
