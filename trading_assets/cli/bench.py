"""The commands `trading-assets bench ...`. Each calls one function and prints."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table as RichTable

from trading_assets.cli.console import line, open_console
from trading_assets.cli.trial import TrialGroup
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe


@click.group(cls=TrialGroup)
def bench() -> None:
    """Measurements and long trials of parts of the project."""


@bench.command("backtests")
@click.option("--symbols", default=20, show_default=True, type=click.IntRange(1), help="Coins of a random market.")
@click.option("--params", default=20, show_default=True, type=click.IntRange(1, 20), help="Parameter sets of the grid.")
@click.option(
    "--timeframes",
    default=",".join(TRADED_TIMEFRAMES),
    show_default=True,
    help="Comma-separated; each with the window that the pipeline gives it.",
)
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1), help="The fastest of so many counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def backtests(symbols: int, params: int, timeframes: str, repeat: int, as_json: bool) -> None:
    """Sweep bollinger_rsi with the kernel and with other engines, check that results are equal, compare the times."""
    from trading_assets.bench.backtests import measure, table  # noqa: PLC0415 (imports what it measures)

    wanted = timeframes.split(",")
    unknown = [name for name in wanted if name not in TRADED_TIMEFRAMES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}; expected some of {', '.join(TRADED_TIMEFRAMES)}")
    report = measure(symbols, params, [Timeframe(name) for name in wanted], repeat)
    if as_json:
        click.echo(json.dumps(report))
    else:
        open_console().print(table(report))


@bench.command("grids")
@click.option("--days", default=30, show_default=True, type=click.IntRange(1), help="Of candles of a minute.")
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1), help="The fastest of so many counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def grids(days: int, repeat: int, as_json: bool) -> None:
    """CPU time of backtests of grids of 5, 20 and 100 levels on the seeded market."""
    from trading_assets.bench.grids import measure, table  # noqa: PLC0415 (imports what it measures)

    found = measure(days, [5, 20, 100], repeat)
    if as_json:
        click.echo(json.dumps(found))
    else:
        open_console().print(table(found))


@bench.command("metrics")
@click.option(
    "--orders", default=10_000, show_default=True, type=click.IntRange(1), help="Closed orders of the ledger."
)
@click.option("--accounts", default=1, show_default=True, type=click.IntRange(1, 50), help="That share the orders.")
@click.option("--scrapes", default=20, show_default=True, type=click.IntRange(1), help="Scrapes after the first one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def metrics(orders: int, accounts: int, scrapes: int, as_json: bool) -> None:
    """CPU time of a scrape for Prometheus, on a ledger of its own with many orders."""
    from trading_assets.bench.metrics import measure  # noqa: PLC0415 (imports what it measures)

    found = measure(orders, scrapes, accounts)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{orders:,} orders, accounts: {accounts}; the first scrape {found['first_cpu_s']:.2f} s of CPU, a later one "
        f"{found['later_cpu_s'] * 1000:.0f} ms: {found['share_of_core']:.2%} of a core at one every 15 s; "
        f"{found['lines']:,} lines, {found['bytes'] / 1000:,.0f} kB"
    )


@bench.command("fuzz")
@click.option("--requests", "count", default=20_000, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The same seed, the same requests.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def fuzz(count: int, seed: int, as_json: bool) -> None:
    """Malformed and hostile requests against every route of the embedded exchange; exit code 1 if one breaks it."""
    from trading_assets.bench.fuzz import run_fuzz  # noqa: PLC0415 (imports the server)

    report = run_fuzz(count, seed)
    if as_json:
        click.echo(json.dumps(report.as_dict()))
    else:
        console = open_console()
        console.print(
            f"{report.requests} requests, {report.accepted} accepted, {report.refused} refused, "
            f"{report.seconds:.1f} s, slowest {report.slowest_ms:.0f} ms of CPU",
            highlight=False,
        )
        for finding in report.findings:
            console.print(line(("no", "red"), f"  {finding.what}: {finding.request}"))
    if report.findings:
        sys.exit(1)


@bench.command("luck")
@click.option("--draws", default=2000, show_default=True, type=click.IntRange(100), help="Of each world.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The same seed, the same figures.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a world.")
def luck(draws: int, seed: int, as_json: bool) -> None:
    """How often p-value and deflated Sharpe ratio find an edge where none is, and where one is."""
    from trading_assets.bench import luck as trials  # noqa: PLC0415 (one command's)

    cells = trials.luck(draws, seed)
    if as_json:
        for cell in cells:
            click.echo(json.dumps(asdict(cell)))
    else:
        open_console().print(trials.table(cells, draws))


@bench.command("score")
@click.option(
    "--candles",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Recorded candles (Parquet, several allowed) with what lies beside them; default: the seeded market.",
)
@click.option(
    "--history",
    type=click.Choice([timeframe.value for timeframe in TRADED_TIMEFRAMES]),
    default="60m",
    show_default=True,
    help="Recorded hours count from when the window of this timeframe is whole.",
)
@click.option("--days", default=31, show_default=True, type=click.IntRange(1, 300), help="Of the seeded market.")
@click.option(
    "--symbols",
    type=click.IntRange(5, 600),
    help="Coins, of recorded ones spread over the alphabet.  [default: 30 of the seeded market, all recorded ones]",
)
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw all of each preset, as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench_score(
    candles: tuple[Path, ...], history: str, days: int, symbols: int | None, picture: Path | None, as_json: bool
) -> None:
    """Do score, deflated Sharpe, p-value and out-of-sample PnL predict what following a selection earns? Minutes."""
    from trading_assets.bench import score  # noqa: PLC0415 (imports the engine)
    from trading_assets.cli.score_tables import score_tables  # noqa: PLC0415 (as above)
    from trading_assets.core.settings import load_settings  # noqa: PLC0415 (as above)
    from trading_assets.reporting.page import matched_sentence as told  # noqa: PLC0415 (as above)
    from trading_assets.reporting.score_study import of_presets  # noqa: PLC0415 (as above)
    from trading_assets.reporting.score_study import picture as drawn  # noqa: PLC0415 (as above)

    trial = score.recorded(candles, Timeframe(history), symbols) if candles else score.seeded(days, symbols or 30)
    report = score.run(trial, load_settings(), lambda text: click.echo(text, err=True))
    if picture is not None:
        picture.write_text(drawn(of_presets(report.by_preset), report.trial))
    if as_json:
        click.echo(json.dumps(asdict(report), default=lambda array: array.tolist()))
        return
    console = open_console()
    console.print(f"{report.trial}; {report.backtests:,} backtests", highlight=False)
    for table in score_tables(report.by_preset, report.by_score):
        console.print(table)
    for preset, matched in report.matched.items():
        console.print(
            f"{preset}, random entries: {'nothing traded' if matched is None else told(matched)}", highlight=False
        )


@bench.command("market")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def market(as_json: bool) -> None:
    """The seeded market of 600 symbols and a replay of a year, in CPU milliseconds."""
    from trading_assets.bench.market import run  # noqa: PLC0415 (imports the exchange)

    figures = run()
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = RichTable("what", "figure")
    for name, value in figures.items():
        table.add_row(name, f"{value:g}")
    open_console().print(table)


@bench.command("store")
@click.option("--symbols", default=10, show_default=True, type=click.IntRange(1), help="Coins, of random candles.")
@click.option("--chunks", default=10, show_default=True, type=click.IntRange(1), help="Of 2,048 candles each, by coin.")
@click.option("--repeat", default=5, show_default=True, type=click.IntRange(1), help="The fastest of so many counts.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def candle_store(symbols: int, chunks: int, repeat: int, as_json: bool) -> None:
    """Candles written to the candle store and read from it, beside Parquet files without locks and checksums."""
    from trading_assets.bench.candle_store import measure  # noqa: PLC0415 (imports what it measures)

    figures = measure(symbols, chunks, repeat)
    if as_json:
        click.echo(json.dumps(figures))
        return
    names = ("store_cpu_ms", "files_cpu_ms", "cpu_ratio", "store_wall_ms", "files_wall_ms", "wall_ratio")
    table = RichTable("what", *(name.replace("_", " ") for name in names))
    for what, row in figures.items():
        table.add_row(what.replace("_", " "), *(f"{row[name]:g}" for name in names))
    open_console().print(table)


@bench.command("exchange")
@click.option("--requests", default=4000, show_default=True, type=click.IntRange(10), help="Of each kind.")
@click.option("--connections", default=4, show_default=True, type=click.IntRange(1, 64), help="Asking at a time.")
@click.option("--symbols", default=80, show_default=True, type=click.IntRange(1, 600), help="Perpetuals of the market.")
@click.option("--stream-seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Of each stream.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def exchange(requests: int, connections: int, symbols: int, stream_seconds: float, as_json: bool) -> None:
    """Requests and messages in a second, latency and processor time of the embedded exchange."""
    from trading_assets.bench.exchange import measure_exchange  # noqa: PLC0415 (imports the server's parts)

    report = measure_exchange(requests, connections, symbols, stream_seconds)
    if as_json:
        click.echo(json.dumps(report.as_dict()))
        return
    table = RichTable("request", "per second", "p50 ms", "p99 ms", "server CPU ms", "failed")
    for row in report.measures:
        table.add_row(
            row.name,
            *(f"{value:g}" for value in (row.per_second, row.p50_ms, row.p99_ms)),
            f"{row.server_cpu_ms:g}",
            str(row.failed),
        )
    open_console().print(table)
    streams = RichTable("stream", "topics", "market seconds a second", "messages per second", "server load")
    for one in report.streams:
        streams.add_row(one.name, str(one.topics), f"{one.speed:g}", f"{one.per_second:g}", f"{one.server_load:g}")
    open_console().print(streams)


@bench.command("latency")
@click.option("--symbols", default=30, show_default=True, type=click.IntRange(1, 500), help="Selected coins.")
@click.option(
    "--signals",
    default=(1, 4, 30),
    show_default=True,
    multiple=True,
    type=click.IntRange(1, 500),
    help="At a close, in a burst; may be repeated.",
)
@click.option("--closes", default=10, show_default=True, type=click.IntRange(0), help="Closes of each burst.")
@click.option("--delay", default=0, show_default=True, type=click.IntRange(0, 5000), help="Added to each request, ms.")
@click.option("--limits/--no-limits", default=True, show_default=True, help="Whether the exchange has Bybit's limits.")
@click.option("--samples", default=200, show_default=True, type=click.IntRange(0), help="Orders in session mode.")
@click.option("--once-samples", default=60, show_default=True, type=click.IntRange(0), help="Orders in once mode.")
@click.option("--fills", default=100, show_default=True, type=click.IntRange(0), help="Fills by hand, to the ledger.")
@click.option("--speed", default=10.0, show_default=True, type=click.FloatRange(1, 20), help="Market seconds a second.")
@click.option(
    "--hanging-channel",
    is_flag=True,
    help="Session mode without a channel to people and beside one that never answers, at once; ratios.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def latency(
    symbols: int,
    signals: tuple[int, ...],
    closes: int,
    delay: int,
    limits: bool,
    samples: int,
    once_samples: int,
    fills: int,
    speed: float,
    hanging_channel: bool,
    as_json: bool,
) -> None:
    """From a candle's end to its order, and from a fill to the ledger; about a quarter of an hour.

    A burst is a session alone, with the stages of an order and the requests one after the other before the first
    create. The rest goes through Dagster's daemon.
    """
    from trading_assets.bench.latency import measure_latency  # noqa: PLC0415 (imports the exchange)

    report = measure_latency(
        symbols,
        samples,
        once_samples,
        fills,
        speed,
        lambda text: click.echo(text, err=True),
        beside_a_channel=hanging_channel,
        bursts=[one for one in signals if one <= symbols],
        closes=closes,
        delay_ms=delay,
        limits=limits,
    )
    if as_json:
        click.echo(json.dumps(report.as_dict()))
        return
    if report.bursts:
        stages = ("heard", "decided", "reserved", "sent", "accepted")
        burst_table = RichTable("signals", "orders", *(f"{name} s" for name in stages), "first ten s", "serial", "load")
        for burst in report.bursts:
            shares = (*(burst.stages.get(name) for name in stages), burst.first_orders)
            seconds = [f"{one.p50_s:g} / {one.p99_s:g}" if one is not None else "" for one in shares]
            serial = "{} / {}".format(*burst.serial_requests)
            burst_table.add_row(str(burst.signals), str(burst.orders), *seconds, serial, f"{burst.load:g}")
        open_console().print(burst_table)
        open_console().print(
            "From the candle's end: p50 / p99. Serial: requests one after the other before the first create, p50 / most"
        )
    table = RichTable("mode", "market seconds a second", "orders", "p50 s", "p90 s", "p99 s", "slowest s")
    beside = report.beside_a_channel
    for one in (*report.latencies, *((beside.without, beside.hanging) if beside is not None else ())):
        figures = (one.p50_s, one.p90_s, one.p99_s, one.max_s)
        table.add_row(one.mode, f"{one.speed:g}", str(one.samples), *(f"{value:g}" for value in figures))
    open_console().print(table)
    if beside is not None:
        p50, p90, p99 = beside.ratios
        open_console().print(
            f"Beside the channel that hangs ({beside.tries} tries) a latency is {p50:g} times the one without at p50, "
            f"{p90:g} at p90, {p99:g} at p99",
            highlight=False,
        )
    if (books := report.books) is not None:
        open_console().print(
            f"{books.fills} fills were in the ledger after: p50 {books.p50_s:g} s, p90 {books.p90_s:g} s, "
            f"p99 {books.p99_s:g} s, slowest {books.max_s:g} s",
            highlight=False,
        )


@bench.command("idle")
@click.option("--symbols", default=30, show_default=True, type=click.IntRange(1, 500), help="Selected coins.")
@click.option(
    "--seconds", default=600, show_default=True, type=click.IntRange(60, 2400), help="Measured of it, after the start."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def idle(symbols: int, seconds: int, as_json: bool) -> None:
    """What an hour without a signal costs: all that make dev starts, and a session, process by process.

    The minutes about a full hour are waited for: the hourly research is no idleness.
    """
    from trading_assets.bench.idle import measure_idle, table  # noqa: PLC0415 (imports the exchange)

    found = measure_idle(symbols, seconds, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(found.as_dict()))
        return
    console = open_console()
    console.print(table(found))
    for what, counted in (("runs", found.runs), ("ticks", found.ticks)):
        numbers = ", ".join(f"{number} {name}" for name, number in counted.items())
        console.print(f"{what} in {found.measured_s:g} s: {numbers or 'none'}", highlight=False)


@bench.command("launches")
@click.option("--samples", default=20, show_default=True, type=click.IntRange(1), help="Runs of each launcher.")
@click.option(
    "--broker",
    default="amqp://guest:guest@127.0.0.1:5672//",
    show_default=True,
    help="RabbitMQ for the Celery worker; empty leaves that launcher out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def launches(samples: int, broker: str, as_json: bool) -> None:
    """From the sensor's run to its first step, with a process for each run and with a warm Celery worker; minutes."""
    from trading_assets.bench.launches import measure_launches  # noqa: PLC0415 (imports the exchange)

    report = measure_launches(samples, broker, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in report]))
        return
    table = RichTable("launcher", "runs", "to first step, p50 s", "p90 s", "of it queued, p50 s", "CPU s a run")
    for one in report:
        figures = (one.p50_s, one.p90_s, one.queued_p50_s, one.cpu_s)
        table.add_row(one.launcher, str(one.runs), *(f"{value:.2f}" for value in figures))
    open_console().print(table)


