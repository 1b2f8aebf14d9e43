"""The guard before a web server of ours: which requests it gets to see. docs/security.md tells what it is for.

An ASGI application around another one, so it sees WebSockets, too. It stands before Dagster's web server and before the
live page; what each of them wants besides, its own subclass says.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.private_files import FILE, private_folder
from trading_assets.core.request_origin import (
    DoubleHeaderError,
    foreign,
    host_name,
    is_address,
    is_loopback_address,
    is_loopback_name,
    once,
    origin_of,
)
from trading_assets.core.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_FILE = "ui_token"
LOGIN = "/guard/login"
COOKIE_LIFE_S = 30 * 86_400
_MAX_FORM = 4096
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"})
_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """Who is let in.

    Attributes:
        origins: addresses of the UI besides those of this machine, as a browser writes them.
        token: what opens the UI where a token is needed; called when one is needed for the first time.
        always_token: whether it is needed on this machine, too.
        user_header: name of the header in which a proxy tells who has logged in; empty: none is believed.
        path_prefix: below which the server answers.
        any_address: whether it is also seen at IP addresses, which no name server can give to a foreign page.
    """

    token: Callable[[], str] = field(repr=False)
    origins: frozenset[str] = frozenset()
    always_token: bool = False
    user_header: str = ""
    path_prefix: str = ""
    any_address: bool = False

    @property
    def hosts(self) -> frozenset[str]:
        """Names in `Host` besides those of this machine."""
        return frozenset(name for origin in self.origins if (name := urlsplit(origin).hostname))


class Refusal(Exception):
    """What to answer instead of asking Dagster."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Guard:
    """An ASGI application: `inner` behind `rules`.

    Attributes:
        cookie: its name. Servers on other ports of the machine see each other's.
        purpose: what the cookie's value is made for.
        settings_of_address: names them, for who is refused.
        how_to_log_in: the command that shows the token, or where it is set.
        shown_as: name of the server in histories.
        actor_header: in which the inner application is told who asks.
    """

    cookie: str
    purpose: bytes
    settings_of_address: str
    how_to_log_in: str
    actor_header: str
    shown_as: str = "UI"

    def __init__(self, inner: Application, rules: Rules) -> None:
        self._inner, self._rules = inner, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI's."""
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
            return
        headers: dict[str, str] = {}
        try:
            headers = self._judged(scope)
            if scope["type"] == "http" and self._path(scope) == LOGIN:
                await self._log_in(headers, receive, send, scope["method"])
                return
            self._require_token(scope, headers)
        except DoubleHeaderError as error:
            await _refuse(scope, receive, send, Refusal(HTTPStatus.BAD_REQUEST, str(error)))
            return
        except Refusal as refusal:
            if refusal.status is HTTPStatus.UNAUTHORIZED and headers.get("sec-fetch-dest") == "document":
                await _answer(send, HTTPStatus.UNAUTHORIZED, self._login_page())
            else:
                await _refuse(scope, receive, send, refusal)
            return
        named = (self.actor_header.lower().encode(), self._actor(scope, headers).encode("latin-1", "replace"))
        kept = [one for one in scope["headers"] if one[0].lower() != named[0]]
        await self._inner({**scope, "headers": [*kept, named]}, receive, _hardened(send))

    def _judged(self, scope: Scope) -> dict[str, str]:
        """The headers of a request that no foreign page has made.

        Raises:
            DoubleHeaderError, Refusal: it may not be answered.
        """
        headers, rules = once(scope["headers"]), self._rules
        name = host_name(headers.get("host", ""))
        is_ours = is_loopback_name(name) or name in rules.hosts or (rules.any_address and is_address(name))
        if name is None or not is_ours:
            raise Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server is not {headers.get('host', '')[:100]!r}; expected this machine, or the address in "
                f"{self.settings_of_address}",
            )
        reason = foreign(headers, origins=rules.origins)
        # A link from another page to one of ours may be followed: it shows, and asks nothing in that page's name.
        followed = (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
            and "origin" not in headers
        )
        if reason is not None and not followed:
            raise Refusal(HTTPStatus.FORBIDDEN, reason)
        self.judge(scope, headers, self._path(scope))
        return headers

    def judge(self, scope: Scope, headers: dict[str, str], path: str) -> None:
        """Judge what only this application knows of a request that no foreign page has made.

        Raises:
            Refusal: it may not be answered.
        """

    def _path(self, scope: Scope) -> str:
        path = str(scope["path"]).removeprefix(self._rules.path_prefix)
        return path.rstrip("/") or "/"

    def _require_token(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raise a Refusal where a token is needed and none, or a wrong one, is there."""
        client = scope.get("client")
        is_here = (
            is_loopback_address(client[0] if client else None)
            and is_loopback_name(host_name(headers["host"]))
            and not _FORWARDED & headers.keys()
        )
        if is_here and not self._rules.always_token:
            return
        if self.has_token(headers):
            return
        raise Refusal(HTTPStatus.UNAUTHORIZED, f"a token is needed: open the UI in a browser; {self.how_to_log_in}")

    def has_token(self, headers: dict[str, str]) -> bool:
        """Whether a request brings the token, as a bearer or by the cookie of who has logged in."""
        token = self._rules.token()
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), token):
            return True
        return _same(_cookie(headers, self.cookie), self._cookie_value(token))

    async def _log_in(self, headers: dict[str, str], receive: Receive, send: Send, method: str) -> None:
        if method != "POST":
            await _answer(send, HTTPStatus.OK, self._login_page())
            return
        form = parse_qs((await _body(receive, _MAX_FORM)).decode("latin-1"))
        token = self._rules.token()
        if "origin" not in headers or not _same(form.get("token", [""])[0].strip(), token):
            page = self._login_page("This is not the token.")
            await _answer(send, HTTPStatus.UNAUTHORIZED, page)
            return
        secure = "; Secure" if headers["origin"].startswith("https:") else ""
        value = f"{self.cookie}={self._cookie_value(token)}"
        cookie = f"{value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_LIFE_S}{secure}"
        home = f"{self._rules.path_prefix}/"
        await _answer(send, HTTPStatus.SEE_OTHER, "", (b"location", home.encode()), (b"set-cookie", cookie.encode()))

    def _actor(self, scope: Scope, headers: dict[str, str]) -> str:
        """Who asks, as far as is known: the proxy's user, or who holds the socket on this machine; the address."""
        client, server = scope.get("client"), scope.get("server")
        user = headers.get(self._rules.user_header.lower(), "") if self._rules.user_header else ""
        if not user and client and server and is_loopback_address(client[0]):
            user = socket_owner(client[1], server[1]) or ""
        shown = "".join(char if char.isprintable() else "?" for char in user[:80])
        return f"{shown or 'somebody'} ({self.shown_as}, from {client[0] if client else 'an unknown address'})"

    def _cookie_value(self, token: str) -> str:
        """Tells that its bearer knew the token, without being it."""
        return hmac.new(token.encode(), self.purpose, hashlib.sha256).hexdigest()

    def _login_page(self, word: str = "") -> str:
        return (
            "<!DOCTYPE html><html lang='en'><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'><title>trading_assets</title>"
            f"<h1>trading_assets</h1><p>{html.escape(word)}</p>"
            f"<form method='post' action='{html.escape(self._rules.path_prefix)}{LOGIN}'>"
            "<label>Token <input type='password' name='token' autofocus autocomplete='current-password'></label> "
            f"<button>Log in</button></form><p>{html.escape(self.how_to_log_in)}</p></html>"
        )


def origins_of(urls: Iterable[str], what: str) -> frozenset[str]:
    """Addresses as a browser writes them.

    Raises:
        ConfigurationError: one is none.
    """
    found = set()
    for url in urls:
        origin = origin_of(url)
        if origin is None:
            raise ConfigurationError(f"{url!r} is no address of {what}; expected such as https://desk.example")
        found.add(origin)
    return frozenset(found)


def ui_token(settings: Settings) -> str:
    """The token that opens the UI: the setting's, else the home's own, which is made on first use.

    Raises:
        StorageError: the home cannot be written.
    """
    if settings.ui_token is not None:
        return settings.ui_token.get_secret_value()
    path: Path = settings.home / TOKEN_FILE
    try:
        private_folder(settings.home)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE)
        except FileExistsError:
            pass
        else:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        token = path.read_text().strip()
    except OSError as error:
        raise StorageError(f"the UI's token cannot be kept in {path}: {error.strerror}") from error
    if len(token) < 20:
        raise StorageError(f"{path} holds no token; remove it, and another one is made")
    return token


