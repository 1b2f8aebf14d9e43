"""Every key of Bybit's own documented answers is in ours, with the same JSON type."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import answer, signed
from trading_assets_tests.simulator.fake_market import T0, FakeMarket

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = Path(os.environ.get("TRADING_ASSETS_SHARED", REPOSITORY.parent / "shared")) / "reference" / "bybit-examples"
LIMIT = (
    '{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Limit","qty":"0.01","price":"97000",'
    '"orderLinkId":"%s"}'
)
ORDER = '{"category":"linear","symbol":"BTCUSDT","side":"%s","orderType":"Market","qty":"0.01"%s}'

CASES = {
    "market_time": ("GET", "/v5/market/time", ""),
    "market_kline": ("GET", "/v5/market/kline", "category=linear&symbol=BTCUSDT&interval=60"),
    "market_instrument": ("GET", "/v5/market/instruments-info", "category=linear&symbol=BTCUSDT"),
    "market_tickers": ("GET", "/v5/market/tickers", "category=linear&symbol=BTCUSDT"),
    "market_orderbook": ("GET", "/v5/market/orderbook", "category=linear&symbol=BTCUSDT"),
    "market_history-fund-rate": ("GET", "/v5/market/funding/history", "category=linear&symbol=BTCUSDT"),
    "market_order-price-limit": ("GET", "/v5/market/price-limit", "category=linear&symbol=BTCUSDT"),
    "market_recent-trade": ("GET", "/v5/market/recent-trade", "category=linear&symbol=BTCUSDT"),
    "account_instrument": ("GET", "/v5/account/instruments-info", "category=linear&symbol=BTCUSDT"),
    "account_account-info": ("GET", "/v5/account/info", ""),
    "account_fee-rate": ("GET", "/v5/account/fee-rate", "category=linear&symbol=BTCUSDT"),
    "account_wallet-balance": ("GET", "/v5/account/wallet-balance", "accountType=UNIFIED"),
    "user_apikey-info": ("GET", "/v5/user/query-api", ""),
    "position_position": ("GET", "/v5/position/list", "category=linear&symbol=BTCUSDT"),
    "position_close-pnl": ("GET", "/v5/position/closed-pnl", "category=linear"),
    "position_leverage": (
        "POST",
        "/v5/position/set-leverage",
        '{"category":"linear","symbol":"BTCUSDT","buyLeverage":"7","sellLeverage":"7"}',
    ),
    "position_trading-stop": (
        "POST",
        "/v5/position/trading-stop",
        '{"category":"linear","symbol":"BTCUSDT","tpslMode":"Full","positionIdx":0,"stopLoss":"90000"}',
    ),
    "order_create-order": ("POST", "/v5/order/create", ORDER % ("Buy", "")),
    "order_open-order": ("GET", "/v5/order/realtime", "category=linear&symbol=BTCUSDT&openOnly=1"),
    "order_order-list": ("GET", "/v5/order/history", "category=linear"),
    "order_execution": ("GET", "/v5/execution/list", "category=linear"),
    "order_pre-check-order": ("POST", "/v5/order/pre-check", ORDER % ("Buy", "")),
    "order_amend-order": (
        "POST",
        "/v5/order/amend",
        '{"category":"linear","symbol":"BTCUSDT","orderLinkId":"amended","price":"98000"}',
    ),
    "order_cancel-order": (
        "POST",
        "/v5/order/cancel",
        '{"category":"linear","symbol":"BTCUSDT","orderLinkId":"cancelled"}',
    ),
    "account_transaction-log": ("GET", "/v5/account/transaction-log", "accountType=UNIFIED&category=linear"),
    "position_position-mode": (
        "POST",
        "/v5/position/switch-mode",
        '{"category":"linear","symbol":"ALTUSDT","mode":3}',
    ),
    "order_cancel-all": ("POST", "/v5/order/cancel-all", '{"category":"linear","settleCoin":"USDT"}'),
}
WAITING = {"order_amend-order": "amended", "order_cancel-order": "cancelled"}
"""Link of the order in the book that the request is about."""

UNSERVED = {
    "market_instrument_2": "an auction before the launch: contracts here trade from their launch on",
    "account_instrument_2": "spot",
    "market_instrument_3": "options",
    "market_instrument_4": "spot",
    "market_tickers_2": "options",
    "market_tickers_3": "spot",
}
"""Answers of Bybit about what the embedded exchange has no contracts for."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    market = FakeMarket({"BTCUSDT": {T0: (100_000.0,) * 4}})
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), market) as running:
        orders = (ORDER % ("Buy", ""), ORDER % ("Sell", ""), ORDER % ("Buy", ',"takeProfit":"110000"'))
        for body in orders:
            assert answer(signed(running.url, "POST", "/v5/order/create", body))["retCode"] == 0
        yield running


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return {int: "number", float: "number", str: "string", list: "list", dict: "object", type(None): "null"}[
        type(value)
    ]


def differences(theirs: Any, ours: Any, path: str = "$") -> list[str]:
    if kind(theirs) != kind(ours):
        return [f"{path}: {kind(theirs)} there, {kind(ours)} here"]
    if isinstance(theirs, dict):
        if path.endswith(("cumFeeDetail", "permissions")):
            return []
        found = [f"{path}.{key}: missing" for key in theirs.keys() - ours.keys()]
        for key in theirs.keys() & ours.keys():
            found += differences(theirs[key], ours[key], f"{path}.{key}")
        return found
    if isinstance(theirs, list) and theirs:
        return differences(theirs[0], ours[0], f"{path}[0]") if ours else [f"{path}: empty here"]
    return []


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_documented_key_is_there_with_its_type(exchange: RunningExchange, name: str) -> None:
    file = EXAMPLES / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"Bybit's examples are not at {EXAMPLES}")
    method, path, payload = CASES[name]
    if name in WAITING:
        placed = answer(signed(exchange.url, "POST", "/v5/order/create", LIMIT % WAITING[name]))
        assert placed["retCode"] == 0
    ours = answer(signed(exchange.url, method, path, payload))
    assert ours["retCode"] == 0, ours["retMsg"]
    ignored = ("$.result.ips",)
    found = [item for item in differences(json.loads(file.read_text()), ours) if not item.startswith(ignored)]
    assert found == []
