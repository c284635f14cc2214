"""HTTP to the outside goes to the address that was judged and nowhere else, within bounds, and is recorded without a word of it."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import logging
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from flask import Flask
from sqlalchemy import select

from copilot import app as application
from copilot import config
from copilot import db as database
from copilot.audit import ownsecrets, redaction
from copilot.db import db, transaction
from copilot.errors import SetupError
from copilot.gateway import addresses, outbound, outlog, secrets
from copilot.models import OutboundCall
from tests.fake_slack import closed_port
from tests.support import ROOT, farend_api
from tests.support.farend_api import FarEnd


@pytest.fixture
def far() -> Iterator[FarEnd]:
    with farend_api.serve() as running:
        yield running


def listed(monkeypatch: pytest.MonkeyPatch, *entries: str) -> None:
    monkeypatch.setattr(config, "_current", dataclasses.replace(config.current(), outbound_allow=entries))


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_current", config.load({"COPILOT_DATA_DIR": str(tmp_path), "SECRET_KEY": "x" * 40}))


def port(url: str) -> int:
    found = httpx2.URL(url).port
    assert found is not None
    return found


def refused(url: str) -> str:
    with pytest.raises(outbound.NotSent) as caught:
        outbound.request("GET", url, purpose="test", timeout=5)
    assert "nothing was sent" in str(caught.value)
    assert "_" not in str(caught.value).replace("_internal", "")
    return caught.value.code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("127.0.0.1", "loopback-address"),
        ("127.255.0.9", "loopback-address"),
        ("0.0.0.0", "unspecified-address"),
        ("10.1.2.3", "private-address"),
        ("172.16.0.1", "private-address"),
        ("192.168.1.1", "private-address"),
        ("100.64.0.1", "private-address"),
        ("169.254.169.254", "link-local-address"),
        ("192.88.99.1", "private-address"),
        ("198.18.0.1", "private-address"),
        ("224.0.0.1", "multicast-address"),
        ("240.0.0.1", "private-address"),
        ("255.255.255.255", "private-address"),
        ("::", "unspecified-address"),
        ("::1", "loopback-address"),
        ("::ffff:10.0.0.1", "special-address"),
        ("::ffff:8.8.8.8", "special-address"),
        ("::127.0.0.1", "special-address"),
        ("64:ff9b::7f00:1", "special-address"),
        ("64:ff9b:1::a00:1", "special-address"),
        ("2002:7f00:1::", "special-address"),
        ("2001:0:1::", "special-address"),
        ("2001:db8::1", "special-address"),
        ("fc00::1", "private-address"),
        ("fd12::1", "private-address"),
        ("fe80::1", "link-local-address"),
        ("fec0::1", "special-address"),
        ("ff02::1", "multicast-address"),
        ("8.8.8.8", None),
        ("1.1.1.1", None),
        ("2606:4700:4700::1111", None),
    ],
)
def test_only_public_addresses_are_open(text: str, code: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = addresses.as_address(text)
    assert found is not None
    assert addresses.refusal(found, host="example.com", port=443, lists=[addresses.Listed()]) == code
    if code is not None:
        monkeypatch.setattr(outbound, "resolve", lambda host, port: [text])
        assert refused("http://example.com/") == code
        assert refused(f"http://[{text}]:8080/" if ":" in text else f"http://{text}/") == code


@pytest.mark.parametrize(
    "url", ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/", "http://localhost/", "http://LOCALHOST./"]
)
def test_other_ways_to_write_this_machine_are_seen_through(url: str) -> None:
    assert refused(url) in ("loopback-address", "name-not-resolved", "not-http")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://user:pass@example.com/", "credentials-in-address"),
        ("ftp://example.com/", "not-http"),
        ("file:///etc/passwd", "not-http"),
        ("//example.com", "not-http"),
        ("http://", "not-http"),
        ("not an address", "not-http"),
    ],
)
def test_what_is_no_plain_web_address_is_not_asked(url: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "resolve", lambda host, port: pytest.fail("was resolved"))
    assert refused(url) in (code, "no-host")


def test_one_private_answer_among_public_ones_refuses_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["8.8.8.8", "10.0.0.1"])
    assert refused("https://example.com/") == "private-address"


def test_a_name_without_address_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise socket.gaierror

    monkeypatch.setattr(outbound, "resolve", nowhere)
    assert refused("https://nowhere.example/") == "name-not-resolved"
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["fe80::1%eth0"])
    assert refused("https://nowhere.example/") == "link-local-address"


@pytest.mark.parametrize("entry", ["shop.example", "SHOP.example", "shop.example:{port}", "127.0.0.0/8", "127.0.0.1"])
def test_a_listed_place_is_open(far: FarEnd, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, entry.format(port=port(far.url)))
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["127.0.0.1"])
    answer = outbound.request("GET", f"http://shop.example:{port(far.url)}/orders", purpose="test")
    assert answer.status == 200
    assert far.seen[0].headers["host"] == f"shop.example:{port(far.url)}"


@pytest.mark.parametrize("entry", ["other.example", "shop.example:1", "10.0.0.0/8", "example", "shop.example.evil"])
def test_listing_one_place_opens_no_other(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, entry)
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["127.0.0.1"])
    assert refused("http://shop.example:8080/") == "loopback-address"


def test_a_listed_name_does_not_open_the_metadata_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["169.254.169.254"])
    listed(monkeypatch, "shop.example")
    assert refused("http://shop.example/latest/meta-data") == "link-local-address"
    found = addresses.as_address("169.254.169.254")
    assert found is not None
    assert addresses.refusal(found, host="x", port=80, lists=[addresses.parse(["169.254.169.254"])]) is None


@pytest.mark.parametrize("entry", ["http://shop", "shop:port", "shop:99999", "-shop", "a b", "10.0.0.1/8", "shop/path", "*.shop"])
def test_a_strange_entry_in_the_list_is_named(entry: str) -> None:
    with pytest.raises(SetupError, match="COPILOT_OUTBOUND_ALLOW"):
        addresses.parse([entry])


def test_a_strange_entry_stops_the_start(environ: dict[str, str]) -> None:
    with pytest.raises(SetupError, match="COPILOT_OUTBOUND_ALLOW"):
        application.create_app(config.load(environ | {"COPILOT_OUTBOUND_ALLOW": "10.0.0.0/8, every*where"}), web=False)


def test_an_address_from_the_settings_opens_its_own_port_only(far: FarEnd) -> None:
    assert outbound.request("GET", f"{far.url}/orders", purpose="test", allow=far.url).status == 200
    with pytest.raises(outbound.NotSent):
        outbound.request("GET", f"http://127.0.0.1:{closed_port()}/", purpose="test", allow=far.url)


def test_a_name_that_changes_its_answer_gains_nothing(far: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the first answer is judged and connected to; a second question is never asked."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["203.0.114.7"] if len(asked) == 1 else ["127.0.0.1"]

    tried: list[str] = []

    def no_network(address: tuple[str, int], *args: object, **options: object) -> None:
        tried.append(address[0])
        raise OSError("no way out of the test")

    monkeypatch.setattr(outbound, "resolve", rebinding)
    monkeypatch.setattr(socket, "create_connection", no_network)
    with pytest.raises(outbound.NotSent) as caught:
        outbound.request("GET", f"http://rebind.example:{port(far.url)}/", purpose="test", timeout=5)
    assert caught.value.code == "not-connected"
    assert (asked, tried) == (["rebind.example"], ["203.0.114.7"])
    assert far.seen == []


def test_a_proxy_of_the_environment_is_not_used(far: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert outbound.request("GET", f"{far.url}/orders", purpose="test", allow=far.url).status == 200


def test_a_redirect_is_an_answer(far: FarEnd) -> None:
    far.plan = ["redirect"]
    assert outbound.request("GET", f"{far.url}/a", purpose="test", allow=far.url).status == 303
    assert len(far.seen) == 1


@pytest.mark.parametrize("how", ["long", "bomb"])
def test_an_answer_is_bounded_by_its_unpacked_size(far: FarEnd, how: str) -> None:
    far.plan = [how]
    with pytest.raises(outbound.Broken, match="longer than") as caught:
        outbound.request("GET", far.url, purpose="test", allow=far.url, limit=100_000)
    assert caught.value.status == 200


def test_a_packed_answer_is_unpacked_and_a_strange_packing_refused(far: FarEnd) -> None:
    far.plan = ["packed", "strange packing"]
    assert outbound.request("GET", far.url, purpose="test", allow=far.url).json() == {"id": "o1", "refundable_minor": 1}
    assert far.seen[0].headers["accept-encoding"] == "identity"
    with pytest.raises(outbound.Broken, match="packed"):
        outbound.request("GET", far.url, purpose="test", allow=far.url)


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_the_whole_call_has_one_deadline(far: FarEnd, how: str) -> None:
    far.plan = [how]
    with pytest.raises(outbound.Broken) as caught:
        outbound.request("GET", far.url, purpose="test", allow=far.url, timeout=1)
    assert caught.value.late


def test_a_slow_resolver_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["8.8.8.8"] if stop.wait(20) else [])
    with pytest.raises(outbound.NotSent, match="no address"):
        outbound.request("GET", "https://slow.example", purpose="test", timeout=0.3)
    stop.set()


def test_nothing_sent_and_broken_are_told_apart(far: FarEnd) -> None:
    far.plan = ["reset"]
    with pytest.raises(outbound.Broken):
        outbound.request("POST", far.url, purpose="test", allow=far.url, json={})
    gone = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(outbound.NotSent, match="could not be reached"):
        outbound.request("POST", gone, purpose="test", allow=gone, json={})
    assert len(far.seen) == 1, "nothing is tried twice"


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-A", "a\r\nX-B: b"), ("X-A", "a\nb"), ("X-A\r\nX-B", "b"), ("Host", "evil"), ("content-length", "0"), ("X-A", "ü")],
)
def test_a_header_cannot_carry_another(far: FarEnd, name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        outbound.request("GET", far.url, purpose="test", allow=far.url, headers={name: value})
    assert far.seen == []


@contextmanager
def speaking_tls(folder: Path, *, name: str) -> Iterator[tuple[int, list[str | None], ssl.SSLContext]]:
    """A server with a certificate for this name: its port, the names it was greeted by, and a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begun = datetime.now(UTC) - timedelta(days=1)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), 7, begun, begun + timedelta(days=2))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    public = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(public.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    greeted: list[str | None] = []
    context.sni_callback = lambda _socket, sni, _context: greeted.append(sni)  # type: ignore[assignment]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as wrapped:
                greeted.append(wrapped.recv(4000).decode().partition("\r\n")[2].partition("\r\n")[0])
                wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listening.getsockname()[1], greeted, ssl.create_default_context(cafile=str(pem))
        thread.join(10)


def test_tls_and_host_stay_the_name_although_the_address_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["127.0.0.1"])
    listed(monkeypatch, "shop.example")
    with speaking_tls(tmp_path, name="shop.example") as (where, greeted, trusting):
        monkeypatch.setattr(outbound, "_tls", lambda: trusting)
        assert outbound.request("GET", f"https://shop.example:{where}/", purpose="test", timeout=10).content == b"ok"
    assert greeted == ["shop.example", f"Host: shop.example:{where}"]


