"""What a test does on pages as a browser would: sign in, read a form, post it with its token."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient

from tests.support.people import PASSWORD


class _Fields(HTMLParser):
    """Collects the named inputs of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._area: str | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name"), given.get("value") or ""
        if tag == "input" and name and (given.get("type") not in ("radio", "checkbox") or "checked" in given):
            self.found[name] = value
        elif tag == "textarea" and name:
            self._area = name
            self.found[name] = ""
        elif tag == "select" and name:
            self._select = name
            self.found[name] = ""
        elif tag == "option" and self._select and "selected" in given:
            self.found[self._select] = value

    def handle_data(self, data: str) -> None:
        if self._area:
            self.found[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area:
            self.found[self._area] = self.found[self._area].removeprefix("\n")
            self._area = None
        if tag == "select":
            self._select = None


def form(page: str) -> dict[str, str]:
    """Every named input of a page with its value; the last of several with one name counts."""
    fields = _Fields()
    fields.feed(page)
    return fields.found


def token(client: FlaskClient) -> str:
    """The forgery token of this browser's session."""
    page = client.get("/theme-nowhere" if client.get("/counts").status_code == 200 else "/sign-in")
    return form(page.text)["csrf_token"]


def post(client: FlaskClient, address: str, data: dict[str, Any]) -> Any:
    """Post a form with this browser's token."""
    return client.post(address, data={**data, "csrf_token": token(client)})


def sign_in(client: FlaskClient, email: str) -> None:
    """Sign in by the page."""
    answer = post(client, "/sign-in", {"email": email, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
