"""What a strategy raised, for the person who mends it: on which coin, timeframe and bar, and where in the code.

Nothing is stored here. Secrets are taken out, and the text has a largest size.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from trading_assets.core import logs
from trading_assets.core.errors import StrategyError
from trading_assets.core.foreign_text import plain, plain_lines
from trading_assets.core.secret_text import hidden
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe, iso
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bias_checks import known_at
from trading_assets.strategies.registry import canonical_json

MOST_FRAMES = 12
"""So many calls of a traceback are kept, the innermost ones."""

MOST_CHARACTERS = 6_000
"""A longer traceback loses its middle."""

MOST_ERROR_CHARACTERS = 500


@dataclass(frozen=True)
class StrategyFailure:
    """A strategy that raised.

    Attributes:
        strategy, symbol, timeframe: what failed, and on what.
        parameters: the whole set, as JSON.
        bar_ms: close of the first bar with which it fails, UTC ms: without that bar it does not. None where no bar is
            to blame: it fails with whatever bars, or not again.
        error: kind and message, one line.
        traceback: calls and lines, innermost last.
    """

    strategy: str
    symbol: str
    timeframe: str
    parameters: str
    bar_ms: int | None
    error: str
    traceback: str

    @property
    def where(self) -> str:
        """`ETHUSDT 15m, from the candle on that closes at 2026-03-02T05:15:00Z`."""
        at = "" if self.bar_ms is None else f", from the candle on that closes at {iso(self.bar_ms)}"
        return f"{self.symbol} {self.timeframe}{at}"


class StrategyFailedError(StrategyError):
    """A strategy raised, and where.

    Attributes:
        failure: what is known of it, its traceback among it.
    """

    def __init__(self, failure: StrategyFailure) -> None:
        super().__init__(f"strategy {failure.strategy!r} fails on {failure.where}: {failure.error}")
        self.failure = failure


def failure_of(
    strategy: Strategy, symbol: str, timeframe: Timeframe, data: StrategyData | None, error: Exception
) -> StrategyFailure:
    """What is to be known of an error that the strategy raised.

    The bar is looked for: the strategy decides again on ever shorter data, about 13 times in a window.

    Args:
        data: on which it raised, warm-up included; None where they are not at hand: no bar is looked for.
    """
    logs.learn_secrets()
    return StrategyFailure(
        strategy=strategy.name,
        symbol=symbol,
        timeframe=timeframe.value,
        parameters=canonical_json(strategy),
        bar_ms=None if data is None else _first_failing_bar_ms(strategy, data, error),
        error=plain(hidden(f"{type(error).__name__}: {error}"))[:MOST_ERROR_CHARACTERS],
        traceback=_shortened(plain_lines(hidden(_formatted(error)))),
    )


def _formatted(error: Exception) -> str:
    return "".join(traceback.format_exception(error, limit=-MOST_FRAMES)).rstrip("\n")


def _shortened(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    begin, end = MOST_CHARACTERS // 4, MOST_CHARACTERS * 3 // 4
    return f"{text[:begin]}\n... {len(text) - begin - end} characters left out ...\n{text[-end:]}"


def _first_failing_bar_ms(strategy: Strategy, data: StrategyData, error: Exception) -> int | None:
    """Bisected: the same error, at the same line, comes with this bar, and does not without it."""
    place, ends = _place(error), data.candles.end_ms

    def fails(bars: int) -> bool:
        try:
            strategy.signals(known_at(data, int(ends[bars - 1])))
        except Exception as found:  # noqa: BLE001 (a user's strategy may raise anything, also other things)
            return _place(found) == place
        return False

    if not len(ends) or not fails(len(ends)) or fails(1):
        return None
    without, with_it = 1, len(ends)
    while with_it - without > 1:
        middle = (without + with_it) // 2
        if fails(middle):
            with_it = middle
        else:
            without = middle
    return int(ends[with_it - 1])


def _place(error: Exception) -> tuple[object, ...]:
    """Kind of an error, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return (type(error), *((frame.filename, frame.lineno) for frame in frames))