def socket_owner(port: int, server_port: int) -> str | None:
    """The user of this machine who holds the other end of a loopback connection; None where it cannot be told."""
    import pwd  # noqa: PLC0415 (not on every system)

    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            return None
        for line in lines:
            fields = line.split()
            ends = [int(fields[index].rpartition(":")[2], 16) for index in (1, 2)]
            if ends == [port, server_port]:
                try:
                    return pwd.getpwuid(int(fields[7])).pw_name
                except KeyError:
                    return f"user {fields[7]}"
    return None


def _cookie(headers: dict[str, str], name: str) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""


def _same(found: str, expected: str) -> bool:
    return hmac.compare_digest(found.encode("utf-8", "replace"), expected.encode())


async def _body(receive: Receive, limit: int) -> bytes:
    parts, length = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        part = message.get("body", b"")
        length += len(part)
        if length > limit:
            return b""
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _hardened(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await send(message)

    return answer


async def _answer(send: Send, status: HTTPStatus, text: str, *extra: tuple[bytes, bytes]) -> None:
    content = text.encode()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        *extra,
        *_HEADERS,
    ]
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    _log.warning("refused %s %s: %s", scope.get("method", "WebSocket"), ascii(scope["path"][:100]), ascii(refusal.text))
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(send, refusal.status, html.escape(refusal.text))
