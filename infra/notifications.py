"""Telling people: an event goes to a webhook and by e-mail, at least once to each, with an id to tell repeats by.

What cannot be delivered waits in a folder, and the next call tries it again. The addresses are the operator's own, from
the environment and never from a request, so private and link-local ones are allowed.
"""

import base64
import hmac
import json
import smtplib
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import urllib3
from pydantic import PositiveFloat, PositiveInt, SecretStr, ValidationInfo, field_validator

from inkloop.errors import UserError
from inkloop.files import written_whole
from inkloop.settings import Settings

VARIABLE_PREFIX = "INKLOOP_NOTIFY_"
BACKOFF_S = 0.5  # before the third attempt; doubles for each after it
TRY_AGAIN_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
SECRET_PREFIX = "whsec_"
NAMESPACE = uuid.UUID("6f2f6e0c-3d0a-5a52-9a4e-6e6f74696679")

Channel = Literal["webhook", "email"]


@dataclass(frozen=True)
class Event:
    """Something a person should know: what kind, in a line, in a few sentences, when (UTC)."""

    kind: str  # such as drift, promotion, rollback
    title: str
    text: str
    when: datetime

    @property
    def id(self) -> str:
        """The same for the same event, whoever sends it and however often."""
        said = "\n".join((self.kind, self.when.astimezone(UTC).isoformat(), self.title, self.text))
        return str(uuid.uuid5(NAMESPACE, said))


class NotificationSettings(Settings):
    """Whom to tell; each field is also an environment variable, as INKLOOP_NOTIFY_WEBHOOK_URL. None: nobody there."""

    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None  # to sign with; `whsec_` and base64, or any text
    email_to: str | None = None  # addresses, with commas between
    email_from: str = "inkloop@localhost"
    smtp_host: str = "localhost"
    smtp_port: PositiveInt = 25
    smtp_tls: Literal["offered", "required", "implicit"] = "offered"  # implicit: from the first byte, as on port 465
    smtp_user: str | None = None  # needs TLS: a password is never sent in the clear
    smtp_password: SecretStr | None = None
    attempts: PositiveInt = 3
    timeout_s: PositiveFloat = 5  # of one attempt
    deadline_s: PositiveFloat = 20  # of the whole call
    folder: Path = Path("artifacts/notifications")  # where events wait that could not be delivered

    @field_validator("webhook_url")
    @classmethod
    def _is_a_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("https://", "http://")):
            raise ValueError("not an http:// or https:// URL")
        return url

    @field_validator("smtp_user")
    @classmethod
    def _passwords_are_encrypted(cls, user: str | None, info: ValidationInfo) -> str | None:
        if user is not None and info.data.get("smtp_tls") == "offered":
            raise ValueError("a user needs smtp_tls=required or implicit, or the password might go out in the clear")
        return user


def notify(event: Event, settings: NotificationSettings) -> None:
    """Tell everyone whom the settings name, and those who could not be told of earlier events before.

    Takes `deadline_s` at most. Raises UserError if someone could not be told: the event waits for the next call.
    """
    channels: list[Channel] = []
    channels += ["webhook"] if settings.webhook_url is not None else []
    channels += ["email"] if settings.email_to is not None else []
    for channel in channels:
        _keep(event, channel, settings.folder)
    failures = dict.fromkeys(channels, f"no answer within {settings.deadline_s:g} s")

    def deliver(channel: Channel) -> None:
        try:
            _deliver_waiting(channel, settings)
            del failures[channel]
        except UserError as error:
            failures[channel] = str(error)

    # A receiver that answers a byte at a time must not hold the caller, and no time-out of a socket prevents that.
    threads = [threading.Thread(target=partial(deliver, channel), daemon=True) for channel in channels]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + settings.deadline_s
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    if told := list(dict(failures).items()):
        reasons = "; ".join(f"{channel}: {reason}" for channel, reason in told)
        raise UserError(f"{event.title}: not everyone was told ({reasons}). It waits in {settings.folder}.")


def _keep(event: Event, channel: Channel, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / f"{event.id}.{channel}.json") as unfinished:
        unfinished.write_text(json.dumps(asdict(event) | {"when": event.when.isoformat()}))


