"""What the name of a file says: symbol, timeframe, and whose archive it is from. No reading here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trading_assets.core.timeframes import Timeframe
from trading_assets.history.rows import FileFault, symbol_of, timeframe_of

_DATE = r"\d{4}-\d{2}(?:-\d{2})?"
_PATTERNS = (
    ("bybit-mt4", rf"(?P<symbol>[^\W_]+)_(?P<frame>\d+)_{_DATE}_{_DATE}\.csv"),
    ("bybit-spot-trades", rf"(?P<symbol>[^\W_]+)_{_DATE}\.csv"),
    ("bybit-trades", rf"(?P<symbol>[^\W_]+?){_DATE}\.csv"),
    ("binance-trades", rf"(?P<symbol>[^\W_]+)-(?:aggTrades|trades)-{_DATE}\.csv"),
    ("binance-funding", rf"(?P<symbol>[^\W_]+)-fundingRate-{_DATE}\.csv"),
    ("binance-klines", rf"(?P<symbol>[^\W_]+)-(?P<frame>\d+[a-zA-Z]+)-{_DATE}\.csv"),
    ("freqtrade-trades", r"(?P<symbol>[^\W_]+(?:_[^\W_]+){1,2})-trades\.(?:feather|parquet|json|csv)"),
    ("freqtrade-mark", r"(?P<symbol>[^\W_]+(?:_[^\W_]+){1,2})-(?P<frame>\w+)-(?:mark|index|premiumIndex)\.\w+"),
    ("freqtrade-funding", r"(?P<symbol>[^\W_]+(?:_[^\W_]+){1,2})-(?P<frame>\w+)-funding_rate\.\w+"),
    ("freqtrade", r"(?P<symbol>[^\W_]+(?:_[^\W_]+){1,2})-(?P<frame>\d+\w{1,2})(?:-futures)?\.(?:feather|parquet|json)"),
)
_ANY_SYMBOL = re.compile(r"(?<![^\W_])([^\W_]{1,24}?)[-_/]?(USDT|USDC|PERP)(?![^\W_])", re.IGNORECASE)
_ANY_FRAME = re.compile(r"(?<![^\W_])(\d+(?:m|min|h|d))(?![^\W_])", re.IGNORECASE)


@dataclass(frozen=True)
class Named:
    """What a name says; None where it says nothing.

    Attributes:
        layout: of whose archive the name is.
        frame: how it names a timeframe, also one that this system does not know.
    """

    layout: str | None
    symbol: str | None
    frame: str | None

    @property
    def timeframe(self) -> Timeframe | None:
        """
        Raises:
            FileFault: it is one that this system does not know.
        """
        if self.frame is None:
            return None
        found = timeframe_of(self.frame)
        if found is None:
            known = ", ".join(one.value for one in Timeframe)
            raise FileFault(f"the timeframe {self.frame} is not known; known are {known}: take files of 1m candles")
        return found


def read_name(name: str) -> Named:
    """What a file's name, without `.gz`, says."""
    for layout, pattern in _PATTERNS:
        found = re.fullmatch(pattern, name)
        if found is not None:
            return Named(layout, found["symbol"], found.groupdict().get("frame"))
    stem = name.rpartition(".")[0]
    symbol, frame = _ANY_SYMBOL.search(stem), _ANY_FRAME.search(stem)
    return Named(None, symbol and symbol[1] + symbol[2], frame and frame[1])


def require_symbol(given: str | None, named: Named) -> str:
    """The symbol that a person or the name of the file gives.

    Raises:
        FileFault: neither does.
    """
    if given is None and named.symbol is None:
        raise FileFault("no symbol in its columns or its name; name it with --symbol BTCUSDT")
    return symbol_of(given or str(named.symbol))
