"""`trading-assets results`: backtests of past days, which go from the ledger into files. Parses, calls one function and
prints."""

from __future__ import annotations

import click

from trading_assets.cli.console import echo, open_console
from trading_assets.cli.opening import announce, open_ledger
from trading_assets.core.errors import StorageError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, first_hour_ms, floor_ms, iso, last_hour_ms, local_ms


@click.group()
def results() -> None:
    """Backtests of past days, sealed in a Parquet file a day. See docs/retention.md."""


@results.command()
@click.option(
    "--after-days",
    type=click.FloatRange(0),
    help="Days that ended so long before the newest hour.  [default: TRADING_ASSETS_SEAL_RESULTS_AFTER_DAYS]",
)
@click.option("--compact", is_flag=True, help="Make the file of SQLite smaller, too. Everybody else waits meanwhile.")
def seal(after_days: float | None, compact: bool) -> None:
    """Seal now what is old enough. The job `seal` and a backfill do it by themselves."""
    from trading_assets.ledger import sealing  # noqa: PLC0415 (pandas costs a second)

    settings, console = load_settings(), open_console()
    announce(settings)
    days = settings.seal_results_after_days if after_days is None else after_days
    if days is None:
        raise click.UsageError(
            "TRADING_ASSETS_SEAL_RESULTS_AFTER_DAYS is empty; expected a number there, or --after-days"
        )
    with open_ledger(settings) as database:
        before = sealing.before_ms(database, days)
        with console.status("looking for what is old enough") as status:
            found = sealing.seal(
                database, before or 0, local_ms, lambda done, total: status.update(f"{done} of {total} days sealed")
            )
        echo(sealing.told(found))
        if compact:
            echo(f"the ledger is {database.compact() / 1e6:,.1f} MB smaller")
    if found.failed:
        raise StorageError("; ".join(f"{iso(day)[:10]}: {why}" for day, why in sorted(found.failed.items())))


@results.command()
def status() -> None:
    """How much is sealed, and how much waits."""
    from trading_assets.ledger import sealing  # noqa: PLC0415 (as above)

    settings = load_settings(lenient=True)
    with open_ledger(settings) as database:
        echo(sealing.state_told(sealing.state(database, sealing.before_ms(database, settings.seal_results_after_days))))


@results.command()
@click.option("--from", "first", help="First day, UTC.  [default: the oldest]")
@click.option("--to", "last", help="Last day, UTC, included.  [default: the newest]")
def files(first: str | None, last: str | None) -> None:
    """The files that other programs may read (pandas, duckdb, polars), a line each.

    A file that is not listed has been replaced. Hours that were researched again are in the ledger until their day is
    sealed again.
    """
    from trading_assets.ledger import sealing  # noqa: PLC0415 (as above)

    low, high = first_hour_ms(first), last_hour_ms(last)
    with open_ledger(load_settings(lenient=True)) as database:
        for day, name in sealing.files_in_use(database):
            if (low is None or day >= floor_ms(low, DAY_MS)) and (high is None or day <= high):
                echo(name if database.results is None else database.results.url(name))
