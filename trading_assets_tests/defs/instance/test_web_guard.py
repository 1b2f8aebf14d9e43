"""The guard before the web server: what an attacker's page sends, and what the UI sends."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from trading_assets.core.settings import load_settings
from trading_assets.defs.instance.concurrency_groups import ACTOR_HEADER
from trading_assets.defs.instance.web_guard import COOKIE, Guard, rules_of
from trading_assets.service.guard import LOGIN, Rules, socket_owner, ui_token

TOKEN = "the-token-of-the-installation"
HERE = "127.0.0.1:3000"
JSON = ("content-type", "application/json")
RULES = Rules(token=lambda: TOKEN, origins=frozenset({"https://desk.example"}))


class Inner:
    """Remembers what came through."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(dict(scope))
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"inner"})


def ask(
    method: str = "POST",
    path: str = "/graphql",
    *headers: tuple[str, str],
    host: str | None = HERE,
    query: str = "",
    body: bytes = b"",
    client: str = "127.0.0.1",
    rules: Rules = RULES,
    kind: str = "http",
) -> tuple[int, dict[str, str], dict[str, Any] | None]:
    """Status (101: a WebSocket that opens), headers of the answer, and the scope that Dagster saw."""
    inner, sent = Inner(), []
    given = [("host", host)] if host is not None else []
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in (*given, *headers)],
        "client": (client, 50_000),
        "server": ("127.0.0.1", 3000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request" if kind == "http" else "websocket.connect", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(inner, rules)(scope, receive, send))
    seen = inner.scopes[0] if inner.scopes else None
    if kind == "websocket":
        return (101 if sent[0]["type"] == "websocket.accept" else 403), {}, seen
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, seen


@pytest.mark.parametrize(
    ("status", "method", "path", "headers", "more"),
    [
        (421, "POST", "/graphql", [JSON], {"host": "attacker.example"}),
        (421, "POST", "/graphql", [JSON], {"host": "127.0.0.1.attacker.example"}),
        (421, "POST", "/graphql", [JSON], {"host": "attacker.example@127.0.0.1"}),
        (421, "GET", "/", [], {"host": "attacker.example:3000"}),
        (421, "GET", "/", [], {"host": None}),
        (403, "POST", "/graphql", [JSON, ("origin", "http://attacker.example")], {}),
        (403, "POST", "/graphql", [JSON, ("origin", "null")], {}),
        (403, "POST", "/graphql", [JSON, ("origin", "http://127.0.0.1:18700")], {}),
        (403, "POST", "/graphql", [JSON, ("origin", "http://localhost:3000")], {}),
        (403, "POST", "/graphql", [JSON, ("sec-fetch-site", "cross-site")], {}),
        (403, "POST", "/graphql", [JSON, ("sec-fetch-site", "same-site")], {}),
        (415, "POST", "/graphql", [("content-type", "text/plain")], {}),
        (415, "POST", "/graphql", [("content-type", "text/plain; application/json")], {}),
        (415, "POST", "/graphql", [("content-type", "application/json; text/plain")], {}),
        (415, "POST", "/graphql", [], {}),
        (415, "POST", "/graphql/", [("content-type", "application/x-www-form-urlencoded")], {}),
        (405, "GET", "/graphql", [], {"query": "query=mutation{launchRun}"}),
        (405, "GET", "/graphql/", [], {"query": "query=mutation{launchRun}"}),
        (405, "PUT", "/graphql", [JSON], {}),
        (400, "POST", "/graphql", [JSON], {"query": "query=mutation{launchRun}"}),
        (400, "POST", "/graphql", [JSON, JSON], {}),
        (400, "POST", "/graphql", [JSON, ("host", "attacker.example")], {}),
        (400, "POST", "/graphql", [JSON, ("origin", f"http://{HERE}"), ("Origin", "http://attacker.example")], {}),
        (403, "POST", "/report_asset_materialization/a", [("origin", "http://attacker.example")], {}),
        # An image, a script, a frame of a foreign page; a form that navigates.
        (403, "GET", "/runs", [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")], {}),
        (
            403,
            "GET",
            "/",
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            {},
        ),
        (
            403,
            "POST",
            "/x",
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
            {},
        ),
        (403, "OPTIONS", "/graphql", [("origin", "http://attacker.example")], {}),
    ],
)
def test_what_a_foreign_page_sends_is_refused(
    status: int, method: str, path: str, headers: list[tuple[str, str]], more: dict[str, Any]
) -> None:
    found, _, seen = ask(method, path, *headers, **more)
    assert (found, seen) == (status, None)


@pytest.mark.parametrize(
    ("method", "path", "headers", "host"),
    [
        ("GET", "/", [("sec-fetch-site", "none")], HERE),
        ("GET", "/", [], "localhost:8080"),  # a tunnel
        ("GET", "/", [], "[::1]:3000"),
        ("POST", "/graphql", [JSON, ("origin", f"http://{HERE}"), ("sec-fetch-site", "same-origin")], HERE),
        ("POST", "/graphql", [JSON], HERE),  # a program of this machine
        # A link in a mail.
        (
            "GET",
            "/runs/1",
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
            HERE,
        ),
    ],
)
def test_what_the_ui_sends_is_let_through(method: str, path: str, headers: list[tuple[str, str]], host: str) -> None:
    status, answered, seen = ask(method, path, *headers, host=host)
    assert status == 200 and seen is not None
    assert answered["x-frame-options"] == "DENY" and "frame-ancestors 'none'" in answered["content-security-policy"]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (101, [("origin", f"http://{HERE}")]),
        (101, []),
        (403, [("origin", "http://attacker.example")]),
        (403, [("origin", "null")]),
    ],
)
def test_a_websocket_opens_to_our_own_page_alone(status: int, headers: list[tuple[str, str]]) -> None:
    assert ask("", "/graphql", *headers, kind="websocket")[0] == status


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ({"client": "192.0.2.7"}, []),
        ({"client": "192.0.2.7", "host": "desk.example"}, []),
        ({"host": "desk.example"}, []),
        ({}, [("x-forwarded-for", "192.0.2.7")]),
        ({"rules": replace(RULES, always_token=True)}, []),
    ],
)
def test_from_elsewhere_and_for_real_money_a_token_is_needed(
    more: dict[str, Any], headers: list[tuple[str, str]]
) -> None:
    assert ask("POST", "/graphql", JSON, *headers, **more)[0] == 401
    assert ask("", "/graphql", *headers, **more, kind="websocket")[0] == 403
    for wrong in ("Bearer wrong", "Bearer", f"Basic {TOKEN}", "Bearer \xff"):
        assert ask("POST", "/graphql", JSON, *headers, ("authorization", wrong), **more)[0] == 401
    bearer = ("authorization", f"Bearer {TOKEN}")
    assert ask("POST", "/graphql", JSON, *headers, bearer, **more)[0] == 200
    # The token stops nobody who rides on a browser that has it.
    assert ask("POST", "/graphql", JSON, *headers, bearer, ("origin", "http://attacker.example"), **more)[0] == 403


