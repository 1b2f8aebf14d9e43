"""Channels to people: each sends one message, or says why it could not. What is sent when, `delivery` decides.

A channel is a small class: `name`, `shown`, `check` and `send`. Another kind of messenger is another such class, and a
line in `channels_of`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import Any, Protocol

from pydantic import SecretStr

from trading_assets.core.errors import ConfigurationError, TradingAssetsError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Message, Severity
from trading_assets.core.secret_text import keep_out_of_logs, parts_of_url, without
from trading_assets.core.settings import Settings

_LOGGERS = ("apprise", "urllib3.connectionpool")
_MARK = 6
_LONGEST_SCHEME = 32
_LONGEST_ERROR = 300


class DeliveryError(TradingAssetsError):
    """A channel did not take a message, as far as is known. The text has no secrets.

    Attributes:
        is_final: it would never take it.
        retry_after_s: it asks for so long a rest.
    """

    def __init__(self, text: str, *, is_final: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.is_final, self.retry_after_s = is_final, retry_after_s


class Channel(Protocol):
    """A way to a person.

    Attributes:
        name: of at most 48 characters, the same in every process; it tells no secret.
        shown: where it leads, without secrets.
    """

    @property
    def name(self) -> str: ...

    @property
    def shown(self) -> str: ...

    def check(self) -> None:
        """Look whether it can be used, without sending anything.

        Raises:
            ConfigurationError: it cannot; the message has no secrets.
        """

    def send(self, message: Message) -> None:
        """Send a message. It may take long or never return: the caller has a deadline.

        Raises:
            DeliveryError: it was not taken.
        """


class AppriseChannel:
    """One of apprise's messengers. Its URL holds tokens: no log and no error shows a part of it."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        text = url.get_secret_value()
        self._secrets = parts_of_url(text)
        keep_out_of_logs(self._secrets, *_LOGGERS)
        scheme = text.partition("://")[0].lower()
        known = scheme if scheme.isalnum() and len(scheme) <= _LONGEST_SCHEME else "unknown"
        self.name = f"{known}-{hashlib.sha256(text.encode()).hexdigest()[:_MARK]}"
        self._lock = threading.Lock()
        self._messenger: Any = None

    @property
    def shown(self) -> str:
        """The name: apprise's own shortened form of a URL keeps the host, which may be a token."""
        return self.name

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
        said = _Said()
        try:
            # Each messenger itself: apprise's own round needs threads that a process which ends has no more.
            taken = all(
                one.notify(
                    title=message.title,
                    body=message.body or message.title,
                    notify_type=kinds[message.severity],
                    body_format=apprise.NotifyFormat.TEXT,
                )
                for one in self._apprise()
            )
        except ConfigurationError as error:
            raise DeliveryError(str(error)) from None
        except Exception as error:  # noqa: BLE001 (a messenger's plugin may raise anything)
            raise DeliveryError(self._safe(f"{type(error).__name__}: {error}")) from None
        finally:
            said.close()
        if not taken:
            raise DeliveryError(self._safe("; ".join(said.lines)) or "the messenger refused it without a word")

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
                self._messenger = found
            return self._messenger

    def _safe(self, text: str) -> str:
        return plain(without(text, self._secrets))[:_LONGEST_ERROR]


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


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """The channels that the settings name, each once."""
    found = {channel.name: channel for channel in map(AppriseChannel, settings.notify_urls)}
    return tuple(found.values())
