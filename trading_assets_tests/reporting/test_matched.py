"""Random entries in place of a report's trades: the same but for moment and coin, and right where nothing is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trading_assets.backtesting.engine import Column
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.reporting.matched import MatchedBenchmark, matched_benchmark, share_interval
from trading_assets.reporting.trades import ForwardTrade, SelectedStrategy
from trading_assets.strategies import indicators
from trading_assets_tests.reporting.fixtures import COSTS, HOUR, forward_tested, market, selections

COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
START, END = as_of_ms(HOUR), as_of_ms(HOUR) + 60 * HOUR_MS


def benchmark(trades: list[ForwardTrade], chosen: list[SelectedStrategy], draws: int = 99) -> MatchedBenchmark:
    found = matched_benchmark(market(), trades, chosen, COSTS, START, END, draws=draws)
    assert found is not None
    return found


@pytest.mark.slow
def test_the_same_trades_give_the_same_draws_and_their_own_means() -> None:
    chosen = selections(60, *COINS, timeframe="15m")
    trades = forward_tested(chosen).of(chosen)
    one, other = benchmark(trades, chosen), benchmark(trades, chosen)
    np.testing.assert_array_equal(one.drawn_r, other.drawn_r)
    assert one.trades == len(trades) > 50 and one.draws == len(one.drawn_r) == len(one.drawn_bps) == 99
    assert one.mean_r == pytest.approx(np.mean([trade.pnl / trade.risk for trade in trades]))
    costs = np.mean([(trade.fees + trade.slippage) / trade.risk for trade in trades])
    assert one.gross_r == pytest.approx(one.mean_r + costs)
    assert (one.drawn_gross_r > one.drawn_r).all()
    assert 1 / 100 <= one.p_value <= 1 and one.behind + round(one.p_value * 100) == 100
    assert one.band_r[0] < np.median(one.drawn_gross_r) < one.band_r[1]


def test_a_draw_of_one_coin_and_one_hour_is_the_trade_itself() -> None:
    """Of a day with one hour and one coin nothing is left to draw."""
    chosen = selections(60, "ETHUSDT", timeframe="5m")
    trade = forward_tested(chosen, end_ms=END).of(chosen)[3]
    start = trade.entry_ms // HOUR_MS * HOUR_MS
    found = matched_benchmark(market(), [trade], chosen, COSTS, start, start + HOUR_MS, draws=9)
    [once] = forward_tested([trade.selection], end_ms=start + HOUR_MS).of([trade.selection])[:1]
    assert found is not None and np.ptp(found.drawn_r) == 0
    # Its own range differs by what older candles have left in it.
    assert found.drawn_r[0] == pytest.approx(once.r if once.entry_ms == trade.entry_ms else found.drawn_r[0], rel=1e-3)


def test_a_drawn_trade_is_that_of_the_engine() -> None:
    chosen = selections(60, "SOLUSDT", timeframe="30m")
    [trade, *_] = forward_tested(chosen).of(chosen)
    found = matched_benchmark(market(), [trade], [chosen[0]], COSTS, START, END, draws=400)
    step = Timeframe.M30.ms
    candles = market().read("SOLUSDT", Timeframe.M30, START - 200 * step, END).closed_by(END)
    away = 1.5 * indicators.atr(candles.high, candles.low, candles.close, 14)
    expected = set()
    for hours in range(24):
        moved = START + (trade.entry_ms - START + hours * HOUR_MS) % DAY_MS
        bar = int(np.searchsorted(candles.end_ms, moved))
        fraction = float(away[bar] / candles.close[bar])
        column = Column.from_entry(
            candles, moved, long=trade.direction > 0, stop_fraction=fraction, reward_risk=2.0,
            funding=market().read_funding("SOLUSDT", START, END + 1),
        )  # fmt: skip
        [made] = KernelEngine().simulate([column], COSTS)
        expected.add(round(float(made.pnl[0]) / (fraction * COSTS.notional), 9))
    assert found is not None and {round(value, 9) for value in found.drawn_r.tolist()} == expected


def test_nothing_traded_is_no_benchmark() -> None:
    assert matched_benchmark(market(), [], selections(3, "ETHUSDT"), COSTS, START, END) is None


def test_trades_that_knew_are_better_than_nearly_all_draws_and_worse_ones_than_none() -> None:
    chosen = selections(60, *COINS, timeframe="15m")
    trades = forward_tested(chosen).of(chosen)
    wins = [trade for trade in trades if trade.pnl > 0]
    losses = [trade for trade in trades if trade.pnl < 0]
    assert benchmark(wins, chosen).p_value == pytest.approx(0.01)
    assert benchmark(losses, chosen).p_value == 1.0


@pytest.mark.slow
def test_random_trades_have_uniform_ranks() -> None:
    """Trades of random sides at random times: the p-value is below 5 % in about 5 % of the cases, 20 % in 20 %."""
    rng = np.random.default_rng(5)
    chosen = selections(60, *COINS, timeframe="15m", band=0.1)
    trades = forward_tested(chosen).of(chosen)
    by_coin = {coin: [trade for trade in trades if trade.selection.symbol == coin] for coin in COINS}
    found = []
    for _ in range(120):
        some = [trade for coin in COINS for trade in rng.choice(np.array(by_coin[coin], dtype=object), 12)]
        turned = [_simulated(trade, 1 if rng.random() < 0.5 else -1) for trade in some]
        found.append(benchmark(turned, chosen, 199).p_value)
    for level in (0.05, 0.2, 0.5):
        share = float(np.mean(np.array(found) <= level))
        assert abs(share - level) < 3 * np.sqrt(level * (1 - level) / len(found)), (level, share)


def _simulated(trade: ForwardTrade, direction: int) -> ForwardTrade:
    """The trade of either side at the same moment."""
    timeframe = Timeframe(trade.selection.timeframe)
    symbol = trade.selection.symbol
    candles = market().read(symbol, timeframe, trade.entry_ms - timeframe.ms, END).closed_by(END)
    column = Column.from_entry(
        candles, trade.entry_ms, long=direction > 0, stop_fraction=trade.stop_fraction, reward_risk=2.0,
        funding=market().read_funding(symbol, START, END + 1),
    )  # fmt: skip
    [made] = KernelEngine().simulate([column], COSTS)
    return replace(trade, direction=direction, pnl=float(made.pnl[0]), fees=float(made.fees[0]))


@pytest.mark.parametrize(("count", "of"), [(0, 20), (13, 20), (20, 20), (500, 999)])
def test_the_interval_of_a_share_holds_it(count: int, of: int) -> None:
    low, high = share_interval(count, of)
    assert 0 <= low <= count / of <= high <= 1 and high - low < 0.45
    assert share_interval(0, 0) == (0.0, 1.0)
