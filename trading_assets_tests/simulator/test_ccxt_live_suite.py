"""ccxt's own live test-suite, as it ships in the wheel, on the embedded exchange: REST, and ccxt.pro's streams.

The suite refuses to run from site-packages and reads its settings three folders above itself, so it is laid out anew:
its own files are copied, the rest of ccxt is linked.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import pybit_session

SYMBOL = "BTC/USDT:USDT"
NOT_SERVED = {"spot": False, "option": False, "margin": False, "fetchCurrencies": False}
"""What the exchange does not have, said to ccxt: other categories, and coins with their networks."""

SKIPPED: dict[str, Any] = {
    "fetchLeverageTiers": "the suite gives a list where bybit's method takes one symbol: TypeError inside ccxt",
    "fetchBorrowInterest": "asks for the spot margin account that only classic accounts have",
    "fetchPositions": {"marginMode": "a unified account's rows do not tell it, so that ccxt leaves it empty"},
    "watchPositions": {"marginMode": "as in fetchPositions"},
}
"""Method, or property of what it returns -> why it is not tested."""

PUBLIC = {
    "fetchTicker", "fetchTickers", "fetchOHLCV", "fetchTrades", "fetchOrderBook",
    "fetchFundingRateHistory", "loadMarkets",
}  # fmt: skip
PRIVATE = {
    "fetchBalance", "fetchPositions", "fetchOpenOrders", "fetchClosedOrders", "fetchMyTrades", "fetchLedger",
     "fetchTradingFees", "fetchDeposits", "fetchWithdrawals", "fetchTransfers",
}  # fmt: skip
WATCHED = {
    "watchTicker", "watchTickers", "watchBidsAsks", "watchOHLCV", "watchOHLCVForSymbols", "watchOrderBook",
    "watchOrderBookForSymbols", "watchTrades", "watchTradesForSymbols",
    "watchBalance", "watchMyTrades", "watchOrders", "watchPositions",
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the suite's programs, in a ccxt that is not in site-packages."""
    found = importlib.util.find_spec("ccxt")
    assert found is not None and found.origin is not None
    package = Path(found.origin).parent
    if not (package / "test" / "tests_init.py").exists():
        pytest.skip("this ccxt does not ship its tests")
    laid_out = tmp_path_factory.mktemp("suite") / "python" / "ccxt"
    tests = laid_out / "test"
    tests.mkdir(parents=True)
    for child in package.iterdir():
        if child.name != "test":
            (laid_out / child.name).symlink_to(child)
    for child in (package / "test").iterdir():
        if child.suffix == ".py":
            shutil.copy(child, tests)
        else:
            (tests / child.name).symlink_to(child)
    return tests


def settings(exchange: RunningExchange) -> dict[str, Any]:
    import ccxt
    import ccxt.pro

    stream = exchange.url.replace("http", "ws", 1)
    addresses = {name: exchange.url for name, url in ccxt.bybit().urls["api"].items() if isinstance(url, str)}
    public, private = (ccxt.pro.bybit().urls["api"]["ws"][side] for side in ("public", "private"))
    addresses["ws"] = {
        "public": dict.fromkeys(public, f"{stream}/v5/public/linear"),
        "private": {
            name: dict.fromkeys(url, f"{stream}/v5/private") if isinstance(url, dict) else f"{stream}/v5/private"
            for name, url in private.items()
        },
    }
    return {
        "apiKey": exchange.key,
        "secret": exchange.secret,
        "urls": {"api": addresses},
        "has": NOT_SERVED,
        "options": {"fetchMarkets": {"types": ["linear"]}, "defaultType": "swap"},
    }


def run(suite: Path, exchange: RunningExchange, *options: str) -> str:
    """What the suite prints."""
    top = suite.parents[2]
    (top / "keys.json").write_text("{}")
    (top / "keys.local.json").write_text(json.dumps({"bybit": settings(exchange)}))
    (top / "skip-tests.json").write_text(json.dumps({"bybit": {"skipMethods": SKIPPED}}))
    environment = {**os.environ, "PYTHONPATH": str(suite.parents[1]), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, str(suite / "tests_init.py"), *options, "--private", "--info", "bybit", SYMBOL]
    done = subprocess.run(command, env=environment, cwd=suite, timeout=240, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def ended_well(output: str) -> set[str]:
    """The methods whose tests ended well; none may have failed or be in doubt."""
    failures = [line for line in output.splitlines() if line.startswith(("[TEST_FAILURE]", "[TEST_WARNING]"))]
    assert failures == [], output[-6000:]
    return set(re.findall(r"TESTING DONE +bybit (\w+)", output))


@pytest.mark.slow
def test_rest(suite: Path) -> None:
    with serve_in_thread(ServeConfig(symbols=5)) as exchange:
        session = pybit_session(exchange.url)
        session.place_order(category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.05")
        session.place_order(
            category="linear", symbol="BTCUSDT", side="Sell", orderType="Market", qty="0.02", reduceOnly=True
        )
        session.place_order(
            category="linear", symbol="BTCUSDT", side="Buy", orderType="Limit", qty="0.01", price="40000"
        )
        done = ended_well(run(suite, exchange, "--sync"))
    assert done >= PUBLIC | PRIVATE, sorted((PUBLIC | PRIVATE) - done)


@pytest.mark.slow
def test_streams(suite: Path) -> None:
    with serve_in_thread(ServeConfig(symbols=5)) as exchange, trading(exchange):
        done = ended_well(run(suite, exchange, "--ws"))
    assert done >= WATCHED, sorted(WATCHED - done)


@contextmanager
def trading(exchange: RunningExchange) -> Iterator[None]:
    """Somebody buys and sells meanwhile, so that the private streams have something to tell; a position stays open."""
    ended = threading.Event()

    def trade() -> None:
        session = pybit_session(exchange.url)
        side, other = "Buy", "Sell"
        session.place_order(category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.02")
        while not ended.wait(0.3):
            session.place_order(category="linear", symbol="BTCUSDT", side=side, orderType="Market", qty="0.01")
            side, other = other, side

    thread = threading.Thread(target=trade, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