def test_a_certificate_for_another_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "resolve", lambda host, port: ["127.0.0.1"])
    listed(monkeypatch, "shop.example")
    with speaking_tls(tmp_path, name="other.example") as (where, greeted, trusting):
        monkeypatch.setattr(outbound, "_tls", lambda: trusting)
        with pytest.raises(outbound.NotSent, match="could not be reached"):
            outbound.request("GET", f"https://shop.example:{where}/", purpose="test", timeout=10, headers={"authorization": "Bearer hush"})
    assert greeted == ["shop.example"], "nothing of the request was sent"


SPEAKS_HTTP = {"urllib.request", "urllib3", "http.client", "httpx", "httpx2", "httpcore2", "requests", "aiohttp", "slack_sdk", "openai"}
DOOR = {"gateway/outbound.py", "gateway/trips.py", "gateway/wire.py"}
ELSEWHERE = {
    "agents/llm.py": {"httpx2", "openai"},  # hands the guarded client to its library; test_agents_llm sees it refuse
    "client/rest.py": {"httpx2"},  # what other programs import
    "processes/supervisor.py": {"urllib.request"},  # asks its own children on this machine
    "processes/checker.py": {"urllib.request"},  # asks the sample shop on this machine
}


def test_there_is_no_second_door() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "copilot").rglob("*.py")):
        name = str(path.relative_to(ROOT / "copilot"))
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            if used := {wanted for wanted in SPEAKS_HTTP for each in names if each == wanted or each.startswith(f"{wanted}.")}:
                found.setdefault(name, set()).update(used)
    inside = {name: used for name, used in found.items() if name not in DOOR and not name.startswith("demo/")}
    assert inside == ELSEWHERE


