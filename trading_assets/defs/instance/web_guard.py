"""The guard before Dagster's web server: which requests it gets to see. docs/security.md tells what it is for.

Dagster's own server executes what any page in the user's browser asks of it. The guard is an ASGI application around
it, so it sees WebSockets, too. Every web server that opens a storage of this project gets it, whatever started it.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import logging
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.private_files import FILE, private_folder
from trading_assets.core.request_origin import (
    DoubleHeaderError,
    foreign,
    host_name,
    is_loopback_address,
    is_loopback_name,
    once,
    origin_of,
)
from trading_assets.core.settings import Settings, load_settings
from trading_assets.defs.instance.concurrency_groups import ACTOR_HEADER

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_FILE = "ui_token"
COOKIE = "trading_assets_ui"
LOGIN = "/guard/login"
COOKIE_LIFE_S = 30 * 86_400
_MAX_FORM = 4096
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"})
_WEBSERVER, _FACTORY = "dagster_webserver.cli", "create_app_from_workspace_process_context"
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
    """

    token: Callable[[], str] = field(repr=False)
    origins: frozenset[str] = frozenset()
    always_token: bool = False
    user_header: str = ""
    path_prefix: str = ""

    @property
    def hosts(self) -> frozenset[str]:
        """Names in `Host` besides those of this machine."""
        return frozenset(name for origin in self.origins if (name := urlsplit(origin).hostname))


