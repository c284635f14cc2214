"""Who is here, for reading. People are added and disabled on the command line."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from copilot.people import accounts
from copilot.web import access

bp = Blueprint("people", __name__, url_prefix="/people")


@bp.get("")
@access.admins
def index() -> ResponseReturnValue:
    """Every account."""
    return render_template("people.html", users=accounts.listed())
