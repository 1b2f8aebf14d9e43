"""What a file holds, as the readers hand it to the checks: tables of one symbol, and the error of a file that is none.

No reading and no storing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.timeframes import Timeframe

VALUES = ("open", "high", "low", "close", "volume", "turnover")
COLUMNS = ("start_ms", *VALUES)
FUNDING_COLUMNS = ("time_ms", "rate")

QUOTES = ("USDT", "USDC", "PERP")
"""A linear contract's name ends so. Files of contracts in coins have sizes in USD, which no engine here can read."""

_NAMES = {timeframe.value.lower(): timeframe for timeframe in Timeframe}
_NAMES |= {f"{timeframe.minutes // 60}h": timeframe for timeframe in Timeframe if timeframe.minutes % 60 == 0}
_NAMES |= {str(timeframe.minutes): timeframe for timeframe in Timeframe}
_NAMES |= {f"{timeframe.minutes}min": timeframe for timeframe in Timeframe} | {"d": Timeframe.D1, "day": Timeframe.D1}

_LARGEST = ((1e11, 1_000), (1e14, 1), (1e17, -1_000), (float("inf"), -1_000_000))
"""Upper bounds of a time in seconds, ms, us and ns, and how it becomes ms."""


class FileFault(TradingAssetsError):
    """A file cannot be taken, and why. Nothing of it is kept; other files do not mind."""


@dataclass(frozen=True)
class CandleTable:
    """Candles of one symbol and timeframe as a file has them, unchecked.

    Attributes:
        columns: `COLUMNS` by name, each of shape (n,): UTC ms, prices, base coin, quote coin.
        estimated: the file has no turnover; it was made of volume and typical price.
        filled: candles that were made because nothing was traded in them.
        notes: what a person should know.
        of_trades: made of single trades.
    """

    symbol: str
    timeframe: Timeframe
    columns: Mapping[str, npt.NDArray[np.generic]]
    estimated: bool = False
    filled: int = 0
    notes: tuple[str, ...] = ()
    of_trades: bool = False

    def __len__(self) -> int:
        return len(self.columns["start_ms"])


@dataclass(frozen=True)
class FundingTable:
    """Funding payments of one symbol as a file has them: UTC ms and the fraction that longs pay, shape (n,)."""

    symbol: str
    time_ms: IntArray
    rate: FloatArray


@dataclass(frozen=True)
class ContractRow:
    """What a list of contracts says of one; None where it does not say.

    Attributes:
        trading: whether it was traded when the list was made.
        seen_ms: when the list was made, where it says so itself, UTC ms.
        announced_ms: since when its end was known, UTC ms.
        delivery_price: at which positions were settled at its end.
    """

    symbol: str
    tick_size: Decimal | None = None
    qty_step: Decimal | None = None
    min_qty: Decimal | None = None
    max_market_qty: Decimal | None = None
    min_notional: Decimal | None = None
    max_leverage: Decimal | None = None
    funding_interval_min: int | None = None
    listed_ms: int | None = None
    delivery_ms: int | None = None
    delivery_price: float | None = None
    trading: bool | None = None
    is_coin: bool = True
    seen_ms: int | None = None
    announced_ms: int | None = None


Table = CandleTable | FundingTable


@dataclass(frozen=True)
class Parsed:
    """All that one file holds.

    Attributes:
        format: the name of its layout.
        sample: the first rows as they were read, for people who doubt the decision.
    """

    format: str
    tables: list[Table] = field(default_factory=list)
    contracts: list[ContractRow] = field(default_factory=list)
    sample: str = ""


def timeframe_of(name: str) -> Timeframe | None:
    """`1m`, `60m`, `1h`, `1D`, `240`: as files name a timeframe; None for one that this system does not know."""
    return _NAMES.get(name.strip().lower())


def symbol_of(name: str) -> str:
    """`BTCUSDT` of `BTC/USDT:USDT`, `BTC_USDT_USDT`, `btc-usdt` and the like.

    Raises:
        FileFault: it names no linear contract.
    """
    parts = re.split(r"[/_:\- ]+", name.strip().upper())
    if len(parts) == 3 and parts[1] == parts[2]:
        parts = parts[:2]
    symbol = "".join(parts)
    if not re.fullmatch(r"[^\W_]{2,40}", symbol):
        raise FileFault(f"{name[:60]!r} is no symbol; expected such as BTCUSDT, or name it with --symbol")
    if not symbol.endswith(QUOTES) or symbol in QUOTES:
        raise FileFault(
            f"{symbol} is no contract in USDT or USDC: contracts that are settled in their coin have sizes in USD, and "
            "their files are not taken"
        )
    return symbol


def milliseconds(values: npt.NDArray[np.generic]) -> IntArray:
    """Times in seconds, ms, us or ns since 1970, told apart by their size, as UTC ms.

    Raises:
        FileFault: they are no such times.
    """
    return microseconds(values) // 1_000


def microseconds(values: npt.NDArray[np.generic]) -> IntArray:
    """The same in us."""
    if not len(values):
        return np.empty(0, dtype=np.int64)
    largest = float(np.max(np.abs(values.astype(np.float64))))
    if not np.isfinite(largest):
        raise FileFault("a row has no time; expected seconds, ms, us or ns since 1970 (UTC)")
    factor = next(by for below, by in _LARGEST if largest < below)
    if factor == 1_000 and np.issubdtype(values.dtype, np.floating):
        return np.rint(values.astype(np.float64) * 1e6).astype(np.int64)
    whole = values.astype(np.int64)
    if factor < 0:
        return whole // (-factor // 1_000)
    return whole * (factor * 1_000)


def turnover_of(columns: Mapping[str, npt.NDArray[np.generic]]) -> FloatArray:
    """Volume at the typical price, where a file has no turnover."""
    high, low, close, volume = (
        np.asarray(columns[name], dtype=np.float64) for name in ("high", "low", "close", "volume")
    )
    return np.asarray(volume * (high + low + close) / 3, dtype=np.float64)
