"""A search of parameters by Optuna: each hour sees its own past alone, and every set counts as a try."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from trading_assets import research
from trading_assets.backtesting.significance import corrected
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ConfigurationError, DataError, StrategyError
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms
from trading_assets.market.loading import CandleReader
from trading_assets_tests.reporting.fixtures import HOUR

SPACE = {"stop_atr": (1.0, 4.0), "atr_period": (7, 21), "reward_risk": [1.5, 2.0, 3.0]}
SYMBOLS = ["ETHUSDT", "SOLUSDT"]


@cache
def a_market() -> research.Market:
    return research.seeded(7, 12, now=as_of_ms(HOUR) + 4 * HOUR_MS)


@dataclass(frozen=True)
class Otherwise:
    """A market whose prices are others from a moment on."""

    reader: CandleReader
    time_ms: int
    btc: str = "BTCUSDT"

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        found = self.reader.read(symbol, timeframe, start_ms, end_ms)
        factor = np.where(found.start_ms >= self.time_ms, 1.02, 1.0)
        changed = {name: getattr(found, name) * factor for name in ("open", "high", "low", "close")}
        return replace(found, **changed)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return self.reader.read_funding(symbol, start_ms, end_ms)


def changed_after(time_ms: int) -> research.Market:
    return replace(a_market(), reader=Otherwise(a_market().reader, time_ms))


def searched(
    source: research.Source, last: int = HOUR + HOUR_MS, symbols: list[str] | None = None, **changes: object
) -> research.Search:
    given = {"space": SPACE, "trials": 20, "seed": 3} | changes
    return research.search("bollinger_rsi", symbols or SYMBOLS, "60m", HOUR, last, source=source, **given)  # type: ignore[arg-type]


@cache
def found() -> research.Search:
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'trading-assets[optuna]'")
    return searched(a_market())


@pytest.mark.slow
def test_the_same_seed_finds_the_same_and_what_else_is_searched_plays_no_part() -> None:
    whole = found()
    assert len(whole.best) == 4 and whole.best["tries"].between(10, 20).all()
    alone = searched(a_market(), HOUR, ["SOLUSDT"])
    rows = whole.trials
    of_hour = rows["selected_hour"] == rows["selected_hour"].min()
    expected = rows[of_hour & (rows["symbol"] == "SOLUSDT")].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.trials, expected)
    other = searched(a_market(), HOUR, ["SOLUSDT"], seed=4)
    assert other.trials["parameters"].tolist() != alone.trials["parameters"].tolist()


@pytest.mark.slow
def test_an_hour_knows_nothing_of_what_came_after_it() -> None:
    """The market after the first hour is another one; what that hour has tried and found is the same."""
    first = searched(changed_after(as_of_ms(HOUR)), HOUR)
    whole = found()
    of_hour = whole.best["selected_hour"] == whole.best["selected_hour"].min()
    unchanged = ["parameters", "tries", "in_sample_score", "out_of_sample_pnl", "total_pnl", "p_value_corrected"]
    pd.testing.assert_frame_equal(first.best[unchanged], whole.best[of_hour].reset_index(drop=True)[unchanged])
    later = searched(changed_after(as_of_ms(HOUR))).best
    assert later["total_pnl"].tolist()[2:] != whole.best["total_pnl"].tolist()[2:]


@pytest.mark.slow
def test_every_set_that_was_tried_counts_as_a_try_of_its_own() -> None:
    best, trials = found().best, found().trials
    counted = trials.groupby(["selected_hour", "symbol"])["parameters"].nunique()
    for row in best.to_dict("records"):
        assert row["tries"] == row["configurations_tried"] == counted[row["selected_hour"], row["symbol"]]
    np.testing.assert_allclose(best["p_value_corrected"], corrected(best["p_value"], best["tries"]), rtol=1e-12)
    assert found().tries == len(trials) == best["tries"].sum()
    for text in trials["parameters"]:
        p = json.loads(text)
        assert 1.0 <= p["stop_atr"] <= 4.0 and p["atr_period"] in range(7, 22) and p["reward_risk"] in (1.5, 2.0, 3.0)
    # What is chosen is what the pipeline would choose of them: by the in-sample part alone.
    first = best.iloc[0]
    of_first = trials[(trials["selected_hour"] == first["selected_hour"]) & (trials["symbol"] == first["symbol"])]
    enough = of_first[of_first["in_sample_trades"] >= 5]
    assert first["in_sample_score"] == (enough if len(enough) else of_first)["in_sample_score"].max()


@pytest.mark.slow
def test_what_an_hour_finds_is_traded_in_the_next_hour_alone() -> None:
    of_minutes = research.search(
        "bollinger_rsi", SYMBOLS, "5m", HOUR, HOUR + HOUR_MS, space=SPACE, trials=20, seed=3, source=a_market()
    )
    trades = of_minutes.forward_test().trades
    assert len(trades) >= 5
    for row in trades.to_dict("records"):
        after = row["entry_time"] - row["selected_hour"]
        assert pd.Timedelta("1h") <= after <= pd.Timedelta("2h")
    none = of_minutes.best["p_value_corrected"] <= 0.05
    assert not none.any()
    with pytest.raises(DataError, match="no selection"):
        of_minutes.forward_test(none)


def test_what_cannot_be_searched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "optuna", None)
        with pytest.raises(ConfigurationError, match="pip install 'trading-assets\\[optuna\\]'"):
            searched(a_market())
    pytest.importorskip("optuna")
    with pytest.raises(StrategyError, match="has no parameter stop"):
        searched(a_market(), space={"stop": (1, 2)})
    with pytest.raises(StrategyError, match="allows no set"):
        searched(a_market(), HOUR, ["ETHUSDT"], space={"stop_atr": [-1.0]}, trials=2)
