"""Rows of the ledger as items of the mirror: names, types and time to live as other programs expect them. Pure.

Numbers are `Decimal`, as boto3 demands; a missing value is no attribute. `ttl` is the second, UTC epoch, from which a
row is past; DynamoDB deletes it within days of that, so a reader asks for `ttl` itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pandas as pd

from trading_assets.backtesting.selection import best_first
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, as_of_ms, iso
from trading_assets.ledger.signals import ACTIVE, EXECUTED, EXECUTING

Item = dict[str, Any]

SCAN_LIVES_MS = 24 * HOUR_MS
BACKTEST_LIVES_MS = 7 * DAY_MS
"""After the end of their hour."""

VERSION = "version"
"""Attribute of a position: a writer with an older one does not replace it."""

_FILLED = ("order_id", "executed_at_ms", "executed_price")
_POSITION_NUMBERS = (
    *("confidence", "entry_price", "stop_loss", "take_profit", "position_size", "leverage"),
    *("rsi", "bb_position", "funding_rate", "risk_reward_ratio"),
)
_POSITION_TEXTS = ("symbol", "strategy", "timeframe", "position_type", "btc_trend", "signal_id")
_BACKTEST_NUMBERS = (
    *("total_trades", "win_rate", "profit_factor", "total_return", "max_drawdown", "sharpe_ratio"),
    *("total_pnl", "confidence_avg"),
)
_SUMMARY = "summary"


def number(value: object) -> Decimal | None:
    """A number as DynamoDB takes it: at most 38 digits, by the shortest text that reads back the same.

    None, NaN and what is not finite have no such form: None.
    """
    if value is None or value is pd.NA:
        return None
    as_float = float(value)  # type: ignore[arg-type]
    if not math.isfinite(as_float):
        return None
    if as_float == int(as_float) and abs(as_float) < 1e15:
        return Decimal(int(as_float))
    return Decimal(repr(as_float))


def position_item(signal: Mapping[str, Any]) -> Item:
    """An entry signal as an item of the table of positions.

    `status` is `executing` from the reservation of its order on, also once it is filled: then it has `order_id`,
    `executed_at` and `executed_price`. A signal that never became an order is rejected, expired or failed.

    Args:
        signal: a row of `entry_signals`.
    """
    status = EXECUTING if signal["status"] in (EXECUTING, EXECUTED) else signal["status"]
    item: Item = {
        "signal_timestamp": Decimal(int(signal["signal_timestamp_ms"]) // 1000),
        "ttl": _seconds(signal["ttl_ms"]),
        "status": status,
        "created_at": iso(int(signal["created_at_ms"])),
        **{name: signal[name] for name in _POSITION_TEXTS if isinstance(signal.get(name), str) and signal[name]},
        **{name: number(signal.get(name)) for name in _POSITION_NUMBERS},
    }
    if signal["status"] == EXECUTED:
        order_id, executed_at, price = (signal.get(name) for name in _FILLED)
        item |= {"order_id": order_id or None, "executed_price": number(price)}
        item["executed_at"] = None if executed_at is None or number(executed_at) is None else iso(int(executed_at))
    return _without_missing(item)


def position_key(signal: Mapping[str, Any]) -> tuple[str, int]:
    """Symbol and second of a signal's item."""
    return str(signal["symbol"]), int(signal["signal_timestamp_ms"]) // 1000


def shown_position(signals: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of signals that share symbol and second, the one that the table shows: what was traded, else the newest."""
    rank = {EXECUTED: 2, EXECUTING: 2, ACTIVE: 1}
    return max(signals, key=lambda row: (rank.get(row["status"], 0), int(row["created_at_ms"]), str(row["signal_id"])))


def scan_items(rows: pd.DataFrame) -> list[Item]:
    """Rows of `market_scan` as items of the table of scans."""
    return [
        _without_missing(
            {
                "scan_id": row["scan_id"],
                "symbol": row["symbol"],
                "price": number(row["price"]),
                "volume_24h": number(row["volume_24h"]),
                "price_change_24h": number(row["price_change_24h"]),
                "volatility_24h": number(row["volatility_24h"]),
                "rank": number(row["rank"]),
                "timestamp": iso(int(row["timestamp_ms"])),
                "ttl": _seconds(as_of_ms(int(row["hour_ms"])) + SCAN_LIVES_MS),
            }
        )
        for row in rows.to_dict("records")
    ]


def backtest_items(rows: pd.DataFrame) -> list[Item]:
    """Rows of `backtest_results` as items of the table of backtests; those that failed are left out."""
    return [
        _without_missing(
            {
                "symbol": row["symbol"],
                "backtest_id": f"{row['scan_id']}-{row['timeframe']}-{row['strategy']}-{_digest(row['parameters'])}",
                **{name: row[name] for name in ("scan_id", "timeframe", "strategy", "parameters")},
                **{name: number(row[name]) for name in _BACKTEST_NUMBERS},
                "created_at": iso(as_of_ms(int(row["hour_ms"]))),
                "ttl": _backtest_ttl(row["hour_ms"]),
            }
        )
        for row in rows.to_dict("records")
        if not isinstance(row["error"], str)
    ]


def summary_items(backtests: pd.DataFrame) -> list[Item]:
    """Of each coin the best timeframe, and of each timeframe the best strategy, as items of the table of backtests.

    Args:
        backtests: rows of `backtest_results` of one hour. Those without a trade are left out.
    """
    items: list[Item] = []
    for symbol, rows in best_first(backtests).groupby("symbol", sort=True):
        first = rows.iloc[0]
        each = rows.drop_duplicates("timeframe").to_dict("records")
        items.append(
            {
                "symbol": symbol,
                "backtest_id": f"{first['scan_id']}-{_SUMMARY}",
                "scan_id": first["scan_id"],
                "optimal_timeframe": first["timeframe"],
                "optimal_pnl": number(first["total_pnl"]),
                "optimal_win_rate": number(first["win_rate"]),
                "timeframes": {
                    row["timeframe"]: {
                        "win_rate": number(row["win_rate"]),
                        "total_pnl": number(row["total_pnl"]),
                        "best_strategy": row["strategy"],
                    }
                    for row in each
                },
                "created_at": iso(as_of_ms(int(first["hour_ms"]))),
                "ttl": _backtest_ttl(first["hour_ms"]),
            }
        )
    return items


def is_past(item: Mapping[str, Any], now_ms: int) -> bool:
    """Whether the time to live of an item is over."""
    return int(item["ttl"]) * 1000 <= now_ms


def _backtest_ttl(hour_ms: int) -> Decimal:
    return _seconds(as_of_ms(int(hour_ms)) + BACKTEST_LIVES_MS)


def _seconds(time_ms: float) -> Decimal:
    return Decimal(-(-int(time_ms) // 1000))


def _digest(parameters: str) -> str:
    return hashlib.sha256(parameters.encode()).hexdigest()[:8]


def _without_missing(item: Item) -> Item:
    return {name: value for name, value in item.items() if value is not None}
