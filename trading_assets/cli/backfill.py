"""`trading-assets backfill`: parses a range of hours, has it researched, prints how far it is and what came of it."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trading_assets.cli.console import open_console
from trading_assets.cli.opening import announce
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, first_hour_ms, floor_ms, hour_key, iso, last_hour_ms

if TYPE_CHECKING:
    from trading_assets.defs.backfill_processes import Told


@click.command()
@click.option("--from", "first", help="First hour or day, UTC.")
@click.option("--to", "last", help="Last hour or day, UTC, included.  [default: the newest hour that has ended]")
@click.option("--days", type=click.IntRange(1), help="So many days up to the last hour, instead of --from.")
@click.option(
    "--as-of-settings",
    is_flag=True,
    help="Research each hour with the settings that were used when it ended.  [default: with today's]",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="Runs at once, each in a process of about 1 GB.  [default: one a core, where there is memory and work for it]",
)
@click.option(
    "--queue",
    is_flag=True,
    help="Let Dagster's daemon start the runs, on Celery workers where there are; this command waits for them. "
    "--processes is then for how many at once the range is split (default 4); how many are, dagster.yaml says.",
)
def backfill(
    first: str | None, last: str | None, days: int | None, as_of_settings: bool, processes: int | None, queue: bool
) -> None:
    """Scan, candles, backtests and selections of a range of hours, each as of its own end.

    Runs of 6 days at most, shown by the UI like any other. Hours that were researched before are researched again.
    """
    if (first is None) == (days is None):
        raise click.UsageError("give either --from or --days, such as --from 2026-03-01 --to 2026-03-30, or --days 30")
    from trading_assets.venues import open_market_data  # noqa: PLC0415 (imports the connector)

    console, settings = open_console(), load_settings()
    announce(settings)
    asking = ends_within(settings.command_deadline_s, "asking the exchange for its time")
    with console.status("asking the exchange for its time"), asking:
        newest = floor_ms(open_market_data(settings).now_ms(), HOUR_MS) - HOUR_MS
    with console.status("loading the definitions"):
        from trading_assets.definitions import research_job  # noqa: PLC0415
        from trading_assets.defs import backfill as runs  # noqa: PLC0415 (imports dagster)
        from trading_assets.defs.backfill_processes import cpu_s  # noqa: PLC0415 (as above)
    last_ms = min(last_hour_ms(last) or newest, newest)
    first_ms = first_hour_ms(first) if days is None else last_ms + HOUR_MS - days * DAY_MS
    oldest = runs.first_partition_ms()
    if first_ms is None or not oldest <= first_ms <= last_ms:
        raise ConfigurationError(
            f"{hour_key(first_ms or 0)} to {hour_key(last_ms)} is no range of hours that can be researched; expected "
            f"one from {hour_key(oldest)} (TRADING_ASSETS_PARTITIONS_START) to {hour_key(newest)}, which has ended last"
        )
    warnings.filterwarnings("ignore", module="dagster.*")
    hours = (last_ms - first_ms) // HOUR_MS + 1
    at_once = processes or (runs.RUNS_OF_A_QUEUE if queue else runs.processes_by_default(hours))
    began = time.perf_counter(), cpu_s()
    done, peaks_mb = 0, dict[int, float]()
    waits = "waiting for Dagster's daemon and its workers" if queue else "starting the run"
    kind = "backfill" if queue else "run"
    with runs.find_instance(Path.cwd()), console.status(waits) as status:
        console.print(
            "each hour is researched with the settings that were used when it ended"
            if as_of_settings
            else "every hour is researched with today's settings; --as-of-settings takes those of the hour"
        )

        def follow(told: Told) -> None:
            peaks_mb[told.process] = told.peak_mb
            if told.text is not None:
                status.update(f"{done} of {hours} hours; {told.text}")

        for one in runs.backfill(
            research_job, first_ms, last_ms, follow, as_of_settings=as_of_settings, processes=at_once, queue=queue
        ):
            begin, of_run = one.given
            done += of_run
            console.print(f"{kind} {one.run_id}: {of_run} hours from {iso(begin)}", highlight=False)
    wall, cpu = time.perf_counter() - began[0], cpu_s() - began[1]
    memory = " and ".join(f"{peak:,.0f} MB" for peak in peaks_mb.values())
    each = " in its processes" if len(peaks_mb) > 1 else ""
    took = "" if queue else f", {cpu:.0f} s of CPU, at most {memory}{each}"
    console.print(
        f"{hours} hours in {wall:.0f} s{took}. Next: "
        f"trading-assets report walk-forward --from {hour_key(first_ms)} --to {hour_key(last_ms)}",
        highlight=False,
        soft_wrap=True,
    )
