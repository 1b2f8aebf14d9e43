"""`trading-assets candles`: the candle store by hand. What is fetched and kept, `market.store` knows."""

from __future__ import annotations

import click

from trading_assets.cli.console import open_console
from trading_assets.cli.opening import announce
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, TRADED_TIMEFRAMES, Timeframe, first_hour_ms, last_hour_ms
from trading_assets.market.opening import open_candle_store
from trading_assets.market.spans import parts

_DAYS = 60
"""As far back as any backtest reads, by default."""

_AT_ONCE = 10_000
"""Candles that are fetched, ten requests, have the deadline of a command."""


@click.group()
def candles() -> None:
    """Candles that are held."""


@candles.command()
@click.argument("symbols", nargs=-1)
@click.option("--timeframe", type=click.Choice([timeframe.value for timeframe in TRADED_TIMEFRAMES]), help="One alone.")
@click.option("--from", "first", help="First hour or day, UTC.  [default: 60 days before the last]")
@click.option("--to", "last", help="Last hour or day, UTC, included.  [default: now]")
@click.option("--all", "everything", is_flag=True, help="Fetch what is held again, too, not only what is absent.")
def refetch(
    symbols: tuple[str, ...], timeframe: str | None, first: str | None, last: str | None, everything: bool
) -> None:
    """Ask the exchange again for candles that it said it does not have, of SYMBOLS or of all that are held.

    Such an answer expires by itself, later and later: within half an hour at first, within a week at last. Research an
    hour again (backfill) to use what was found.
    """
    from trading_assets.venues import open_market_data  # noqa: PLC0415 (imports the connector)

    settings, console = load_settings(), open_console()
    announce(settings)
    with ends_within(settings.command_deadline_s, "candles refetch"):
        store, source = open_candle_store(settings), open_market_data(settings)
        now_ms = source.now_ms()
    last_ms = last_hour_ms(last)
    end_ms = min(now_ms, last_ms + HOUR_MS) if last_ms is not None else now_ms
    start_ms = first_hour_ms(first) if first else end_ms - _DAYS * DAY_MS
    held = store.symbols()
    unknown = sorted(set(symbols) - set(held))
    if unknown:
        raise ConfigurationError(f"no candles of {', '.join(unknown)} are held; held are {', '.join(held) or 'none'}")
    if start_ms is None or start_ms >= end_ms:
        raise ConfigurationError(
            "--from is not before --to; expected a range such as --from 2026-03-01 --to 2026-03-30"
        )
    wanted = [Timeframe(timeframe)] if timeframe else list(TRADED_TIMEFRAMES)
    asked = fetched = 0
    for symbol in symbols or held:
        for of in wanted:
            if store.first_ms(symbol, of) is None:
                continue
            spans = [(start_ms, end_ms)] if everything else store.absences(symbol, of, start_ms, end_ms)
            asked += len(spans)
            for low, high in parts(spans, _AT_ONCE * of.ms):
                with ends_within(settings.command_deadline_s, f"candles refetch, {symbol} {of.value}"):
                    fetched += store.fill(source, symbol, of, low, high, now_ms=now_ms, again=True)
    console.print(f"asked again for {asked} spans: {fetched:,} candles fetched", highlight=False)
