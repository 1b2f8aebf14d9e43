"""Candles and funding of one coin after another, read once where the store has them. It fetches nothing sooner."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.market.loading import CandleReader
from trading_assets.market.spans import Span, subtract


@runtime_checkable
class Stored(Protocol):
    """A reader that knows what it would have to fetch, and reads `stored` what it has not to."""

    stored: CandleReader

    def missing(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Span]:
        """Spans of [start_ms, end_ms) that a read of them would ask for."""
        ...

    def missing_funding(self, symbol: str, start_ms: int, end_ms: int) -> list[Span]:
        """The same of funding."""
        ...


_MARGIN_BARS = 1024


class _Held(NamedTuple):
    """What is in memory of one timeframe or of funding: all that was stored of a span."""

    span: Span
    rows: Candles | Funding


class HeldCandles:
    """Reads of a forward test: short spans of one coin after another, each a little later than the one before.

    Of a reader that is `Stored`, the stored span around a read stays in memory until the next coin is read; other
    readers are asked each time. BTC's candles stay.

    Args:
        start_ms, end_ms: about the range that is read; no span goes beyond it without need.
    """

    def __init__(self, reader: CandleReader, start_ms: int, end_ms: int) -> None:
        self._reader, self._start_ms, self._end_ms = reader, start_ms, end_ms
        self._symbol = self.btc = reader.btc
        self._held: dict[tuple[str, Timeframe | None], list[_Held]] = {}
        self._stored: dict[tuple[str, Timeframe | None], tuple[Span, list[Span]]] = {}

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """See `CandleStore.read`."""
        found = self._around(symbol, timeframe, start_ms, end_ms)
        if isinstance(found, Candles):
            return found.between(start_ms, end_ms)
        return self._reader.read(symbol, timeframe, start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """See `CandleStore.read_funding`."""
        found = self._around(symbol, None, start_ms, end_ms)
        if isinstance(found, Funding):
            return found.between(start_ms, end_ms)
        return self._reader.read_funding(symbol, start_ms, end_ms)

    def _around(self, symbol: str, timeframe: Timeframe | None, start_ms: int, end_ms: int) -> Candles | Funding | None:
        """What is held of a span that has all of [start_ms, end_ms); None where something would be fetched."""
        if symbol not in (self._symbol, self.btc):
            for kept in (self._held, self._stored):
                for key in [one for one in kept if one[0] != self.btc]:
                    del kept[key]
            self._symbol = symbol
        key = symbol, timeframe
        held = self._held.setdefault(key, [])
        for one in held:
            if one.span[0] <= start_ms and end_ms <= one.span[1]:
                return one.rows
        reader = self._reader
        if not isinstance(reader, Stored):
            return None
        span = self._span(reader, key, start_ms, end_ms)
        if span is None:
            return None
        rows = (
            reader.stored.read_funding(symbol, *span)
            if timeframe is None
            else reader.stored.read(symbol, timeframe, *span)
        )
        held[:] = [one for one in held if one.span[1] <= span[0] or span[1] <= one.span[0]]
        held.append(_Held(span, rows))
        return rows

    def _span(self, reader: Stored, key: tuple[str, Timeframe | None], start_ms: int, end_ms: int) -> Span | None:
        """The stored span of the range that has all of [start_ms, end_ms)."""
        wide, spans = self._stored.get(key, ((0, 0), []))
        if not (wide[0] <= start_ms and end_ms <= wide[1]):
            # The next one may begin a little earlier.
            margin = _MARGIN_BARS * (HOUR_MS if key[1] is None else key[1].ms)
            wide = (
                min(start_ms - margin, self._start_ms, *wide[:1] if spans else ()),
                max(end_ms, self._end_ms, wide[1]),
            )
            symbol, timeframe = key
            try:
                missing = (
                    reader.missing_funding(symbol, *wide)
                    if timeframe is None
                    else reader.missing(symbol, timeframe, *wide)
                )
            except TradingAssetsError:  # whoever reads that part is told
                missing = [wide]
            spans = subtract([wide], missing)
            self._stored[key] = wide, spans
        return next((one for one in spans if one[0] <= start_ms and end_ms <= one[1]), None)
