"""Candles, funding and times between the arrays of the system and pandas. Nothing is read and nothing computed here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles, Funding, IntArray
from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.timeframes import HOUR_KEY_FORMAT, Timeframe

Moment = str | int | datetime | pd.Timestamp
"""A time: `"2026-03-02"`, `"2026-03-02 05:00"`, an hour's key `"2026-03-02-05:00"`, a datetime, or UTC milliseconds.
Without a time zone it is UTC."""

CANDLE_COLUMNS = ("open", "high", "low", "close", "volume", "turnover")


def to_moment_ms(moment: Moment) -> int:
    """A time as UTC ms.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(moment, int | np.integer) and not isinstance(moment, bool):
        return int(moment)
    try:
        if isinstance(moment, str):
            with contextlib.suppress(ValueError):
                moment = datetime.strptime(moment, HOUR_KEY_FORMAT).replace(tzinfo=UTC)
        at = pd.Timestamp(moment)
        at = at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{moment!r} is no time; expected such as '2026-03-02', '2026-03-02 05:00' (UTC) or a datetime"
        ) from error
    if at is pd.NaT:
        raise ConfigurationError("found no time (NaT), expected such as '2026-03-02 05:00'")
    return round(at.timestamp() * 1000)


def to_timeframe(timeframe: str | Timeframe) -> Timeframe:
    """A candle length by its name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    try:
        return Timeframe(timeframe)
    except ValueError:
        raise ConfigurationError(
            f"{timeframe!r} is no timeframe; there are {', '.join(one.value for one in Timeframe)}"
        ) from None


def to_symbol(symbol: object) -> str:
    """A symbol as the venue writes it.

    Raises:
        ConfigurationError: it is no text.
    """
    if not isinstance(symbol, str) or not symbol.strip():
        raise ConfigurationError(f"{symbol!r} is no symbol; expected one, such as 'ETHUSDT'")
    return symbol.strip().upper()


def to_symbols(symbols: object) -> list[str]:
    """One symbol or several, each once, in their order.

    Raises:
        ConfigurationError: there is none, or one is no text.
    """
    given = [symbols] if isinstance(symbols, str) else list(symbols) if isinstance(symbols, Iterable) else [symbols]
    if not given:
        raise ConfigurationError("found no symbol, expected at least one, such as 'ETHUSDT'")
    return list(dict.fromkeys(map(to_symbol, given)))


def times(values_ms: IntArray | list[int], name: str) -> pd.DatetimeIndex:
    """UTC ms as an index of that name, resolution ms."""
    index = pd.to_datetime(np.asarray(values_ms, dtype=np.int64), unit="ms", utc=True)
    return pd.DatetimeIndex(index, name=name).as_unit("ms")


def candles_frame(candles: Candles) -> pd.DataFrame:
    """Candles as a frame: `CANDLE_COLUMNS`, index `open_time` (UTC, of each candle's open)."""
    return pd.DataFrame(
        {name: getattr(candles, name) for name in CANDLE_COLUMNS}, index=times(candles.start_ms, "open_time")
    )


def funding_frame(funding: Funding) -> pd.DataFrame:
    """Payments as a frame: `rate` (a fraction of notional that longs pay shorts), index `time` (UTC)."""
    return pd.DataFrame({"rate": funding.rate}, index=times(funding.time_ms, "time"))


def candles_from(frame: pd.DataFrame, timeframe: Timeframe, what: str) -> Candles:
    """Candles of a frame like that of `candles_frame`; without `turnover` it is volume times close.

    Args:
        what: names the frame in messages.

    Raises:
        DataError: it is no frame, a column is missing, the index holds no times or is not ascending on the timeframe's
            grid, its candles are of a longer timeframe, or one is impossible.
    """
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{what} is {type(frame).__name__}, expected a DataFrame")
    missing = [name for name in CANDLE_COLUMNS[:-1] if name not in frame.columns]
    if missing:
        raise DataError(f"{what} lacks {', '.join(missing)}; expected the columns {', '.join(CANDLE_COLUMNS)}")
    starts = _index_ms(frame, what)
    if np.any(starts % timeframe.ms) or np.any(np.diff(starts) <= 0):
        raise DataError(
            f"{what}: expected ascending times of opens on the grid of {timeframe.value}, found others: sort it, drop "
            "duplicates, or name its own timeframe"
        )
    apart_ms = int(np.diff(starts).min()) if len(starts) > 2 else timeframe.ms
    if apart_ms > timeframe.ms:
        raise DataError(
            f"{what}: its candles are {apart_ms // 60_000} minutes apart or more, so {timeframe.value} is not their "
            'length; name it, such as from_frames({symbol: frame}, "15m")'
        )
    columns = {name: frame[name].to_numpy(dtype=np.float64) for name in CANDLE_COLUMNS[:-1]}
    turnover = frame["turnover"] if "turnover" in frame.columns else frame["volume"] * frame["close"]
    candles = Candles(timeframe, starts, **columns, turnover=turnover.to_numpy(dtype=np.float64))
    bad = ~(
        (candles.low > 0)
        & (candles.low <= np.minimum(candles.open, candles.close))
        & (candles.high >= np.maximum(candles.open, candles.close))
        & np.isfinite(candles.high)
        & (candles.volume >= 0)
    )
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"{what}: candle {frame.index[at]} is impossible (open {candles.open[at]:g}, high {candles.high[at]:g}, "
            f"low {candles.low[at]:g}, close {candles.close[at]:g}, volume {candles.volume[at]:g}), and so are "
            f"{int(bad.sum()) - 1} more"
        )
    return candles


def funding_from(frame: pd.DataFrame, what: str) -> Funding:
    """Payments of a frame like that of `funding_frame`.

    Raises:
        DataError: `rate` is missing or no number, or the index holds no ascending times.
    """
    if "rate" not in frame.columns:
        raise DataError(f"{what} lacks the column rate")
    rates, at = frame["rate"].to_numpy(dtype=np.float64), _index_ms(frame, what)
    if not np.isfinite(rates).all() or np.any(np.diff(at) <= 0):
        raise DataError(f"{what}: expected ascending times and finite rates, found others")
    return Funding(at, rates)


def _index_ms(frame: pd.DataFrame, what: str) -> IntArray:
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise DataError(
            f"{what} has an index of {type(frame.index).__name__}; expected times (DatetimeIndex, UTC), such as by "
            "frame.set_index(pd.to_datetime(frame['start_ms'], unit='ms', utc=True))"
        )
    index = frame.index if frame.index.tz is not None else frame.index.tz_localize("UTC")
    return index.tz_convert("UTC").as_unit("ms").asi8.astype(np.int64)
