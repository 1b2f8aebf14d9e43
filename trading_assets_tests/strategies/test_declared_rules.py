"""Entry and size that a strategy declares of its own: in rows, live, in reports, and beside other strategies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from trading_assets.backtesting.costs import costs_from, declared_entries
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.validation import ReferenceEngine, cross_validate
from trading_assets.core.declared import EntryRule, SizeRule
from trading_assets.core.errors import StrategyError
from trading_assets.core.models import EntryOrder
from trading_assets.core.settings import Settings
from trading_assets.reporting import walk_forward
from trading_assets.strategies import declared as declaring
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.declared import as_declared
from trading_assets.strategies.registry import strategy_classes
from trading_assets.trading.execute.plan import Entry, plan_entry
from trading_assets_tests.backtesting.test_validation import HOUR, SCANS, TIMEFRAME, configured, load
from trading_assets_tests.backtesting.windows import backtest_window
from trading_assets_tests.reporting.fixtures import COSTS, forward_tested
from trading_assets_tests.reporting.test_equals_live import selections
from trading_assets_tests.reporting.test_portfolio_simulation import UNLIMITED, portfolio, trade
from trading_assets_tests.trading.decide.candle_fixtures import Dictated
from trading_assets_tests.trading.decide.test_entry import Signal, decided
from trading_assets_tests.trading.execute.test_plan import ACCOUNT, MARKET, NOW_MS, settings, signal_row

RULE = EntryRule(EntryOrder.LIMIT, offset_pct=0.3, bars=2)
AS_SETTINGS = {"entry_order": "limit", "entry_offset_pct": "0.3", "entry_bars": 2}


class Waiting(BollingerRsi):
    name = "waiting"
    entry = RULE
    size = SizeRule("risk", 2.0)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry has the strategy."""
    classes = {**strategy_classes(), "waiting": Waiting}
    monkeypatch.setattr(declaring, "strategy_classes", lambda: classes)
    monkeypatch.setattr("trading_assets.backtesting.costs.strategy_classes", lambda: classes)
    monkeypatch.setattr("trading_assets.strategies.registry.strategy_classes", lambda: classes)
    yield


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: EntryRule(EntryOrder.LIMIT, offset_pct=50),
        lambda: EntryRule(EntryOrder.LIMIT, offset_pct=-0.1),
        lambda: EntryRule(EntryOrder.LIMIT, bars=0),
        lambda: SizeRule("luck"),
        lambda: SizeRule("equity", 0),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(wrong: Any) -> None:
    with pytest.raises(StrategyError, match="expected"):
        wrong()


def test_without_a_declaration_the_settings_are_the_same_object() -> None:
    account = Settings()
    assert as_declared(account, BollingerRsi) is account
    assert as_declared(account, "a strategy that is gone") is account


def test_a_declaration_counts_before_the_settings_both_ways() -> None:
    class AtMarket(BollingerRsi):
        entry = EntryRule(EntryOrder.MARKET)

    assert as_declared(Settings(**AS_SETTINGS), AtMarket).entry_order is EntryOrder.MARKET
    found = as_declared(Settings(), Waiting)
    assert (found.entry_order, found.entry_offset_pct, found.entry_bars) == (EntryOrder.LIMIT, Decimal("0.3"), 2)
    assert (found.size_by, found.size_pct) == ("risk", Decimal(2))
    assert found.max_positions == Settings().max_positions


@pytest.mark.slow
def test_its_backtests_are_those_of_such_settings_and_others_are_untouched(known: None) -> None:
    account = Settings()
    alone = backtest_window(HOUR, TIMEFRAME, SCANS, load(HOUR), configured(BollingerRsi), account)
    both = backtest_window(
        HOUR, TIMEFRAME, SCANS, load(HOUR), [*configured(BollingerRsi), *configured(Waiting)], account
    )
    others = both[both["strategy"] == BollingerRsi.name].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, alone)
    mine = both[both["strategy"] == "waiting"].reset_index(drop=True)
    as_set = backtest_window(HOUR, TIMEFRAME, SCANS, load(HOUR), configured(BollingerRsi), Settings(**AS_SETTINGS))
    pd.testing.assert_frame_equal(mine.assign(strategy=BollingerRsi.name), as_set)
    assert set(mine["entry_order"]) == {"limit"}
    assert mine["total_pnl"].tolist() != others["total_pnl"].tolist()


