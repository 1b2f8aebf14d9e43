"""A web page of somebody else's against the embedded exchange, and what its process inherits."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from trading_assets.core.settings import load_settings
from trading_assets.simulator import launcher
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig


@pytest.fixture(scope="module")
def at() -> Iterator[str]:
    with serve_in_thread(ServeConfig(symbols=2, names=("exchange.lan",))) as exchange:
        yield urlsplit(exchange.url).netloc


def ask(at: str, method: str, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(at, timeout=60)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/admin/health"), ("POST", "/admin/positions"), ("POST", "/admin/faults"), ("GET", "/v5/market/time")],
)
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (421, {"Host": "attacker.example"}),
        (421, {"Host": "127.0.0.1.attacker.example:80"}),
        (403, {"Origin": "http://attacker.example"}),
        (403, {"Origin": "null"}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_a_foreign_page_is_refused(at: str, method: str, path: str, status: int, headers: dict[str, str]) -> None:
    assert ask(at, method, path, headers) == status


def test_a_foreign_page_does_not_stop_the_exchange_and_programs_are_served(at: str) -> None:
    assert ask(at, "POST", "/admin/stop", {"Origin": "http://attacker.example"}) == 403
    for headers in ({}, {"Host": "localhost"}, {"Host": "exchange.lan:1"}, {"Host": "192.0.2.1"}):
        assert ask(at, "GET", "/admin/health", headers) == 200
    assert ask(at, "GET", "/v5/market/time", {"Host": at, "Origin": f"http://{at}"}) == 200


@pytest.mark.parametrize("path", ["/v5/public/linear", "/v5/private", "/v5/trade"])
def test_a_websocket_opens_to_no_foreign_page(at: str, path: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{at}{path}", origin="http://attacker.example", proxy=None)  # type: ignore[arg-type]
    with connect(f"ws://{at}{path}", origin=f"http://{at}", proxy=None):  # type: ignore[arg-type]
        pass  # as pybit does


@pytest.mark.slow
def test_the_process_inherits_no_secret_and_its_files_are_private(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "new" / "home"
    secrets = {
        "BYBIT_API_KEY": "hidden-1",
        "BYBIT_API_SECRET": "hidden-2",
        "TRADING_ASSETS_DATABASE_URL": "postgresql://u:hidden-3@127.0.0.1/x",
        "DAGSTER_POSTGRES_URL": "postgresql://u:hidden-4@127.0.0.1/x",
        "TRADING_ASSETS_BROKER_URL": "amqp://u:hidden-5@127.0.0.1//",
        "TRADING_ASSETS_NOTIFY_URLS": '["tgram://hidden-6/1"]',
        "AWS_SECRET_ACCESS_KEY": "hidden-7",
        "PGPASSWORD": "hidden-8",
        "SOME_OTHER_TOKEN": "hidden-9",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    url = launcher.ensure_running(load_settings(home=home, simulator_symbols=2))
    try:
        told = launcher.health(url)
        assert told is not None
        process = psutil.Process(told["pid"])
        assert "hidden" not in str(process.environ()) + str(process.cmdline())
        for path in home.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path
        assert home.stat().st_mode & 0o077 == 0
    finally:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.request("POST", "/admin/stop")
        connection.getresponse().read()
