"""The exchange starts by itself, once, survives being killed, and stops when nobody asks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError
from trading_assets.core.settings import Settings
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.files import SERVER_INFO, SERVER_LOG
from trading_assets.simulator.launcher import ensure_running, health
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.polling import until
from trading_assets_tests.simulator.clients import post, pybit_session
from trading_assets_tests.simulator.fake_market import T0, FakeMarket

MANUAL = ClockSpec(ClockMode.MANUAL, T0)
SCRIPT = """
from pathlib import Path
from trading_assets.core.settings import Settings
from trading_assets.simulator.launcher import ensure_running
print(ensure_running(Settings(_env_file=None, home=Path({home!r}), simulator_symbols=5)))
"""


def settings_of(home: Path, **more: Any) -> Settings:
    values: dict[str, Any] = {"_env_file": None, "home": home, "simulator_symbols": 5} | more
    return Settings(**values)


def info_of(settings: Settings) -> dict[str, object]:
    return json.loads((settings.simulator_home / SERVER_INFO).read_text())


def gone(pid: int, within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose exchange, if one was started, is stopped afterwards."""
    yield tmp_path
    path = tmp_path / "exchange" / SERVER_INFO
    if path.is_file():
        info = json.loads(path.read_text())
        if (found := health(info["url"])) and found["pid"] == info["pid"] and info["pid"] != os.getpid():
            os.kill(info["pid"], signal.SIGKILL)


@pytest.mark.slow
def test_two_processes_at_once_start_exactly_one(home: Path) -> None:
    script = SCRIPT.format(home=str(home))
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    urls = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(urls) == 1 and urls.pop().startswith("http://127.0.0.1:")
    serving = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "trading_assets.simulator" in (process.info["cmdline"] or [])
        and str(home / "exchange") in process.info["cmdline"]
    ]
    assert serving == [info_of(settings_of(home))["pid"]]


@pytest.mark.slow
def test_the_account_survives_sigkill_and_the_next_start_resumes_it(home: Path) -> None:
    settings = settings_of(home)
    url = ensure_running(settings, clock=MANUAL)
    session = pybit_session(url)
    placed = session.place_order(
        category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.01", orderLinkId="before"
    )["result"]
    post(url, "/admin/clock", {"advance_ms": 60_000})
    pid = int(str(info_of(settings)["pid"]))
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)

    again = ensure_running(settings)
    assert info_of(settings)["pid"] != pid
    found = health(again)
    assert found is not None and found["clock"] == "manual" and found["now_ms"] == T0 + 60_000
    session = pybit_session(again)
    (row,) = session.get_open_orders(category="linear", symbol="BTCUSDT", orderLinkId="before")["result"]["list"]
    assert row["orderId"] == placed["orderId"] and row["orderStatus"] == "Filled"

    assert ensure_running(settings) == again
    assert info_of(settings)["pid"] == health(again)["pid"], "nothing was started"  # type: ignore[index]

    with pytest.raises(ConfigurationError, match="seed 8"):
        ensure_running(settings_of(home, simulator_seed=8))
    with pytest.raises(ConfigurationError, match="clock"):
        ensure_running(settings, clock=ClockSpec())
    with (
        pytest.raises(ConfigurationError, match="another embedded exchange serves"),
        serve_in_thread(ServeConfig(home=settings.simulator_home, symbols=5)),
    ):
        pass

    os.kill(int(str(info_of(settings)["pid"])), signal.SIGTERM)
    until(lambda: not (settings.simulator_home / SERVER_INFO).exists())


@pytest.mark.slow
def test_an_idle_exchange_stops_by_itself(home: Path) -> None:
    settings = settings_of(home, simulator_idle_stop_s=2.0)
    url = ensure_running(settings)
    pid = int(str(info_of(settings)["pid"]))
    for _ in range(6):
        time.sleep(0.5)
        assert health(url) is not None
    assert gone(pid)
    assert health(url) is None
    assert not (settings.simulator_home / SERVER_INFO).exists()


@pytest.mark.slow
def test_a_start_that_fails_shows_the_end_of_the_log(home: Path) -> None:
    settings = settings_of(home)
    settings.simulator_home.mkdir(parents=True)
    (settings.simulator_home / "account.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(ExchangeUnavailableError) as caught:
        ensure_running(settings)
    assert "cannot be" in str(caught.value) and SERVER_LOG in str(caught.value)


@pytest.mark.slow
def test_a_stale_server_file_does_not_mislead(home: Path) -> None:
    settings = settings_of(home)
    settings.simulator_home.mkdir(parents=True)
    with serve_in_thread(ServeConfig(symbols=5), FakeMarket()) as other:
        stale = {"url": other.url, "pid": os.getpid(), "home": str(settings.simulator_home)}
        (settings.simulator_home / SERVER_INFO).write_text(json.dumps(stale))
        url = ensure_running(settings)
        assert url != other.url
    (settings.simulator_home / "note").write_text("the started one must still answer")
    assert health(url) is not None


def test_a_given_url_is_used_when_it_answers(tmp_path: Path) -> None:
    with serve_in_thread(ServeConfig(deposit=Decimal(5)), FakeMarket()) as running:
        settings = settings_of(tmp_path, simulator_url=running.url + "/")
        assert ensure_running(settings) == running.url
    with pytest.raises(ExchangeUnavailableError, match="exchange serve"):
        ensure_running(settings)
    assert list(tmp_path.iterdir()) == []


def test_an_exchange_on_another_machine_is_used_and_not_commanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trading_assets.simulator.server.LOOPBACK", frozenset())
    with serve_in_thread(ServeConfig(home=tmp_path / "far"), FakeMarket()) as running:
        assert ensure_running(settings_of(tmp_path, simulator_url=running.url)) == running.url
        told = health(running.url)
        assert told is not None and told["clock"] == "real" and told["seed"] == 7
        assert not {"home", "account"} & told.keys()
        for path in ("/admin/clock", "/admin/stop", "/admin/faults", "/admin/contracts", "/admin/positions"):
            assert post(running.url, path, {}).status_code == 403
        assert pybit_session(running.url).get_wallet_balance(accountType="UNIFIED")["retCode"] == 0


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1", "http://127.0.0.1:1"])
def test_health_of_nothing_is_none(url: str) -> None:
    assert health(url) is None


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serve_in_thread(ServeConfig(), FakeMarket()) as running:
        assert health(running.url) is not None
