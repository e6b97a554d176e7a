"""Notifications, against a real receiver of webhooks and a real mail server: what arrives, how often, by whom."""

import email
import email.policy
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra import notifications
from infra.notifications import Event, NotificationSettings, notify
from inkloop.errors import UserError

DRIFT = Event(
    kind="drift",
    title="Drift: the pen is thicker",
    text="pen_width has moved by 0.8 standard deviations since 10:00.",
    when=datetime(2026, 11, 25, 12, 30, tzinfo=UTC),
)


class Webhook(ThreadingHTTPServer):
    """Receives webhooks; answers with these statuses in turn, then with 200; waits before each answer."""

    daemon_threads = True

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.wait_s = 0.0
        super().__init__(("127.0.0.1", 0), _Receives)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Receives(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((dict(self.headers.items()), body))
        time.sleep(self.server.wait_s)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail by SMTP, with STARTTLS and a login if it has a certificate."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        self.received: list[email.message.EmailMessage] = []
        self.encrypted: list[bool] = []
        self.logins = 0
        self.refusals = 0  # of the next mails
        self.tls = None
        if certificate is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)
        super().__init__(("127.0.0.1", 0), _Takes)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Takes(socketserver.BaseRequestHandler):
    server: MailServer

    def handle(self):
        connection, encrypted = self.request, False
        file = connection.makefile("rwb")

        def say(line: str) -> None:
            file.write(line.encode() + b"\r\n")
            file.flush()

        say("220 here")
        while line := file.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"EHLO":
                say("250-here")
                if self.server.tls and not encrypted:
                    say("250-STARTTLS")
                say("250 AUTH PLAIN")
            elif verb == b"STARTTLS":
                say("220 go")
                connection = self.server.tls.wrap_socket(connection, server_side=True)
                file, encrypted = connection.makefile("rwb"), True
            elif verb == b"AUTH":
                self.server.logins += 1
                say("235 welcome")
            elif verb == b"MAIL" and self.server.refusals:
                self.server.refusals -= 1
                say("451 later")
            elif verb == b"DATA":
                say("354 go on")
                lines = list(iter(file.readline, b".\r\n"))
                self.server.received.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
                self.server.encrypted.append(encrypted)
                say("250 taken")
            elif verb == b"QUIT":
                say("221 bye")
                return
            else:
                say("250 well")


def running(server: socketserver.BaseServer) -> Iterator[socketserver.BaseServer]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    yield from running(Webhook())


@pytest.fixture
def mail() -> Iterator[MailServer]:
    yield from running(MailServer())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for localhost, with its key, that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure_mail(certificate) -> Iterator[MailServer]:
    yield from running(MailServer(certificate))


def settings(tmp_path: Path, **given) -> NotificationSettings:
    return NotificationSettings(folder=tmp_path / "waiting", **{"timeout_s": 2, **given})


def waiting(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "waiting").glob("*"))


def test_a_webhook_says_what_happened_and_when(webhook, tmp_path):
    notify(DRIFT, settings(tmp_path, webhook_url=webhook.url))

    [(headers, body)] = webhook.received
    assert json.loads(body) == {
        "id": DRIFT.id,
        "kind": "drift",
        "title": "Drift: the pen is thicker",
        "text": "pen_width has moved by 0.8 standard deviations since 10:00.",
        "when": "2026-11-25T12:30:00+00:00",
    }
    assert headers["webhook-id"] == DRIFT.id
    assert waiting(tmp_path) == []


def test_a_webhook_is_signed_so_that_its_receiver_knows_the_sender(webhook, tmp_path):
    notify(DRIFT, settings(tmp_path, webhook_url=webhook.url, webhook_secret="a secret"))

    [(headers, body)] = webhook.received
    sent_at = int(headers["webhook-timestamp"])
    assert abs(sent_at - time.time()) < 60
    assert headers["webhook-signature"] == notifications.signature("a secret", DRIFT.id, sent_at, body)
    assert headers["webhook-signature"] != notifications.signature("another", DRIFT.id, sent_at, body)


def test_signatures_are_those_of_the_standard_webhooks_specification():
    """The example that its reference libraries are tested with."""
    body = b'{"event_type":"ping","data":{"success":true}}'
    found = notifications.signature("whsec_plJ3nmyCDGBKInavdOK15jsl", "msg_loFOjxBNrRLzqYUf", 1731705121, body)
    assert found == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_a_receiver_that_fails_twice_is_asked_a_third_time_with_the_same_id(webhook, tmp_path):
    webhook.statuses = [503, 429]

    notify(DRIFT, settings(tmp_path, webhook_url=webhook.url))

    assert [headers["webhook-id"] for headers, _ in webhook.received] == [DRIFT.id] * 3


def test_what_could_not_be_delivered_goes_out_with_the_next(webhook, tmp_path):
    webhook.statuses = [503] * 3
    later = Event("promotion", "A new champion", "", DRIFT.when + timedelta(hours=1))

    with pytest.raises(UserError, match=r"not everyone was told \(webhook: the receiver answered 503; check INKLOOP_"):
        notify(DRIFT, settings(tmp_path, webhook_url=webhook.url))
    assert waiting(tmp_path) == [f"{DRIFT.id}.webhook.json"]
    notify(later, settings(tmp_path, webhook_url=webhook.url))

    assert [headers["webhook-id"] for headers, _ in webhook.received[3:]] == [DRIFT.id, later.id]
    assert waiting(tmp_path) == []


def test_a_webhook_leads_nowhere_else(webhook, tmp_path):
    webhook.statuses = [307]

    with pytest.raises(UserError, match="answered 307"):
        notify(DRIFT, settings(tmp_path, webhook_url=webhook.url))

    assert len(webhook.received) == 1


