"""Rows as Bybit sends them, complete; a test changes what it is about. And the examples of its documentation."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

T0 = 1_767_225_600_000
Json = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = Path(os.environ.get("TRADING_ASSETS_SHARED", REPOSITORY.parent / "shared")) / "reference" / "bybit-examples"


def example(name: str) -> Json:
    file = EXAMPLES / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"Bybit's examples are not at {EXAMPLES}")
    return json.loads(file.read_text())["result"]


def with_blanks(row: Json) -> Json:
    """The row with every number that is text replaced by the empty text."""

    def blank(value: object) -> object:
        if isinstance(value, dict):
            return {key: blank(inner) for key, inner in value.items()}
        try:
            Decimal(value)  # type: ignore[arg-type]
        except (ArithmeticError, TypeError, ValueError):
            return value
        return "" if isinstance(value, str) else value

    return {key: blank(value) for key, value in row.items()}


def order(symbol: str = "BTCUSDT", order_id: str = "o1", **changes: object) -> Json:
    row = {
        "symbol": symbol,
        "orderId": order_id,
        "orderLinkId": "",
        "side": "Buy",
        "orderStatus": "New",
        "stopOrderType": "UNKNOWN",
        "createType": "CreateByUser",
        "cancelType": "UNKNOWN",
        "rejectReason": "EC_NoError",
        "qty": "1",
        "cumExecQty": "0",
        "cumFeeDetail": {},
        "avgPrice": "",
        "triggerPrice": "",
        "stopLoss": "",
        "takeProfit": "",
        "reduceOnly": False,
        "createdTime": str(T0),
        "updatedTime": str(T0),
    }
    return row | changes


def position(symbol: str = "BTCUSDT", **changes: object) -> Json:
    row = {
        "symbol": symbol,
        "positionIdx": 0,
        "side": "Buy",
        "size": "1",
        "avgPrice": "100",
        "markPrice": "101",
        "leverage": "10",
        "unrealisedPnl": "1",
        "curRealisedPnl": "-0.05",
        "liqPrice": "",
        "bustPrice": "",
        "stopLoss": "",
        "takeProfit": "0.00",
        "createdTime": str(T0),
        "updatedTime": str(T0),
    }
    return row | changes


def flat_position(symbol: str = "BTCUSDT", **changes: object) -> Json:
    """As it is sent where nothing is open: every figure is empty."""
    row = position(symbol)
    return row | {key: "" for key, value in row.items() if isinstance(value, str) and key != "symbol"} | changes


def execution(symbol: str = "BTCUSDT", exec_id: str = "e1", **changes: object) -> Json:
    row = {
        "symbol": symbol,
        "execId": exec_id,
        "orderId": "o1",
        "orderLinkId": "",
        "side": "Buy",
        "execType": "Trade",
        "execPrice": "100",
        "execQty": "1",
        "execValue": "100",
        "execFee": "0.055",
        "feeRate": "0.00055",
        "isMaker": False,
        "closedSize": "",
        "stopOrderType": "UNKNOWN",
        "createType": "CreateByUser",
        "execTime": str(T0),
    }
    return row | changes


def closed_pnl(symbol: str = "BTCUSDT", order_id: str = "o1", **changes: object) -> Json:
    row = {
        "symbol": symbol,
        "orderId": order_id,
        "side": "Sell",
        "execType": "Trade",
        "qty": "1",
        "closedSize": "1",
        "avgEntryPrice": "100",
        "avgExitPrice": "101",
        "closedPnl": "0.9",
        "openFee": "0.05",
        "closeFee": "0.05",
        "createdTime": str(T0),
        "updatedTime": str(T0),
    }
    return row | changes


def transaction(symbol: str = "BTCUSDT", transaction_id: str = "t1", **changes: object) -> Json:
    row = {
        "id": transaction_id,
        "symbol": symbol,
        "type": "TRADE",
        "currency": "USDT",
        "change": "-0.055",
        "cashBalance": "9999.945",
        "fee": "0.055",
        "funding": "",
        "orderId": "o1",
        "transactionTime": str(T0),
    }
    return row | changes


def ticker(symbol: str = "BTCUSDT", **changes: object) -> Json:
    row = {
        "symbol": symbol,
        "lastPrice": "100",
        "markPrice": "100",
        "bid1Price": "99.9",
        "ask1Price": "100.1",
        "turnover24h": "5000000",
        "volume24h": "50000",
        "price24hPcnt": "0.01",
        "fundingRate": "0.0001",
        "nextFundingTime": str(T0),
    }
    return row | changes


def instrument(symbol: str = "BTCUSDT", **changes: object) -> Json:
    row = {
        "symbol": symbol,
        "baseCoin": "BTC",
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "symbolType": "",
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "fundingInterval": 480,
        "priceFilter": {"tickSize": "0.10"},
        "lotSizeFilter": {
            "qtyStep": "0.001",
            "minOrderQty": "0.001",
            "maxMktOrderQty": "500.000",
            "minNotionalValue": "5",
        },
        "leverageFilter": {"maxLeverage": "100.00", "leverageStep": "0.01"},
    }
    return row | changes


def wallet(**changes: object) -> Json:
    row = {
        "accountType": "UNIFIED",
        "totalEquity": "10000",
        "totalWalletBalance": "9990",
        "totalMarginBalance": "10000",
        "totalAvailableBalance": "9000",
        "totalInitialMargin": "1000",
        "totalMaintenanceMargin": "50",
        "totalPerpUPL": "10",
        "coin": [],
    }
    return row | changes