# ---- the record


_begun: list[datetime] = []


@pytest.fixture(autouse=True)
def _from_here_on() -> None:
    _begun[:] = [datetime.now(UTC)]


def rows() -> list[OutboundCall]:
    """The calls this test made; what the test before it left to be written is that one's."""
    assert outlog.flush()
    db.session.rollback()
    return list(db.session.scalars(select(OutboundCall).where(OutboundCall.at >= _begun[-1]).order_by(OutboundCall.at)))


@pytest.mark.both_databases
def test_every_call_is_recorded_without_what_was_said(app: Flask, far: FarEnd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outbound.request(
        "POST",
        f"{far.url}/orders/private-path?token=hush",
        purpose="refund_order",
        allow=far.url,
        json={"a": "body"},
        headers={"x-key": "hush2"},
    )
    with pytest.raises(outbound.NotSent):
        outbound.request("GET", "http://10.0.0.1/x", purpose="refund_order")
    done, not_made = rows()
    assert (done.purpose, done.method, done.host, done.status, done.refused) == ("refund_order", "POST", far.url[7:], 401, None)
    assert done.bytes > 0
    assert (not_made.host, not_made.status, not_made.refused) == ("10.0.0.1:80", None, "private-address")
    everything = caplog.text + repr([vars(row) for row in (done, not_made)])
    assert not any(word in everything for word in ("private-path", "hush", "body", "token="))


@pytest.mark.both_databases
def test_a_call_is_recorded_outside_of_anybodys_transaction(app: Flask, far: FarEnd) -> None:
    def undone() -> None:
        with transaction():
            outbound.request("GET", f"{far.url}/orders", purpose="test", allow=far.url)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    assert len(rows()) == 1


def test_a_database_that_is_away_costs_the_record_and_not_the_call(far: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_fresh_context", None)
    assert outbound.request("GET", f"{far.url}/orders", purpose="test", allow=far.url).status == 200
    assert outlog.flush()


def test_the_record_is_kept_for_thirty_days(app: Flask, far: FarEnd) -> None:
    outbound.request("GET", f"{far.url}/orders", purpose="test", allow=far.url)
    assert len(rows()) == 1
    with transaction():
        assert outlog.forget(database.now() + timedelta(days=29)) == 0
        assert outlog.forget(database.now() + timedelta(days=31)) == 1
    assert rows() == []


# ---- secrets


@pytest.fixture
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownsecrets, "_protected", {})


def test_a_secret_comes_from_the_environment_or_a_file_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_secrets: None
) -> None:
    monkeypatch.setenv("BANK_KEY", "plain words as a key")
    file = tmp_path / "key"
    file.write_text("another plain key\n")
    first, second = secrets.resolve("env:BANK_KEY"), secrets.resolve(f"file:{file}")
    assert (first.reveal(), second.reveal()) == ("plain words as a key", "another plain key")
    for text in (repr(first), str(first), f"{first}", repr([second])):
        assert "plain" not in text
    file.write_text("rotated plain key")
    assert secrets.resolve(f"file:{file}").reveal() == "rotated plain key"
    file.chmod(0o600)
    assert not secrets.exposed(f"file:{file}")
    file.chmod(0o600 | stat.S_IROTH)
    assert secrets.exposed(f"file:{file}")


