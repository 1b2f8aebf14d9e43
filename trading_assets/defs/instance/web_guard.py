"""The guard before Dagster's web server. docs/security.md tells what it is for.

Dagster's own server executes what any page in the user's browser asks of it. Every web server that opens a storage of
this project gets the guard, whatever started it.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.defs.instance.concurrency_groups import ACTOR_HEADER
from trading_assets.service import guard
from trading_assets.service.guard import Application, Refusal, Rules, Scope, origins_of, ui_token

COOKIE = "trading_assets_ui"
_WEBSERVER, _FACTORY = "dagster_webserver.cli", "create_app_from_workspace_process_context"


class Guard(guard.Guard):
    """The guard that knows Dagster's GraphQL."""

    cookie, purpose = COOKIE, b"cookie of the UI"
    settings_of_address = "TRADING_ASSETS_UI_URL or TRADING_ASSETS_UI_ORIGINS"
    how_to_log_in = "on the installation's command line: trading-assets web --show-token"
    actor_header = ACTOR_HEADER

    def judge(self, scope: Scope, headers: dict[str, str], path: str) -> None:
        """See `guard.Guard`."""
        if scope["type"] == "http" and path == "/graphql":
            _judge_graphql(scope, headers)


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
    return Rules(
        token=lambda: ui_token(settings),
        origins=origins_of((settings.ui_url, *settings.ui_origins), "the UI"),
        always_token=settings.venue.adapter.is_real_money,
        user_header=settings.ui_user_header,
        path_prefix=path_prefix,
    )


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
    """Raise a Refusal for what a page can send without asking the browser's leave."""
    if scope["method"] != "POST":
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is asked by POST")
    if headers.get("content-type") != "application/json":
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "GraphQL is asked with Content-Type: application/json")
    if any(name in ("query", "variables") for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a query is sent in the body, not in the URL")
