"""One of apprise's messengers as a channel: Discord, Slack, mail, and the hundred others."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pydantic import SecretStr

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Message, Severity
from trading_assets.core.secret_text import keep_out_of_logs, parts_of_url, without
from trading_assets.notifications.channel import LONGEST_ERROR, Channel, DeliveryError, mark_of

_LOGGERS = ("apprise", "urllib3.connectionpool")
_LONGEST_SCHEME = 32
_LONGEST_PAUSE_S = 1.2
"""Between two messages. It is Slack's; apprise's own 5.5 s, for mail too, are nobody's limit: the channel's rule is."""

TOO_MANY_REST_S = 30.0
"""After an answer 429 that does not say how long a rest it asks for."""

LONGEST_REST_S = 3600.0

_TOO_MANY = re.compile(r"\berror=429\b")
_DISCORDS = re.compile(r"([\\*_~`|>#\[\]()-])")


class AppriseChannel(Channel):
    """One of apprise's messengers. Its URL holds tokens: no log and no error shows a part of it."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        text = url.get_secret_value()
        self._secrets = parts_of_url(text)
        keep_out_of_logs(self._secrets, *_LOGGERS)
        scheme = text.partition("://")[0].lower()
        known = scheme if scheme.isalnum() and len(scheme) <= _LONGEST_SCHEME else "unknown"
        self._is_discord = known == "discord"
        self.name = f"{known}-{mark_of(text)}"
        self._lock = threading.Lock()
        self._messenger: Any = None

    def check(self) -> None:
        """See `Channel.check`."""
        self._apprise()

    def send(self, message: Message) -> None:
        """See `Channel.send`."""
        import apprise  # noqa: PLC0415 (costs a second, and most processes send nothing)

        kinds = {
            Severity.INFO: apprise.NotifyType.INFO,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
        }
        title, body = message.title, message.body or message.title
        if self._is_discord:  # apprise sends its text as it is, and there it is Markdown with mentions
            title, body = discords(title), discords(body)
        said = _Said()
        try:
            # Each messenger itself: apprise's own round needs threads that a process which ends has no more.
            taken = all(
                one.notify(
                    title=title,
                    body=body,
                    notify_type=kinds[message.severity],
                    body_format=apprise.NotifyFormat.TEXT,
                    attach=_picture(one, message.picture),
                )
                for one in self._apprise()
            )
        except ConfigurationError as error:
            raise DeliveryError(str(error)) from None
        except _TooManyError as error:
            raise DeliveryError(str(error), retry_after_s=error.rest_s) from None
        except Exception as error:  # noqa: BLE001 (a messenger's plugin may raise anything)
            raise DeliveryError(self._safe(f"{type(error).__name__}: {error}")) from None
        finally:
            said.close()
        if not taken:
            told = "; ".join(said.lines)
            rest_s = TOO_MANY_REST_S if _TOO_MANY.search(told) else None
            raise DeliveryError(self._safe(told) or "the messenger refused it without a word", retry_after_s=rest_s)

    def _apprise(self) -> Any:
        import apprise  # noqa: PLC0415 (as above)

        with self._lock:
            if self._messenger is None:
                found = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))
                if not found.add(self._url.get_secret_value()):
                    raise ConfigurationError(
                        f"no messenger knows the URL of {self.name}; expected one of apprise's in "
                        "TRADING_ASSETS_NOTIFY_URLS"
                    )
                for one in found:
                    if one.overflow_mode == apprise.OverflowMode.UPSTREAM:
                        one.overflow_mode = apprise.OverflowMode.TRUNCATE  # pieces would be sent twice
                    one.request_rate_per_sec = min(one.request_rate_per_sec, _LONGEST_PAUSE_S)
                    _listen(one)
                self._messenger = found
            return self._messenger

    def _safe(self, text: str) -> str:
        return plain(without(text, self._secrets))[:LONGEST_ERROR]


def discords(text: str) -> str:
    """Text as Discord shows it unchanged: without Markdown, and without a mention of anybody."""
    return _DISCORDS.sub(r"\\\1", text).replace("@", "@\u200b").replace("<", "\\<")


class _TooManyError(Exception):
    """A messenger has had too much. It passes through apprise's code, which would wait, or try again at once."""

    def __init__(self, rest_s: float) -> None:
        super().__init__(f"it has had too many messages (429), and gets a rest of {rest_s:g} s")
        self.rest_s = rest_s


class _Requests:
    """The module `requests` as a plugin of apprise sees it. An answer 429 is an error that knows the rest asked for."""

    def __getattr__(self, name: str) -> Any:
        import requests  # noqa: PLC0415 (apprise has imported it)

        found = getattr(requests, name)
        return _heard(found) if name in ("get", "patch", "post", "put", "request") else found


def _heard(call: Callable[..., Any]) -> Callable[..., Any]:
    def asked(*arguments: Any, **named: Any) -> Any:
        answer = call(*arguments, **named)
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise _TooManyError(_rest_s(answer))
        return answer

    return asked


def _rest_s(answer: Any) -> float:
    """For how long an answer 429 asks: its header, or what Discord writes into its body."""
    said = answer.headers.get("Retry-After")
    try:
        rest_s = float(answer.json()["retry_after"] if said is None else said)
    except (KeyError, TypeError, ValueError):
        return TOO_MANY_REST_S
    return min(rest_s, LONGEST_REST_S) if rest_s > 0 else TOO_MANY_REST_S


def _listen(messenger: Any) -> None:
    """Hear what a messenger answers: apprise tells nobody the headers."""
    module = sys.modules[type(messenger).__module__]
    if hasattr(module, "requests"):
        module.requests = _Requests()  # type: ignore[attr-defined]


def _picture(messenger: Any, picture: bytes | None) -> Any:
    """A picture as apprise takes it; None where the messenger takes none (a webhook of Slack does not)."""
    from apprise import AppriseAttachment  # noqa: PLC0415 (as above)
    from apprise.attachment.memory import AttachMemory  # noqa: PLC0415 (as above)

    is_webhook_of_slack = getattr(messenger, "mode", None) == "webhook"
    if picture is None or not messenger.attachment_support or is_webhook_of_slack:
        return None
    found = AppriseAttachment()
    found.add(AttachMemory(content=picture, name="picture.png", mimetype="image/png"))
    return found


class _Said(logging.Handler):
    """What apprise logs in this thread: it tells there why a message was not taken, and nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()
        self._logger = logging.getLogger(_LOGGERS[0])
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging's."""
        if record.thread == self._thread:
            self.lines.append(record.getMessage())

    def close(self) -> None:
        """Listen no longer."""
        self._logger.removeHandler(self)
        super().close()