@pytest.mark.slow
def test_kernel_and_naive_engine_agree_on_its_rows(known: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_assets.backtesting.validation.make_strategy", lambda _name, _text: BollingerRsi())
    rows = backtest_window(HOUR, TIMEFRAME, SCANS, load(HOUR), configured(Waiting), Settings())
    assert cross_validate(rows, load, KernelEngine(), ReferenceEngine(), Settings()) == []


def test_live_waits_as_it_declares() -> None:
    class Declares(Dictated):
        entry = RULE

    mine, as_set = decided(strategy=Declares("long")), decided(**AS_SETTINGS)
    assert isinstance(mine, Signal)
    assert isinstance(as_set, Signal)
    names = ("entry_order", "limit_price", "limit_until_ms")
    assert [mine.row[name] for name in names] == [as_set.row[name] for name in names]


def test_live_sizes_as_it_declares_within_the_limits(known: None) -> None:
    wide = {"max_position_margin_pct": 100, "max_symbol_exposure_pct": 1000, "max_total_exposure_pct": 1000}
    mine = signal_row(stop_loss=98.0, strategy="waiting")
    account = replace(ACCOUNT, active_strategies=ACCOUNT.active_strategies | {"waiting"})
    plan = plan_entry(mine, MARKET, account, settings(**wide), NOW_MS)
    assert isinstance(plan.outcome, Entry)
    assert (plan.outcome.size.qty, plan.outcome.why_size) == (
        Decimal(10),
        "2.0 % of $1000.00 at risk, the stop 2.000 % away",
    )
    cut = plan_entry(mine, MARKET, account, settings(**wide | {"max_symbol_exposure_pct": 50}), NOW_MS)
    assert isinstance(cut.outcome, Entry)
    assert cut.outcome.size.qty == Decimal(5)
    other = plan_entry(signal_row(stop_loss=98.0), MARKET, ACCOUNT, settings(**wide), NOW_MS)
    assert isinstance(other.outcome, Entry)
    assert other.outcome.why_size is None


@pytest.mark.slow
def test_reports_enter_as_it_declares(known: None) -> None:
    waits = costs_from(Settings(**AS_SETTINGS)).entry
    assert declared_entries(Settings()) == {"waiting": waits}
    chosen = selections([("15m", "bollinger_rsi", '{"band":0.3}'), ("60m", "fibonacci_bollinger", '{"band":0.1}')])
    at_market = forward_tested(chosen)
    declared = forward_tested(chosen, entered_by={"bollinger_rsi": waits})
    set_so = forward_tested(chosen, costs=replace(COSTS, entry=waits))
    assert repr(declared.of(chosen[:1], unfilled=True)) == repr(set_so.of(chosen[:1], unfilled=True))
    assert repr(declared.of(chosen[1:])) == repr(at_market.of(chosen[1:]))
    assert repr(declared.of(chosen[:1])) != repr(at_market.of(chosen[:1]))


def test_the_report_says_what_is_declared_and_what_the_benchmark_does_not_do_of_it(known: None) -> None:
    told = " ".join(walk_forward._assumptions(Settings(), {"waiting"}))
    assert "waiting declares its own: An entry waits 0.3 % from the close of its bar for 2 bars as limit" in told
    assert "size 2.0 % by risk" in told
    assert "random trades enter at the market" in told
    plain = " ".join(walk_forward._assumptions(Settings(), {BollingerRsi.name}))
    assert "declares its own" not in plain
    assert "random trades enter at the market" not in plain


def test_an_accounts_trades_are_sized_as_it_declares(known: None) -> None:
    by = {**UNLIMITED, "max_position_margin_pct": 100, "max_symbol_exposure_pct": 1000, "max_total_exposure_pct": 1000}
    own, other = trade("A", 1, 30, 10.0), trade("B", 60, 30, 10.0)
    own = replace(own, selection=own.selection._replace(strategy="waiting"))
    taken = {one.selection.symbol: one for one in portfolio(own, other, **by).taken}
    assert taken["A"].risk == pytest.approx(20.0), "2 % of $1000"
    assert taken["B"].size == 1.0
