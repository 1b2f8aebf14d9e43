"""The module and the test that `trading-assets strategies new` writes. No strategy here."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from trading_assets.core.errors import StrategyError
from trading_assets.strategies.registry import strategy_classes

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

_MODULE = '''"""`{name}`: say in one sentence when it enters, and why that should earn something."""

from pydantic import Field

from trading_assets.core.candles import FloatArray
from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values


class {kind}Parameters(Parameters):
    period: int = Field(20, ge=2, description="bars whose extremes must be broken")


class {kind}(Strategy):
    """Long above the highest high of the bars before, short below their lowest low. An example: put your rule here."""

    name = "{name}"
    description = "Close beyond the extremes of the bars before"
    Parameters = {kind}Parameters
    parameters: {kind}Parameters

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        high = indicators.rolling_max(data.candles.high, self.parameters.period)
        low = indicators.rolling_min(data.candles.low, self.parameters.period)
        # The window ends before the bar that breaks out of it.
        return {{"upper": indicators.previous(high), "lower": indicators.previous(low)}}

    @staticmethod
    def entries(v: Values, p: {kind}Parameters) -> Entries:
        return Entries(long=v.close > v.upper, short=v.close < v.lower, confidence=65.0)
'''

_TEST = '''"""Entries of `{name}` on candles made by hand, and the checks that every strategy must pass."""

import numpy as np

from trading_assets.core.candles import Candles
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.bias_checks import look_ahead, warm_up
from {module} import {kind}


def data_of(closes: list[float]) -> StrategyData:
    """15m candles with these closes. Each opens at the close before, with wicks of a tenth of a percent."""
    close = np.array(closes)
    opened = np.concatenate([close[:1], close[:-1]])
    start = 1_769_904_000_000 + Timeframe.M15.ms * np.arange(len(close), dtype=np.int64)
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    return StrategyData("AUSDT", Candles(Timeframe.M15, start, opened, high, low, close, np.ones(len(close)), close))


def test_a_close_above_all_before_is_a_long_entry_and_one_below_them_a_short_one() -> None:
    flat = [100.0] * 60
    up, down = {kind}().signals(data_of([*flat, 101.0])), {kind}().signals(data_of([*flat, 99.0]))
    assert np.flatnonzero(up.long).tolist() == [60] and not up.short.any()
    assert np.flatnonzero(down.short).tolist() == [60] and not down.long.any()


def test_it_does_not_look_ahead_and_its_warm_up_suffices() -> None:
    moves = np.random.default_rng(1).normal(0, 0.004, 900)
    data = data_of((100 * np.exp(np.cumsum(moves))).tolist())
    ahead, early = look_ahead({kind}(), data, signals=10), warm_up({kind}(), data)
    assert ahead.signals and ahead.passed, ahead.violations
    assert early.signals and early.passed, early.violations
'''


def write_new(name: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Write a strategy's module and its test. Return their paths.

    Args:
        name: of the strategy and its module.
        folder: where both go. By default the module goes beside the strategies of this package, and the test beside
            their tests, where those are.

    Raises:
        StrategyError: the name cannot be one, is taken, or a file is there.
        OSError: they cannot be written.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise StrategyError(
            f"{name!r} cannot name a strategy, expected 1 to 64 of a-z, 0-9 and _, a letter first, such as my_breakout"
        )
    if name in strategy_classes():
        raise StrategyError(f"there is a strategy {name!r} already, choose another name")
    home = Path(__file__).parent
    tests = home.parents[1] / "trading_assets_tests" / "strategies" if folder is None else folder
    kind = "".join(part.capitalize() for part in name.split("_") if part)
    module = f"{__package__}.{name}" if folder is None else name
    texts = {(folder or home) / f"{name}.py": _MODULE.format(name=name, kind=kind)}
    if tests.is_dir() or folder is not None:
        texts[tests / f"test_{name}.py"] = _TEST.format(name=name, kind=kind, module=module)
    for path in texts:
        if path.exists():
            raise StrategyError(f"{path} is there already, choose another name or remove it")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tuple(texts)