@bench.command("backfill")
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 366), help="Length of the range.")
@click.option("--symbols", default=30, show_default=True, type=click.IntRange(1, 500), help="Coins kept of each scan.")
@click.option("--held", is_flag=True, help="The candles are there; they are fetched before time is taken.")
@click.option("--report", "walk_forward", is_flag=True, help="Make the walk-forward report of it, too.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Runs at once.")
@click.option("--dagster-url", help="Keep Dagster's history in this empty PostgreSQL database; default: SQLite.")
@click.option("--database-url", help="Keep the ledger in this empty PostgreSQL database; default: SQLite.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every step.")
def backfill(
    days: int,
    symbols: int,
    held: bool,
    walk_forward: bool,
    processes: int,
    dagster_url: str | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    """A backfill of the whole research through Dagster, from an empty home: time, memory, and where they went."""
    from trading_assets.bench import research  # noqa: PLC0415 (imports the server's parts)
    from trading_assets.bench.measurement import Stores  # noqa: PLC0415 (as above)

    stores = Stores(dagster_url, database_url)
    report = research.backfill(days, symbols, stores, processes, held=held, walk_forward=walk_forward)
    if as_json:
        click.echo(json.dumps(report))
    else:
        open_console().print(research.table(report, f"{days} days of {symbols} coins in {processes} processes"))
        if walk_forward:
            open_console().print(line(research.report_line(report["report"])), soft_wrap=True)


@bench.command("workers")
@click.option("--days", default=4, show_default=True, type=click.IntRange(1, 366), help="Length of the range.")
@click.option("--symbols", default=30, show_default=True, type=click.IntRange(1, 40), help="Coins kept of each scan.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Each has a run, and a core.")
@click.option(
    "--broker", default="amqp://guest:guest@127.0.0.1:5672//", show_default=True, help="RabbitMQ; queues of its own."
)
@click.option("--dagster-url", help="Keep Dagster's history in this empty PostgreSQL database; default: SQLite.")
@click.option("--database-url", help="Keep the ledger in this empty PostgreSQL database; default: SQLite.")
def workers_(
    days: int, symbols: int, workers: int, broker: str, dagster_url: str | None, database_url: str | None
) -> None:
    """A backfill over Celery workers, of one core each, from an empty home, as one JSON object."""
    from trading_assets.bench.measurement import Stores  # noqa: PLC0415 (imports the server's parts)
    from trading_assets.bench.queue_backfill import backfill_by_workers  # noqa: PLC0415 (as above)

    stores = Stores(dagster_url, database_url)
    found = backfill_by_workers(days, symbols, workers, broker, stores, lambda text: click.echo(text, err=True))
    click.echo(json.dumps(found))


@bench.command("history")
@click.option("--symbols", default=30, show_default=True, type=click.IntRange(1, 500), help="Coins.")
@click.option("--months", default=12, show_default=True, type=click.IntRange(1, 60), help="Of candles of a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def history(symbols: int, months: int, as_json: bool) -> None:
    """Import of 1m candles as Binance's archive has them: rows a second. The files are made first; 2 GB of disk."""
    from trading_assets.bench import history as imports  # noqa: PLC0415 (pyarrow)

    found = imports.run(symbols, months, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(
            f"{found['rows']:,} rows of {found['files']} files in {found['seconds']:.1f} s "
            f"({found['rows_per_second']:,} a second, {found['cpu_seconds']:.0f} s of CPU, at most "
            f"{found['peak_mb']:,} MB); again in {found['again_seconds']:.1f} s; the library has "
            f"{found['library_megabytes']:,.0f} MB"
        )


@bench.command("hour")
@click.option("--symbols", default=30, show_default=True, type=click.IntRange(1, 500), help="Coins kept of the scan.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every step.")
def hour(symbols: int, as_json: bool) -> None:
    """The hourly research job through Dagster: once on an empty home, once an hour later."""
    from trading_assets.bench import research  # noqa: PLC0415 (imports the server's parts)

    report = research.hour(symbols)
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, title in (("first", "the first hour, nothing fetched yet"), ("next", "the next hour")):
        open_console().print(research.table(report[name], f"{symbols} coins, {title}"))


@bench.command("home")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def home(as_json: bool) -> None:
    """How large the home gets in a month of minute-by-minute operation, by the retention settings; two minutes."""
    from trading_assets.bench import home as homes  # noqa: PLC0415 (imports the exchange's launcher)

    measured, parts = homes.report()
    if as_json:
        megabytes = {part.what: round(part.bytes / 1e6, 1) for part in parts}
        click.echo(json.dumps({"bytes": measured, "megabytes": megabytes, "total_mb": sum(megabytes.values())}))
    else:
        open_console().print(homes.table(parts))


@bench.command("soak")
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(1), help="Of the clock on the wall.")
@click.option("--speed", default=20.0, show_default=True, type=click.FloatRange(1, 60), help="Market seconds a second.")
@click.option("--dagster-url", help="Keep Dagster's history in this empty PostgreSQL database; default: SQLite.")
@click.option("--database-url", help="Keep the ledger in this empty PostgreSQL database; default: SQLite.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def soak(minutes: float, speed: float, dagster_url: str | None, database_url: str | None, as_json: bool) -> None:
    """Daemon, sensors, hourly job, session and backfills for minutes; exit code 1 if the history is not whole."""
    from trading_assets.bench import soak as soaks  # noqa: PLC0415 (imports the exchange)
    from trading_assets.bench.measurement import Stores  # noqa: PLC0415 (as above)
    from trading_assets.defs.run_history import RunHistory  # noqa: PLC0415 (imports dagster)

    stores = Stores(dagster_url, database_url)
    report = soaks.run_soak(minutes, speed, RunHistory, lambda text: click.echo(text, err=True), stores)
    if as_json:
        click.echo(json.dumps(vars(report)))
    else:
        table = RichTable("what", "figure")
        for name, value in vars(report).items():
            table.add_row(name.replace("_", " "), str(value))
        open_console().print(table)
    if report.lost or report.trouble:
        sys.exit(1)