def _deliver_waiting(channel: Channel, settings: NotificationSettings) -> None:
    send: Callable[[Event, NotificationSettings], None] = _post if channel == "webhook" else _mail
    waiting = [(_read(path), path) for path in settings.folder.glob(f"*.{channel}.json")]
    for event, path in sorted(waiting, key=lambda each: each[0].when):
        send(event, settings)
        path.unlink(missing_ok=True)  # after it was sent: who dies in between sends it again, under the same id


def _read(path: Path) -> Event:
    kept: dict[str, Any] = json.loads(path.read_text())
    return Event(**kept | {"when": datetime.fromisoformat(kept["when"])})


def signature(secret: str, event_id: str, timestamp_s: int, body: bytes) -> str:
    """What the header `webhook-signature` says, as in the Standard Webhooks specification (HMAC-SHA256)."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX)) if secret.startswith(SECRET_PREFIX) else secret.encode()
    signed = b"%s.%d.%s" % (event_id.encode(), timestamp_s, body)
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def _post(event: Event, settings: NotificationSettings) -> None:
    body = json.dumps(
        {
            "id": event.id,
            "kind": event.kind,
            "title": event.title,
            "text": event.text,
            "when": event.when.astimezone(UTC).isoformat(),
        }
    ).encode()
    now_s = int(time.time())
    headers = {"content-type": "application/json", "webhook-id": event.id, "webhook-timestamp": str(now_s)}
    if settings.webhook_secret is not None:
        headers["webhook-signature"] = signature(settings.webhook_secret.get_secret_value(), event.id, now_s, body)
    retries = urllib3.Retry(
        total=settings.attempts - 1,
        redirect=False,  # the operator named this receiver and no other
        status_forcelist=TRY_AGAIN_STATUS,
        allowed_methods=None,  # a receiver knows a repeated POST by its id
        backoff_factor=BACKOFF_S,
        respect_retry_after_header=False,
        raise_on_status=False,
    )
    with urllib3.PoolManager() as pool:
        try:
            answer = pool.request(
                "POST",
                str(settings.webhook_url),
                body=body,
                headers=headers,
                retries=retries,
                redirect=False,
                timeout=settings.timeout_s,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise UserError(f"no answer ({error}); check {VARIABLE_PREFIX}WEBHOOK_URL") from error
        answer.close()
    if not 200 <= answer.status < 300:
        raise UserError(f"the receiver answered {answer.status}; check {VARIABLE_PREFIX}WEBHOOK_URL")


def _mail(event: Event, settings: NotificationSettings) -> None:
    message = EmailMessage()
    message["Subject"] = f"[inkloop] {' '.join(event.title.split())}"
    message["From"] = settings.email_from
    message["To"] = str(settings.email_to)
    message["Date"] = format_datetime(event.when.astimezone(UTC))
    message["Message-ID"] = f"<{event.id}@inkloop>"
    message.set_content(event.text)
    for attempt in range(settings.attempts):
        if attempt:
            time.sleep(BACKOFF_S * 2 ** (attempt - 1))
        try:
            _send(message, settings)
        except (smtplib.SMTPException, OSError) as error:
            failure = UserError(f"{settings.smtp_host}:{settings.smtp_port}: {error}; check {VARIABLE_PREFIX}SMTP_*")
        else:
            return
    raise failure


def _send(message: EmailMessage, settings: NotificationSettings) -> None:
    certified = ssl.create_default_context()
    connected: smtplib.SMTP
    if settings.smtp_tls == "implicit":
        connected = smtplib.SMTP_SSL(
            settings.smtp_host, settings.smtp_port, timeout=settings.timeout_s, context=certified
        )
    else:
        connected = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=settings.timeout_s)
    with connected as server:
        server.ehlo()
        if settings.smtp_tls == "required" or (settings.smtp_tls == "offered" and server.has_extn("starttls")):
            server.starttls(context=certified)
        if settings.smtp_user is not None:
            password = settings.smtp_password.get_secret_value() if settings.smtp_password is not None else ""
            server.login(settings.smtp_user, password)
        server.send_message(message)
