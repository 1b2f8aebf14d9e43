"""Telegram's Bot API, as far as it is used here: one client for messages and for commands, and a chat as a channel."""

from __future__ import annotations

import html
import json
from typing import Any

import requests
from pydantic import SecretStr

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Message
from trading_assets.core.secret_text import keep_out_of_logs, without
from trading_assets.notifications.channel import LONGEST_ERROR, Channel, DeliveryError, mark_of

API_URL = "https://api.telegram.org"
LONGEST_TEXT, LONGEST_CAPTION = 4096, 1024
"""Characters, once entities are read."""

_CONNECT_S, _READ_S = 5.0, 10.0
_FINAL = (400, 403)
"""The text, or the chat, is refused for good. A token that is refused (401, 404) may be mended within the day."""


class TelegramError(DeliveryError):
    """The Bot API did not do it. `number` is its own code, 0 where it was not heard."""

    def __init__(
        self, text: str, *, code: int = 0, retry_after_s: float | None = None, moved_to: int | None = None
    ) -> None:
        super().__init__(text, is_final=code in _FINAL, retry_after_s=retry_after_s)
        self.number, self.moved_to = code, moved_to


class TelegramApi:
    """Calls the Bot API. No error and no log shows the token. Not for several threads at once.

    Args:
        url: of the API; a test has its own.
    """

    def __init__(self, token: SecretStr, url: str = API_URL) -> None:
        self._base = f"{url.rstrip('/')}/bot{token.get_secret_value()}"
        self._secrets = {token.get_secret_value()}
        self._http = requests.Session()
        keep_out_of_logs(self._secrets, "urllib3.connectionpool")

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def call(
        self,
        method: str,
        *,
        read_s: float = _READ_S,
        files: dict[str, tuple[str, bytes, str]] | None = None,
        **what: Any,
    ) -> Any:
        """Call a method. Return its result.

        Raises:
            TelegramError: it was refused, or not heard.
        """
        given: dict[str, Any] = {"json": what}
        if files is not None:
            fields = {name: one if isinstance(one, str) else json.dumps(one) for name, one in what.items()}
            given = {"data": fields, "files": files}
        try:
            answer = self._http.post(f"{self._base}/{method}", timeout=(_CONNECT_S, read_s), **given)
        except requests.RequestException as error:
            raise TelegramError(self._safe(f"{method}: {type(error).__name__}: {error}")) from None
        try:
            found = answer.json()
            if found.get("ok"):
                return found["result"]
            parameters = found.get("parameters") or {}
            said, code = str(found.get("description", "")), int(found.get("error_code", 0))
        except (ValueError, AttributeError, TypeError, KeyError):
            raise TelegramError(f"{method}: answered no JSON ({answer.reason})", code=0) from None
        raise TelegramError(
            self._safe(f"{method}: {code} {said}"),
            code=code,
            retry_after_s=parameters.get("retry_after"),
            moved_to=parameters.get("migrate_to_chat_id"),
        )

    def _safe(self, text: str) -> str:
        return plain(without(text, self._secrets))[:LONGEST_ERROR]


def bold_title(title: str, body: str, longest: int = LONGEST_TEXT) -> str:
    """Title and body as Telegram's HTML, cut to its limit before they are escaped."""
    body = body if len(title) + len(body) + 1 <= longest else body[: max(longest - len(title) - 2, 0)] + "…"
    return f"<b>{escaped(title[:longest])}</b>" + (f"\n{escaped(body)}" if body else "")


def escaped(text: str) -> str:
    """Text as Telegram's HTML."""
    return html.escape(text, quote=False)


class TelegramChat(Channel):
    """A chat of a bot. A picture goes with its text below it."""

    def __init__(
        self, token: SecretStr, chat: str, *, topic: str = "", is_silent: bool = False, url: str = API_URL
    ) -> None:
        self._token, self._chat, self._topic, self._is_silent = token, chat, topic, is_silent
        self._api = TelegramApi(token, url)
        self.name = f"tgram-{mark_of(f'{token.get_secret_value()}/{chat}/{topic}')}"

    def check(self) -> None:
        """See `Channel.check`."""
        try:
            self._api.call("getChat", chat_id=self._chat)
        except TelegramError as error:
            raise ConfigurationError(f"{self.name}: {error}") from None

    def send(self, message: Message) -> None:
        """See `Channel.send`."""
        try:
            self._send(message, self._chat)
        except TelegramError as error:
            if error.moved_to is None:
                raise
            self._send(message, str(error.moved_to))  # a group that became a supergroup has another id

    def _send(self, message: Message, chat: str) -> None:
        where: dict[str, Any] = {"chat_id": chat, "disable_notification": self._is_silent}
        if self._topic:
            where["message_thread_id"] = int(self._topic)
        if message.picture is not None:
            caption = bold_title(message.title, message.body, LONGEST_CAPTION)
            picture = {"photo": ("picture.png", message.picture, "image/png")}
            self._api.call("sendPhoto", files=picture, caption=caption, parse_mode="HTML", **where)
            return
        text = bold_title(message.title, message.body)
        self._api.call("sendMessage", text=text, parse_mode="HTML", link_preview_options={"is_disabled": True}, **where)