def test_a_deaf_receiver_does_not_hold_the_caller(webhook, tmp_path):
    webhook.wait_s = 5
    start = time.monotonic()

    with pytest.raises(UserError, match=r"no answer within 0\.5 s"):
        notify(DRIFT, settings(tmp_path, webhook_url=webhook.url, timeout_s=4, deadline_s=0.5))

    assert time.monotonic() - start < 2
    assert waiting(tmp_path) == [f"{DRIFT.id}.webhook.json"]


def test_nobody_at_the_address_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"webhook: no answer .*refused.*check INKLOOP_NOTIFY_WEBHOOK_URL"):
        notify(DRIFT, settings(tmp_path, webhook_url="http://127.0.0.1:9/hook", attempts=1))


def test_an_unknown_certificate_is_not_trusted(certificate, tmp_path, monkeypatch):
    server = Webhook()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    url = f"https://localhost:{server.server_port}/hook"
    for _ in running(server):
        with pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"):
            notify(DRIFT, settings(tmp_path, webhook_url=url, attempts=1))
        assert server.received == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        notify(DRIFT, settings(tmp_path, webhook_url=url, attempts=1))
        assert len(server.received) == 1


def test_a_mail_says_what_happened_and_when(mail, tmp_path):
    addresses = {"email_to": "anna@example.org, ben@example.org", "email_from": "inkloop@example.org"}

    notify(DRIFT, settings(tmp_path, smtp_host="127.0.0.1", smtp_port=mail.port, **addresses))

    [message] = mail.received
    assert message["Subject"] == "[inkloop] Drift: the pen is thicker"
    assert message["To"] == "anna@example.org, ben@example.org"
    assert message["Message-ID"] == f"<{DRIFT.id}@inkloop>"
    assert message["Date"].datetime == DRIFT.when
    assert message.get_content().splitlines() == [DRIFT.text]


def test_a_title_of_several_lines_adds_no_header(mail, tmp_path):
    crooked = Event("drift", "Drift\r\nBcc: eve@example.org", "", DRIFT.when)

    notify(crooked, settings(tmp_path, email_to="anna@example.org", smtp_host="127.0.0.1", smtp_port=mail.port))

    [message] = mail.received
    assert message["Bcc"] is None
    assert message["Subject"] == "[inkloop] Drift Bcc: eve@example.org"


def test_a_mail_server_that_says_later_is_asked_again(mail, tmp_path):
    mail.refusals = 2

    notify(DRIFT, settings(tmp_path, email_to="anna@example.org", smtp_host="127.0.0.1", smtp_port=mail.port))

    assert len(mail.received) == 1


def test_mail_is_encrypted_where_the_server_offers_it(secure_mail, certificate, tmp_path, monkeypatch):
    to = settings(tmp_path, email_to="anna@example.org", smtp_port=secure_mail.port, attempts=1)
    with pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"):
        notify(DRIFT, to)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    notify(DRIFT, to)

    assert secure_mail.encrypted == [True]


def test_a_password_is_sent_over_tls_alone(mail, secure_mail, certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    login = {"email_to": "anna@example.org", "smtp_user": "inkloop", "smtp_password": "secret", "attempts": 1}
    with pytest.raises(UserError, match=r"INKLOOP_NOTIFY_SMTP_USER=inkloop: .*password might go out in the clear"):
        NotificationSettings.from_environment("INKLOOP_NOTIFY_", {"INKLOOP_NOTIFY_SMTP_USER": "inkloop"})

    with pytest.raises(UserError, match="STARTTLS"):
        notify(DRIFT, settings(tmp_path, smtp_tls="required", smtp_port=mail.port, **login))
    assert mail.logins == 0

    notify(DRIFT, settings(tmp_path, smtp_tls="required", smtp_port=secure_mail.port, **login))
    assert secure_mail.logins == 1


def test_one_channel_that_fails_is_tried_again_alone(webhook, mail, tmp_path):
    both = {"webhook_url": webhook.url, "email_to": "anna@example.org", "smtp_host": "127.0.0.1", "attempts": 1}
    mail.refusals = 1
    to = settings(tmp_path, smtp_port=mail.port, **both)

    with pytest.raises(UserError, match=r"not everyone was told \(email: .*451"):
        notify(DRIFT, to)
    notify(Event("drift", "The next", "", DRIFT.when), to)

    assert len(webhook.received) == 2
    assert sorted(str(message["Subject"]) for message in mail.received) == [
        "[inkloop] Drift: the pen is thicker",
        "[inkloop] The next",
    ]


def test_who_is_told_comes_from_the_environment():
    given = {
        "INKLOOP_NOTIFY_WEBHOOK_URL": "https://example.org/hook",
        "INKLOOP_NOTIFY_WEBHOOK_SECRET": "hush",
        "INKLOOP_NOTIFY_TIMEOUT_S": "2.5",
    }

    found = NotificationSettings.from_environment("INKLOOP_NOTIFY_", given)

    assert (found.webhook_url, found.timeout_s, found.email_to) == ("https://example.org/hook", 2.5, None)
    assert "hush" not in repr(found)
    with pytest.raises(UserError, match=r"INKLOOP_NOTIFY_WEBHOOK_URL=example.org: .*not an http"):
        NotificationSettings.from_environment("INKLOOP_NOTIFY_", {"INKLOOP_NOTIFY_WEBHOOK_URL": "example.org"})


def test_where_nobody_is_named_nothing_is_sent_or_kept(tmp_path):
    notify(DRIFT, settings(tmp_path))

    assert waiting(tmp_path) == []
