"""The look over all selections: new signals only, and one strategy's trouble is its own."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.core.errors import DataError, ExchangeUnavailableError
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.ledger import evidence, orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import order_intents
from trading_assets.market.fingerprint import window_hashes
from trading_assets.strategies.base import Strategy
from trading_assets.trading.decide import finder
from trading_assets.trading.decide.entry import Signal, newest_close_ms
from trading_assets.trading.decide.finder import FinderReport, duplicate_of, find_entry_signals
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.trading.decide.candle_fixtures import Dictated, candles
from trading_assets_tests.trading.fixtures import NOW_MS, add_signal, harness_on, settings, signal_row, start_strategy

HOUR = NOW_MS // HOUR_MS * HOUR_MS - HOUR_MS


@pytest.fixture
def strategies(monkeypatch: pytest.MonkeyPatch) -> dict[str, Strategy]:
    """Strategies by name; "dictated" enters long."""
    known: dict[str, Strategy] = {"dictated": Dictated()}
    monkeypatch.setattr(finder, "make_strategy", lambda name, _parameters: known[name])
    return known


def selections(*rows: tuple[str, str, str], hour_ms: int = HOUR) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"hour_ms": hour_ms, "symbol": symbol, "timeframe": timeframe, "strategy": strategy, "parameters": "{}"}
            for symbol, timeframe, strategy in rows
        ]
    )


def look(
    database: Database,
    chosen: pd.DataFrame,
    *,
    now_ms: int = NOW_MS,
    load: Callable[[str, Timeframe, Strategy], StrategyData] | None = None,
    listed: dict[str, object] | None = None,
    **rules: object,
) -> FinderReport:
    def fresh(symbol: str, timeframe: Timeframe, _strategy: Strategy) -> StrategyData:
        return StrategyData(symbol, candles(timeframe, newest_close_ms(timeframe, now_ms)))

    instruments = {symbol: an_instrument(symbol) for symbol in chosen["symbol"]}
    return find_entry_signals(
        database=database,
        selections=chosen.to_dict("records"),
        load=load or fresh,
        instruments={**instruments, **(listed or {})},  # type: ignore[arg-type]
        settings=settings(**rules),
        now_ms=now_ms,
    )


def test_a_fresh_candle_of_a_selection_gives_a_waiting_signal(database: Database, strategies: object) -> None:
    report = look(database, selections(("BTCUSDT", "60m", "dictated"), ("AUSDT", "5m", "dictated")))
    assert [row["symbol"] for row in report.signals] == ["AUSDT", "BTCUSDT"]
    waiting = signals.active(database, "main")
    assert {row["signal_id"] for row in waiting} == {row["signal_id"] for row in report.signals}
    assert [row["hour_ms"] for row in waiting] == [HOUR, HOUR]


def test_a_new_signal_is_kept_with_the_selection_that_was_followed_and_the_candles_that_were_read(
    database: Database, strategies: object
) -> None:
    chosen = selections(("BTCUSDT", "60m", "dictated")).assign(score=12.5, p_value=float("nan"))
    (row,) = look(database, chosen).signals
    with database.read() as connection:
        kept = evidence.read(connection, str(row["signal_id"]))
    assert kept is not None and kept.is_intact
    followed = {"hour_ms": HOUR, "symbol": "BTCUSDT", "timeframe": "60m", "strategy": "dictated", "parameters": "{}"}
    assert kept.origin.selection == {**followed, "score": 12.5, "p_value": None}
    assert kept.origin.backtest is None
    held = candles(Timeframe.M60, newest_close_ms(Timeframe.M60, NOW_MS))
    assert kept.candles["60m BTCUSDT"] == {
        "bars": len(held),
        "first_ms": int(held.start_ms[0]),
        "last_ms": int(held.start_ms[-1]),
        "content_hash": window_hashes(held, np.array([0]), np.array([len(held)]))[0],
    }
    assert kept.indicators == {"rsi": 25.0, "btc_trend": 1.0, "funding_rate": None}


def test_a_second_look_at_the_same_bar_adds_nothing(database: Database, strategies: object) -> None:
    chosen = selections(("BTCUSDT", "60m", "dictated"))
    look(database, chosen)
    again = look(database, chosen, now_ms=NOW_MS + 20_000)
    assert (again.signals, dict(again.skipped)) == ([], {"signal exists": 1})
    assert len(signals.active(database, "main")) == 1


def test_one_strategy_that_fails_never_stops_the_others(sqlite: Database, strategies: dict[str, Strategy]) -> None:
    strategies["raises"] = Dictated(error=ZeroDivisionError("division by zero"))
    strategies["refuses"] = Dictated(error=DataError("no depth"))
    report = look(
        sqlite,
        selections(
            ("AUSDT", "60m", "raises"),
            ("BUSDT", "60m", "refuses"),
            ("CUSDT", "60m", "unknown"),
            ("ZUSDT", "60m", "dictated"),
        ),
    )
    assert [row["symbol"] for row in report.signals] == ["ZUSDT"]
    assert set(report.failures) == {"AUSDT", "BUSDT", "CUSDT"}
    assert report.failures["AUSDT"] == "ZeroDivisionError: division by zero"
    assert report.skipped == {"failed": 3}


def test_candles_that_cannot_be_loaded_never_stop_the_others(sqlite: Database, strategies: object) -> None:
    def load(symbol: str, timeframe: Timeframe, _strategy: Strategy) -> StrategyData:
        if symbol == "AUSDT":
            raise ExchangeUnavailableError("502")
        return StrategyData(symbol, candles(timeframe, newest_close_ms(timeframe, NOW_MS)))

    report = look(sqlite, selections(("AUSDT", "60m", "dictated"), ("ZUSDT", "60m", "dictated")), load=load)
    assert [row["symbol"] for row in report.signals] == ["ZUSDT"]
    assert report.failures == {"AUSDT": "502"}


def test_a_strategy_without_a_confidence_gives_no_signal(sqlite: Database, strategies: dict[str, Strategy]) -> None:
    strategies["vague"] = Dictated(confidence=float("nan"))
    report = look(sqlite, selections(("AUSDT", "60m", "vague"), ("ZUSDT", "60m", "dictated")))
    assert [row["symbol"] for row in report.signals] == ["ZUSDT"]
    assert "AUSDT" in report.failures


@pytest.mark.parametrize(("late_s", "found"), [(0, 1), (3595 - 5, 1)])
def test_a_selection_within_its_age_is_used(sqlite: Database, strategies: object, late_s: int, found: int) -> None:
    chosen = selections(("BTCUSDT", "1m", "dictated"))
    assert len(look(sqlite, chosen, now_ms=NOW_MS + late_s * 1000).signals) == found


def test_an_old_selection_gives_no_signal(sqlite: Database, strategies: object) -> None:
    old = selections(("BTCUSDT", "60m", "dictated"), hour_ms=HOUR - 2 * HOUR_MS)
    assert look(sqlite, old).skipped == {"selection too old": 1}
    assert len(look(sqlite, old, max_selection_age_s=10_000).signals) == 1


@pytest.mark.parametrize("instrument", [None, an_instrument("BTCUSDT", status="PreLaunch")])
def test_a_symbol_that_does_not_trade_gives_no_signal(sqlite: Database, strategies: object, instrument: object) -> None:
    report = look(sqlite, selections(("BTCUSDT", "60m", "dictated")), listed={"BTCUSDT": instrument})
    assert report.skipped == {"symbol is not trading": 1}


def test_without_a_fresh_candle_nothing_is_loaded(sqlite: Database, strategies: object) -> None:
    def never(*_args: object) -> StrategyData:
        raise AssertionError("loaded")

    chosen = selections(("BTCUSDT", "60m", "dictated"))
    report = look(sqlite, chosen, now_ms=NOW_MS + 300_000, load=never)
    assert (report.skipped, report.failures) == ({"no fresh candle": 1}, {})


def test_a_stale_candle_gives_no_signal(sqlite: Database, strategies: object) -> None:
    def stale(symbol: str, timeframe: Timeframe, _strategy: Strategy) -> StrategyData:
        return StrategyData(symbol, candles(timeframe, newest_close_ms(timeframe, NOW_MS) - timeframe.ms))

    report = look(sqlite, selections(("BTCUSDT", "60m", "dictated")), load=stale)
    assert report.skipped == {"stale candle": 1}


def test_a_symbol_in_use_is_skipped_and_after_its_exit_only_on_the_next_bar(
    sqlite: Database, strategies: object
) -> None:
    harness, chosen = harness_on(sqlite), selections(("BTCUSDT", "5m", "dictated"))
    start_strategy(sqlite, "dictated")
    look(sqlite, chosen)
    submit_orders(harness.context)
    assert look(sqlite, chosen).skipped == {"its order or position is open": 1}
    harness.later()
    harness.exchange.close_position("BTCUSDT", "stop")
    reconcile(harness.context)
    assert look(sqlite, chosen, now_ms=NOW_MS + 300_000).skipped == {"a position was closed on this bar": 1}
    assert len(look(sqlite, chosen, now_ms=NOW_MS + 600_000).signals) == 1


def _new(**changes: object) -> Signal:
    return Signal(signal_row(**{"signal_timestamp_ms": NOW_MS, "timeframe": "5m", "strategy": "other", **changes}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("present", "new", "why"),
    [
        ({}, {}, "the same signal is waiting"),
        ({}, {"entry_price": 100.09}, "the same signal is waiting"),
        ({}, {"entry_price": 100.2}, None),
        ({}, {"position_type": "SHORT"}, None),
        ({"created_at_ms": NOW_MS - 300_000}, {}, "the same signal is waiting"),
        ({"created_at_ms": NOW_MS - 300_001}, {}, None),
        (
            {"status": "executing"},
            {"entry_price": 150.0, "position_type": "SHORT"},
            "another signal of the symbol is executing",
        ),
        ({"status": "executing", "created_at_ms": NOW_MS - 300_001}, {}, None),
        ({"status": "rejected"}, {}, None),
        ({"status": "expired"}, {}, None),
        ({"symbol": "ETHUSDT", "status": "executing"}, {}, None),
        ({"account": "other"}, {}, None),
        (
            {"status": "rejected", "strategy": "other", "signal_timestamp_ms": NOW_MS - 299_999},
            {},
            "too soon after the strategy's last signal",
        ),
        ({"status": "rejected", "strategy": "other", "signal_timestamp_ms": NOW_MS - 300_000}, {}, None),
        ({"strategy": "other", "timeframe": "5m", "signal_timestamp_ms": NOW_MS}, {}, "signal exists"),
    ],
)
def test_a_signal_that_repeats_a_recent_one_is_none(
    sqlite: Database, present: dict[str, object], new: dict[str, object], why: str | None
) -> None:
    add_signal(sqlite, **{"symbol": "BTCUSDT", **present})  # type: ignore[arg-type]
    recent = signals.recent(sqlite, "main", NOW_MS - 600_000).get("BTCUSDT", [])
    assert duplicate_of(_new(**new), recent, settings(), NOW_MS) == why


def test_without_recent_signals_nothing_repeats() -> None:
    assert duplicate_of(_new(), [], settings(), NOW_MS) is None


def test_the_interval_between_signals_may_be_longer_than_the_duplicate_window(
    sqlite: Database, strategies: object
) -> None:
    chosen = selections(("BTCUSDT", "5m", "dictated"))
    (row,) = look(sqlite, chosen, min_signal_interval_s=900).signals
    signals.note(sqlite, str(row["signal_id"]), "no", status="rejected")
    for late_ms, found in ((300_000, 0), (600_000, 0), (900_000, 1)):
        assert len(look(sqlite, chosen, now_ms=NOW_MS + late_ms, min_signal_interval_s=900).signals) == found


def test_two_finders_at_once_insert_a_signal_once(database: Database) -> None:
    row = signal_row()
    assert [signals.insert(database, row) for _ in range(3)] == [True, False, False]


def test_a_malformed_signal_is_not_taken_for_one_that_exists(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)null|confidence"):
        signals.insert(database, signal_row() | {"confidence": None})


@pytest.mark.parametrize("broken", [{"confidence": 180.0}, {"position_type": "SIDEWAYS"}, {"stop_loss": -1.0}])
def test_a_signal_that_breaks_the_schema_never_waits_to_be_sent(database: Database, broken: dict[str, object]) -> None:
    """It is checked in the transaction that adds it, with all that were found with it: no round is ever in between."""
    rows = [signal_row("AUSDT"), signal_row("BTCUSDT") | broken]
    added = signals.insert_new(database, rows)
    assert len(added) == 2
    assert signals.active(database, "main") == []
    stored = signals.by_ids(database, sorted(added))
    assert set(stored["status"]) == {signals.REJECTED} and set(stored["reason"]) == {signals.BROKEN}


@pytest.mark.parametrize(("days", "found"), [(None, 0), (3.0, 1), (10.0, 0)])
def test_a_coin_that_is_to_be_delivered_gets_no_signal(
    database: Database, strategies: object, days: float | None, found: int
) -> None:
    listed: dict[str, object] = {"AUSDT": an_instrument("AUSDT", delivery_ms=NOW_MS + 7 * 24 * HOUR_MS)}
    report = look(database, selections(("AUSDT", "5m", "dictated")), listed=listed, min_days_to_delivery=days)
    assert len(report.signals) == found and bool(report.skipped["its delivery is announced"]) == (not found)


def test_on_the_bar_on_which_an_entry_was_dropped_there_is_none_and_on_the_next_there_is(
    sqlite: Database, strategies: object
) -> None:
    chosen, until = selections(("BTCUSDT", "5m", "dictated")), newest_close_ms(Timeframe.M5, NOW_MS)
    with sqlite.write() as connection:
        connection.execute(
            sa.insert(order_intents).values(
                **{name: Decimal(1) for name in ("qty", "stop_loss", "take_profit", "leverage")},
                **{"order_link_id": "x", "signal_id": "y", "account": "main", "symbol": "BTCUSDT", "side": "Buy"},
                **{"status": orders.ENDED, "until_ms": until, "created_ms": 1, "touched_wall_ms": 1, "updated_ms": 1},
            )
        )
    assert orders.ended_waits(sqlite, "main", until) == {"BTCUSDT": until}
    assert orders.ended_waits(sqlite, "main", until + 1) == orders.ended_waits(sqlite, "other", 0) == {}
    assert look(sqlite, chosen).skipped == {"an entry was dropped on this bar": 1}
    assert len(look(sqlite, chosen, now_ms=NOW_MS + 300_000).signals) == 1
