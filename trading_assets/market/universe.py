"""Which coins are worth a backtest in an hour: pure rules over instruments and hourly candles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

import pandas as pd

from trading_assets.exchange.models import Instrument
from trading_assets.market.candles import Candles
from trading_assets.market.timeframes import DAY_MS, as_of_ms, to_datetime
from trading_assets.schemas.tables import MARKET_SCAN
from trading_assets.settings import Settings

STABLECOINS = frozenset(
    {
        *("USDC", "USDT", "BUSD", "DAI", "TUSD", "FDUSD", "USDE", "PYUSD", "USDD", "USDP", "GUSD", "LUSD", "FRAX"),
        *("USTC", "EURC", "EURI", "RLUSD", "USD1", "USDS", "SUSD", "XUSD", "USDB", "BFUSD", "USDF", "USDX", "EURS"),
        "AEUR",
    }
)

HOURS = 24

Dropped = dict[str, list[str]]
"""Symbols by the reason for which they were dropped."""


@dataclass(frozen=True)
class _Figures:
    """What the scan says of a coin."""

    symbol: str
    price: float
    volume_24h: float
    price_change_24h: float
    volatility_24h: float
    size_error_pct: float


@dataclass(frozen=True)
class ScanResult:
    """Rows of `market_scan` of one hour, and what was dropped by the figures."""

    rows: pd.DataFrame
    dropped: Dropped


def eligible(instruments: Sequence[Instrument], as_of: int) -> tuple[list[Instrument], Dropped]:
    """Instruments that can be scanned at all as of `as_of` (UTC ms), and the rest by reason."""
    kept: list[Instrument] = []
    dropped: Dropped = {}
    for instrument in sorted(instruments, key=lambda i: i.symbol):
        reason = _ineligible(instrument, as_of)
        if reason is None:
            kept.append(instrument)
        else:
            dropped.setdefault(reason, []).append(instrument.symbol)
    return kept, dropped


def _ineligible(instrument: Instrument, as_of: int) -> str | None:
    if instrument.contract_type != "LinearPerpetual":
        return "not a perpetual"
    if instrument.settle_coin != "USDT" or instrument.quote_coin != "USDT":
        return "not settled in USDT"
    if instrument.status != "Trading":
        return "not trading"
    if instrument.base_coin in STABLECOINS:
        return "stablecoin"
    if instrument.symbol_type not in ("", "innovation"):
        return "not a coin"
    if instrument.listed_ms > as_of - DAY_MS:
        return "listed less than 24 h ago"
    return None


def scan_id(as_of: int) -> str:
    """`scan-20251217-093000`."""
    return f"scan-{to_datetime(as_of):%Y%m%d-%H%M%S}"


def scan(
    hour_ms: int, hourly: Mapping[str, Candles], instruments: Sequence[Instrument], settings: Settings
) -> ScanResult:
    """The coins that traded and moved enough in the 24 hours before the as-of, the most volatile first.

    Args:
        hourly: the 24 closed 60m candles before the as-of, by symbol.
    """
    as_of = as_of_ms(hour_ms)
    dropped: Dropped = {}
    found = []
    for instrument in sorted(instruments, key=lambda i: i.symbol):
        candles = hourly[instrument.symbol].between(as_of - DAY_MS, as_of)
        if len(candles) != HOURS:
            dropped.setdefault("incomplete history", []).append(instrument.symbol)
            continue
        low = float(candles.low.min())
        price = float(candles.close[-1])
        row = _Figures(
            symbol=instrument.symbol,
            price=price,
            volume_24h=float(candles.turnover.sum()),
            price_change_24h=(price / float(candles.open[0]) - 1) * 100,
            volatility_24h=(float(candles.high.max()) - low) / low * 100,
            size_error_pct=_size_error_pct(instrument, price, settings.target_notional),
        )
        reason = _too_little(row, settings)
        if reason is None:
            found.append(row)
        else:
            dropped.setdefault(reason, []).append(instrument.symbol)
    found.sort(key=lambda row: (-row.volatility_24h, row.symbol))
    for row in found[settings.max_symbols :]:
        dropped.setdefault(f"beyond the {settings.max_symbols} most volatile", []).append(row.symbol)
    rows = [
        {"hour_ms": hour_ms, "scan_id": scan_id(as_of), "rank": rank, "timestamp_ms": as_of, **asdict(row)}
        for rank, row in enumerate(found[: settings.max_symbols], start=1)
    ]
    return ScanResult(MARKET_SCAN.conform(pd.DataFrame(rows, columns=MARKET_SCAN.columns)), dropped)


def _too_little(row: _Figures, settings: Settings) -> str | None:
    if row.volume_24h <= settings.min_volume_24h:
        return f"24 h turnover up to {settings.min_volume_24h:,.0f} USD"
    if row.volatility_24h <= settings.min_volatility:
        return f"24 h range up to {settings.min_volatility:g} %"
    if row.size_error_pct > settings.max_size_error_pct:
        return "position size cannot be expressed in lots"
    return None


def _size_error_pct(instrument: Instrument, price: float, notional: Decimal) -> float:
    """By how much the quantity step distorts the position, percent; 100 where no order is possible."""
    value = Decimal(str(price))
    qty = notional / value // instrument.qty_step * instrument.qty_step
    if not instrument.min_qty <= qty <= instrument.max_market_qty or qty * value < instrument.min_notional:
        return 100.0
    return float((notional - qty * value) / notional * 100)
