"""The example of a learned signal: nothing of an hour's future is in its model, and the model is an asset."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms, floor_ms, hour_key
from trading_assets.defs.resources import CandleStoreResource
from trading_assets.market.loading import load_strategy_data
from trading_assets.market.lookback import first_decided_ms
from trading_assets.research import backtest
from trading_assets.strategies.bias_checks import known_at, look_ahead, warm_up
from trading_assets_tests.reporting.fixtures import HOUR, market
from trading_assets_tests.research.homes import a_market

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'trading-assets[learn]'")

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
OF = Timeframe.M60


@cache
def example(name: str) -> ModuleType:
    """A module of docs/examples, under its own name: the asset's imports the strategy's."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def learned(**parameters: object) -> Any:
    return example("learned_signal").LearnedSignal({"train_bars": 300, "edge": 0.02, **parameters})


@cache
def data(hour_ms: int = HOUR) -> StrategyData:
    return load_strategy_data(
        market(), "ETHUSDT", OF, learned().needs(), first_decided_ms(hour_ms, OF), as_of_ms(hour_ms)
    )


@pytest.mark.slow
def test_it_does_not_look_ahead_and_its_warm_up_suffices() -> None:
    ahead, early = look_ahead(learned(), data(), signals=6, others=6), warm_up(learned(), data(), starts=2)
    assert ahead.signals == 6 and ahead.passed, ahead.violations
    assert early.signals > 50 and early.passed, early.violations


@pytest.mark.slow
def test_the_check_finds_a_model_that_has_seen_the_day_that_it_decides() -> None:
    module = example("learned_signal")

    class Peeking(module.LearnedSignal):  # type: ignore[misc,name-defined]
        name = "peeking_model"

        def model_of_day(self, candles: Candles, features: np.ndarray, day_ms: int) -> Any:
            return super().model_of_day(candles, features, day_ms + DAY_MS)

    assert not look_ahead(Peeking({"train_bars": 300, "edge": 0.02}), data(), signals=4, others=4).passed


@pytest.mark.slow
def test_a_days_model_is_made_of_answers_that_were_known_before_the_day() -> None:
    candles, strategy = data().candles, learned()
    features_of = example("learned_signal").features_of
    day_ms = floor_ms(int(candles.start_ms[-1]), DAY_MS)
    model = strategy.model_of_day(candles, features_of(candles), day_ms)
    assert model is not None and model.rows == 300
    before = known_at(data(), day_ms).candles
    assert strategy.model_of_day(before, features_of(before), day_ms) == model
    late = candles.start_ms >= day_ms
    other = replace(candles, close=np.where(late, candles.open * 1.5, candles.close), high=candles.high * 2)
    other = replace(other, high=np.where(late, other.high, candles.high))
    assert strategy.model_of_day(other, features_of(other), day_ms) == model
    (last,) = np.flatnonzero(candles.end_ms == day_ms)  # the last answer that counts, turned round
    then = candles.close[last - strategy.parameters.horizon]
    close = candles.close.copy()
    close[last] = then * (0.99 if close[last] > then else 1.01)
    changed = replace(candles, close=close)
    assert strategy.model_of_day(changed, features_of(changed), day_ms).version != model.version


class Seeded(CandleStoreResource):
    """The seeded market in place of a store."""

    def get(self) -> Any:
        return market()


@pytest.mark.slow
def test_the_asset_has_the_model_that_decides_and_its_data_version_says_when_it_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path))
    module = example("learned_models")

    def version(hour_ms: int) -> tuple[str, dict[str, dict[str, object]]]:
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize(
                [module.learned_models],
                instance=instance,
                partition_key=hour_key(hour_ms),
                resources={"candle_store": Seeded()},
                run_config={"ops": {"learned_models": {"config": {"symbols": ["ETHUSDT", "SOLUSDT"]}}}},
            )
        (event,) = done.get_asset_materialization_events()
        held = event.materialization.metadata["file"].value
        tags = event.materialization.tags or {}
        return tags["dagster/data_version"], json.loads(Path(str(held)).read_text())

    strategy = example("learned_signal").LearnedSignal()
    first, models = version(HOUR)
    assert models.keys() == {"ETHUSDT", "SOLUSDT"}
    whole = load_strategy_data(market(), "ETHUSDT", OF, strategy.needs(), first_decided_ms(HOUR, OF), as_of_ms(HOUR))
    day_ms = floor_ms(int(whole.candles.start_ms[-1]), DAY_MS)
    decides = strategy.model_of_day(whole.candles, example("learned_signal").features_of(whole.candles), day_ms)
    assert models["ETHUSDT"]["version"] == decides.version
    assert version(HOUR)[0] == version(HOUR + HOUR_MS)[0] == first, "the same day, the same past"
    assert version(HOUR + DAY_MS)[0] != first


@pytest.mark.slow
def test_it_is_backtested_as_every_strategy_is() -> None:
    found = backtest(learned(), "ETHUSDT", "60m", end=as_of_ms(HOUR), source=a_market())
    assert len(found.trades) >= 5
    assert found.indicators["probability"].notna().all()