def test_what_was_read_is_taken_out_of_every_text(monkeypatch: pytest.MonkeyPatch, no_secrets: None) -> None:
    monkeypatch.setenv("BANK_KEY", "correct horse")
    said = "It echoes correct horse, twice: xcorrect horsex"
    assert redaction.scrub(said) == said
    secrets.resolve("env:BANK_KEY")
    assert "correct horse" not in redaction.scrub(said)
    hidden = redaction.redact(said)
    assert "correct horse" not in hidden.text
    assert "correct horse" not in str(redaction.restore(hidden.text, hidden.marks)), "there is no way back"
    assert "correct horse" not in str(redaction.redact_value({"a": [said]}).text)
    assert "correct horse" not in str(redaction.scrub_event(None, "info", {"event": said})["event"])


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"),
        ("file:/nowhere/at/all", "cannot be read"),
        ("hunter2-the-secret-itself", "not the secret itself"),
        ("file:relative", "not the secret itself"),
        ("env:BROKEN", "line breaks"),
    ],
)
def test_a_secret_that_cannot_be_had_is_named_by_its_reference(reference: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "two\nlines of it")
    with pytest.raises(SetupError, match=said) as caught:
        secrets.resolve(reference)
    assert "hunter2" not in str(caught.value)
    assert "lines of it" not in str(caught.value)