class _Refusal(Exception):
    """What to answer instead of asking Dagster."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Guard:
    """An ASGI application: `inner` behind `rules`."""

    def __init__(self, inner: Application, rules: Rules) -> None:
        self._inner, self._rules = inner, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI's."""
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
            return
        try:
            headers = self._judged(scope)
            if scope["type"] == "http" and self._path(scope) == LOGIN:
                await self._log_in(headers, receive, send, scope["method"])
                return
            self._require_token(scope, headers)
        except DoubleHeaderError as error:
            await _refuse(scope, receive, send, _Refusal(HTTPStatus.BAD_REQUEST, str(error)))
            return
        except _Refusal as refusal:
            if refusal.status is HTTPStatus.UNAUTHORIZED and headers.get("sec-fetch-dest") == "document":
                await _answer(send, HTTPStatus.UNAUTHORIZED, _login_page(self._rules.path_prefix))
            else:
                await _refuse(scope, receive, send, refusal)
            return
        named = (ACTOR_HEADER.encode(), self._actor(scope, headers).encode("latin-1", "replace"))
        kept = [one for one in scope["headers"] if one[0].lower() != named[0]]
        await self._inner({**scope, "headers": [*kept, named]}, receive, _hardened(send))

    def _judged(self, scope: Scope) -> dict[str, str]:
        """The headers of a request that no foreign page has made.

        Raises:
            DoubleHeaderError, _Refusal: it may not be answered.
        """
        headers, rules = once(scope["headers"]), self._rules
        name = host_name(headers.get("host", ""))
        if name is None or not (is_loopback_name(name) or name in rules.hosts):
            raise _Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server is not {headers.get('host', '')[:100]!r}; expected this machine, or the address in "
                "TRADING_ASSETS_UI_URL or TRADING_ASSETS_UI_ORIGINS",
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
            raise _Refusal(HTTPStatus.FORBIDDEN, reason)
        if scope["type"] == "http" and self._path(scope) == "/graphql":
            _judge_graphql(scope, headers)
        return headers

    def _path(self, scope: Scope) -> str:
        path = str(scope["path"]).removeprefix(self._rules.path_prefix)
        return path.rstrip("/") or "/"

    def _require_token(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raise a _Refusal where a token is needed and none, or a wrong one, is there."""
        client = scope.get("client")
        is_here = (
            is_loopback_address(client[0] if client else None)
            and is_loopback_name(host_name(headers["host"]))
            and not _FORWARDED & headers.keys()
        )
        if is_here and not self._rules.always_token:
            return
        token = self._rules.token()
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), token):
            return
        if _same(_cookie(headers), _cookie_value(token)):
            return
        raise _Refusal(
            HTTPStatus.UNAUTHORIZED, "a token is needed: open the UI in a browser; trading-assets web --show-token"
        )

    async def _log_in(self, headers: dict[str, str], receive: Receive, send: Send, method: str) -> None:
        if method != "POST":
            await _answer(send, HTTPStatus.OK, _login_page(self._rules.path_prefix))
            return
        form = parse_qs((await _body(receive, _MAX_FORM)).decode("latin-1"))
        token = self._rules.token()
        if "origin" not in headers or not _same(form.get("token", [""])[0].strip(), token):
            page = _login_page(self._rules.path_prefix, "This is not the token.")
            await _answer(send, HTTPStatus.UNAUTHORIZED, page)
            return
        secure = "; Secure" if headers["origin"].startswith("https:") else ""
        cookie = f"{COOKIE}={_cookie_value(token)}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_LIFE_S}{secure}"
        home = f"{self._rules.path_prefix}/"
        await _answer(send, HTTPStatus.SEE_OTHER, "", (b"location", home.encode()), (b"set-cookie", cookie.encode()))

    def _actor(self, scope: Scope, headers: dict[str, str]) -> str:
        """Who asks, as far as is known: the proxy's user, or who holds the socket on this machine; the address."""
        client, server = scope.get("client"), scope.get("server")
        user = headers.get(self._rules.user_header.lower(), "") if self._rules.user_header else ""
        if not user and client and server and is_loopback_address(client[0]):
            user = socket_owner(client[1], server[1]) or ""
        shown = "".join(char if char.isprintable() else "?" for char in user[:80])
        return f"{shown or 'somebody'} (UI, from {client[0] if client else 'an unknown address'})"


def guard_this_webserver() -> None:
    """Put the guard before Dagster's web server, if this process is one; at every other time there is nothing to do.

    Raises:
        ConfigurationError: this version of Dagster builds its server in another way, so it would stay open; or a
            setting is malformed.
    """
    server = sys.modules.get(_WEBSERVER)
    if server is None:
        return
    stock = getattr(server, _FACTORY, None)
    if stock is None:
        raise ConfigurationError(
            f"this version of Dagster has no {_WEBSERVER}.{_FACTORY}, so its web server cannot be guarded; install the "
            "locked version"
        )
    if getattr(stock, "is_guarded", False):
        return
    settings = load_settings(lenient=True)  # a typing error must not keep a person from the UI that halts

    def create(context: Any, path_prefix: str = "", *arguments: Any, **named: Any) -> Application:
        return Guard(stock(context, path_prefix, *arguments, **named), rules_of(settings, path_prefix))

    create.is_guarded = True  # type: ignore[attr-defined]
    setattr(server, _FACTORY, create)


def serve(arguments: list[str]) -> None:
    """Run Dagster's web server, guarded, with the options of its command line, until it is stopped.

    Raises:
        ConfigurationError: as `guard_this_webserver`.
    """
    server = import_module(_WEBSERVER)
    guard_this_webserver()
    server.cli.main(arguments, prog_name="trading-assets web", auto_envvar_prefix="DAGSTER_WEBSERVER")


def rules_of(settings: Settings, path_prefix: str = "") -> Rules:
    """The rules that the settings mean.

    Raises:
        ConfigurationError: an address of the UI is none.
    """
    origins = set()
    for url in (settings.ui_url, *settings.ui_origins):
        origin = origin_of(url)
        if origin is None:
            raise ConfigurationError(f"{url!r} is no address of the UI; expected such as https://desk.example")
        origins.add(origin)
    return Rules(
        token=lambda: ui_token(settings),
        origins=frozenset(origins),
        always_token=settings.venue.adapter.is_real_money,
        user_header=settings.ui_user_header,
        path_prefix=path_prefix,
    )


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


def guards(url: str, timeout_s: float = 3.0) -> bool | None:
    """Whether the web server at a URL has the guard: it refuses a name that is not its own. None: nobody answers."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/server_info", headers={"Host": "attacker.example"})
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return status in (HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def _judge_graphql(scope: Scope, headers: dict[str, str]) -> None:
    """Raise a _Refusal for what a page can send without asking the browser's leave."""
    if scope["method"] != "POST":
        raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is asked by POST")
    if headers.get("content-type") != "application/json":
        raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "GraphQL is asked with Content-Type: application/json")
    if any(name in ("query", "variables") for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))):
        raise _Refusal(HTTPStatus.BAD_REQUEST, "a query is sent in the body, not in the URL")


def _cookie(headers: dict[str, str]) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""


def _cookie_value(token: str) -> str:
    """Tells that its bearer knew the token, without being it."""
    return hmac.new(token.encode(), b"cookie of the UI", hashlib.sha256).hexdigest()


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


def _login_page(path_prefix: str, word: str = "") -> str:
    return (
        "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>trading_assets</title>"
        f"<h1>trading_assets</h1><p>{html.escape(word)}</p>"
        f"<form method='post' action='{html.escape(path_prefix)}{LOGIN}'>"
        "<label>Token <input type='password' name='token' autofocus autocomplete='current-password'></label> "
        "<button>Log in</button></form><p>On the installation's command line: "
        "<code>trading-assets web --show-token</code></p></html>"
    )


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


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: _Refusal) -> None:
    _log.warning("refused %s %s: %s", scope.get("method", "WebSocket"), ascii(scope["path"][:100]), ascii(refusal.text))
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(send, refusal.status, html.escape(refusal.text))
