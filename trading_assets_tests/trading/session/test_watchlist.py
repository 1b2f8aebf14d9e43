"""What is due at which close: the watchlist is told the time, and needs no exchange."""

from __future__ import annotations

import pandas as pd
import pytest

from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS
from trading_assets.trading.session import clock
from trading_assets.trading.session.clock import Timer
from trading_assets.trading.session.watchlist import (
    GATHER_S,
    LATE_AFTER_S,
    LATE_AGAIN_S,
    Coin,
    Selected,
    Watchlist,
    should_gather,
)

HOUR = 500_000 * HOUR_MS
TTL_S = 300


def watchlist(**timeframes: str) -> Watchlist:
    rows = [selection_row(HOUR - HOUR_MS, symbol, timeframe) for symbol, timeframe in timeframes.items()]
    return Watchlist(Selected(HOUR - HOUR_MS, pd.DataFrame(rows)), "BTCUSDT")


def symbols(coins: list[Coin]) -> list[str]:
    return [coin.symbol for coin in coins]


def test_a_coin_is_due_at_the_close_of_its_own_timeframe_until_it_is_decided() -> None:
    coins = watchlist(AUSDT="1m", BUSDT="60m")
    assert symbols(coins.update(HOUR + 100, 1.0, TTL_S)) == ["AUSDT", "BUSDT"]
    assert coins.has_pending
    for coin in coins.coins:
        coin.decided_ms = HOUR
    assert not coins.has_pending
    assert coins.update(HOUR + MINUTE_MS - 1, 2.0, TTL_S) == []
    assert symbols(coins.update(HOUR + MINUTE_MS, 3.0, TTL_S)) == ["AUSDT"]


def test_a_close_that_is_too_old_for_a_signal_is_passed_over() -> None:
    coins = watchlist(BUSDT="60m")
    assert coins.update(HOUR + TTL_S * 1000, 1.0, TTL_S) == []
    assert coins.coins[0].decided_ms == HOUR and not coins.has_pending


def test_a_candle_is_late_after_a_second_and_again_after_each_read() -> None:
    (coin,) = watchlist(AUSDT="1m").update(HOUR, 10.0, TTL_S)
    assert not coin.is_late(10.0 + LATE_AFTER_S - 0.01)
    late_at = 10.0 + LATE_AFTER_S
    assert coin.is_late(late_at)
    coin.read_at = late_at
    assert not coin.is_late(late_at + LATE_AGAIN_S - 0.01)
    assert coin.is_late(late_at + LATE_AGAIN_S)


def test_the_first_candles_wait_a_moment_for_the_others() -> None:
    first, second = watchlist(AUSDT="1m", BUSDT="1m").update(HOUR, 10.0, TTL_S)
    assert should_gather([first], [second], 10.0 + GATHER_S / 2)
    assert not should_gather([first], [second], 10.0 + 2 * GATHER_S), "they have waited long enough"
    assert not should_gather([first, second], [], 10.0), "all are here"
    assert not should_gather([], [first, second], 10.0), "none is here"


def test_a_selection_with_another_result_has_another_key() -> None:
    rows = pd.DataFrame([selection_row(HOUR, symbol) for symbol in ("AUSDT", "BUSDT")])
    assert Selected(HOUR, rows).key == Selected(HOUR, rows.iloc[::-1]).key
    assert Selected(HOUR, rows).key != Selected(HOUR, rows.iloc[:1]).key


def test_a_timer_rings_once_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(clock.time, "monotonic", lambda: now)
    timer = Timer(5.0)
    assert timer.ring() and not timer.ring()
    now = 105.0
    assert timer.ring()
    timer.restart(2.0)
    now = 107.0
    assert timer.ring()
    timer.restart()
    now = 111.9
    assert not timer.ring()
    now = 112.0
    assert timer.ring()