def test_a_person_logs_in_once_and_has_a_cookie_that_is_not_the_token() -> None:
    elsewhere = {"client": "192.0.2.7", "host": "desk.example"}
    status, _, _ = ask("GET", "/", ("sec-fetch-dest", "document"), **elsewhere)
    assert status == 401
    ours = ("origin", "https://desk.example")
    assert ask("POST", LOGIN, ours, body=b"token=wrong", **elsewhere)[0] == 401
    assert ask("POST", LOGIN, body=b"token=" + TOKEN.encode(), **elsewhere)[0] == 401, "no page without an Origin"
    status, answered, _ = ask("POST", LOGIN, ours, body=b"token=" + TOKEN.encode(), **elsewhere)
    assert status == 303
    cookie = answered["set-cookie"]
    assert TOKEN not in cookie and {"HttpOnly", "SameSite=Strict", "Secure"} <= set(cookie.split("; "))
    value = ("cookie", cookie.partition(";")[0])
    assert ask("POST", "/graphql", JSON, ours, value, **elsewhere)[0] == 200
    assert ask("", "/graphql", ours, value, kind="websocket", **elsewhere)[0] == 101
    assert ask("POST", "/graphql", JSON, ours, ("cookie", f"{COOKIE}=x; a"), **elsewhere)[0] == 401


def actor(*headers: tuple[str, str], **more: Any) -> str:
    _, _, seen = ask("POST", "/graphql", JSON, *headers, **more)
    assert seen is not None
    found = [value.decode("latin-1") for name, value in seen["headers"] if name == ACTOR_HEADER.encode()]
    assert len(found) == 1
    return found[0]


def test_who_asks_is_the_guards_word() -> None:
    assert actor((ACTOR_HEADER, "the owner")) == "somebody (UI, from 127.0.0.1)"
    proxied = [("x-user", "al\nice"), ("x-forwarded-for", "1"), ("authorization", f"Bearer {TOKEN}")]
    assert actor(*proxied) == "somebody (UI, from 127.0.0.1)", "no proxy is believed unless a setting says so"
    assert actor(*proxied, rules=replace(RULES, user_header="X-User")) == "al?ice (UI, from 127.0.0.1)"


def test_the_owner_of_a_socket_of_this_machine_is_known() -> None:
    import pwd

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert socket_owner(client.getsockname()[1], port) == pwd.getpwuid(os.getuid()).pw_name


def test_the_token_is_made_once_and_is_of_the_owner_alone() -> None:
    settings = load_settings()
    token = ui_token(settings)
    assert len(token) >= 40 and ui_token(settings) == token
    assert (settings.home / "ui_token").stat().st_mode & 0o777 == 0o600
    assert token not in repr(rules_of(settings))
    assert ui_token(load_settings(ui_token="x" * 30)) == "x" * 30


def test_real_money_always_wants_the_token() -> None:
    assert not rules_of(load_settings()).always_token
    assert rules_of(load_settings(venue="mainnet", allow_mainnet=True)).always_token


@pytest.fixture
def _stock() -> Iterator[None]:
    import dagster_webserver.cli as server

    stock = server.create_app_from_workspace_process_context
    yield
    server.create_app_from_workspace_process_context = stock


@pytest.mark.usefixtures("_stock")
def test_a_web_server_that_cannot_be_guarded_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster_webserver.cli as server

    from trading_assets.core.errors import ConfigurationError
    from trading_assets.defs.instance.web_guard import guard_this_webserver

    guard_this_webserver()
    guarded = server.create_app_from_workspace_process_context
    guard_this_webserver()
    assert server.create_app_from_workspace_process_context is guarded, "twice is once"
    monkeypatch.delattr(server, "create_app_from_workspace_process_context")
    with pytest.raises(ConfigurationError, match="cannot be guarded"):
        guard_this_webserver()
