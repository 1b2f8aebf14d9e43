"""`trading-assets history`: real history of files, by hand. What files look like, `history.reading` knows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from trading_assets.cli.console import line, open_console
from trading_assets.cli.opening import announce
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import Timeframe, first_hour_ms, iso, last_hour_ms

if TYPE_CHECKING:
    from rich.console import Console

    from trading_assets.history.importing import Outcome
    from trading_assets.history.library import Library

_MOST_LINES = 20
CANDLES = "history"
"""The folder of what research has read of the library."""
_TIMEFRAMES = [timeframe.value for timeframe in Timeframe]


@click.group()
def history() -> None:
    """Real history: files of candles, trades and funding, brought into a library of the home."""


@history.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--symbol", help="Of files that do not tell their symbol.")
@click.option("--timeframe", type=click.Choice(_TIMEFRAMES), help="Of files that do not tell their timeframe.")
@click.option(
    "--utc-offset",
    "offset_h",
    type=float,
    help="Hours that the files' clock is before UTC.  [default: as the format has]",
)
@click.option("--listed-at", help="Day or hour (UTC) of which lists of contracts are.  [default: the files' own time]")
@click.option("--replace", is_flag=True, help="Rows that disagree with those that are held take their place.")
@click.option("--again", is_flag=True, help="Read files again that were imported before.")
@click.option("--dry-run", is_flag=True, help="Read, check and compare; keep nothing.")
@click.option("--json", "report", type=click.Path(dir_okay=False, path_type=Path), help="Write all findings as JSON.")
def import_(
    paths: tuple[Path, ...],
    symbol: str | None,
    timeframe: str | None,
    offset_h: float | None,
    listed_at: str | None,
    replace: bool,
    again: bool,
    dry_run: bool,
    report: Path | None,
) -> None:
    """Bring PATHS, files or folders, into the library: archives of Bybit and Binance, freqtrade's data, CSV and others.

    Stop it and start it again as you like: a file that was imported is not read again. Exit code 1 tells that a file
    was refused, or contradicts itself or what is held.
    """
    from trading_assets.history.importing import (  # noqa: PLC0415 (pyarrow, and the parts that it reads with)
        HELD,
        IMPORTED,
        REFUSED,
        WOULD,
        Options,
        import_files,
        write_report,
    )
    from trading_assets.history.reading import ImportOptions  # noqa: PLC0415 (as above)
    from trading_assets.market.opening import open_candle_store  # noqa: PLC0415 (as above)

    settings, console = load_settings(), open_console()
    announce(settings)
    library = _library()
    options = Options(
        ImportOptions(symbol, Timeframe(timeframe) if timeframe else None, offset_h),
        replace=replace,
        again=again,
        dry_run=dry_run,
        listed_at_ms=first_hour_ms(listed_at),
    )
    store = open_candle_store(settings, folder=CANDLES)
    with console.status("reading") as status:
        summary = import_files(
            library,
            [path.expanduser() for path in paths],
            options,
            store=store,
            progress=lambda done, total, last: status.update(f"{done:,} of {total:,} files, the last {last.path.name}"),
        )
    for number, outcome in enumerate(one for one in summary.outcomes if dry_run or _is_told(one)):
        if number == _MOST_LINES:
            console.print("  ... and more; --json FILE writes everything", highlight=False)
            break
        _print(console, outcome)
    counts = {name: len(summary.of(name)) for name in (IMPORTED, WOULD, HELD, REFUSED)}
    rows = sum(one.rows for one in summary.outcomes)
    added = sum(found.stored for one in summary.outcomes for found in one.checked)
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    console.print(f"{len(summary.outcomes):,} files: {told}; {rows:,} rows, {added:,} of them new", highlight=False)
    if report is not None:
        write_report(summary, report)
    if not summary.is_clean:
        sys.exit(1)


def _is_told(outcome: Outcome) -> bool:
    return bool(outcome.reason) or outcome.contradicts or any(one.words() for one in outcome.checked)


def _print(console: Console, outcome: Outcome) -> None:
    style = "red" if outcome.reason or outcome.contradicts else "yellow"
    console.print(line((outcome.path.name, style), f"  {outcome.format}  {outcome.reason}".rstrip()))
    if outcome.sample and (outcome.reason or outcome.status == "would be imported"):
        console.print(line(f"    read as: {outcome.sample}"))
    told = [one for one in outcome.checked if one.words()]
    for found in told[:3]:
        console.print(line(f"    {found.symbol} {found.timeframe}: {found.words()}"))
    if len(told) > 3:
        console.print(line(f"    ... and {len(told) - 3} more of its symbols"))


@history.command()
@click.option("--symbol", help="What every file said of one symbol.")
@click.option("--files", is_flag=True, help="Every imported file with its checksum, instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(symbol: str | None, files: bool, as_json: bool) -> None:
    """What the library holds: spans, gaps, where it came from, and which coins ended."""
    from trading_assets.history.summary import overview, words  # noqa: PLC0415 (pyarrow)

    library, console = _library(), open_console()
    found = overview(library)
    if as_json:
        click.echo(
            json.dumps({**found, "files": [vars(one) for one in library.files()], "reports": library.reports(symbol)})
        )
        return
    if files:
        table = Table("file", "format", "rows", "imported", "sha256", "published checksum")
        for one in library.files():
            name, at = Path(one.path).name, iso(one.imported_ms)
            table.add_row(name, one.format, f"{one.rows:,}", at, one.sha256[:16], one.checksum or "none beside it")
        console.print(table)
        return
    if symbol is not None:
        for told in library.reports(symbol):
            console.print(line(f"{Path(told['path']).name}  {told['timeframe']}  {told['rows']:,} rows  {words(told)}"))
        return
    table = Table("symbol", "timeframe", "first", "end", "candles", "missing", "payments", "files", "life")
    for row in found["series"]:
        numbers = (f"{row[name]:,}" for name in ("rows", "missing", "funding", "files"))
        table.add_row(*(row[name] for name in ("symbol", "timeframe", "first", "end")), *numbers, row["life"])
    console.print(table)
    if found["funding_alone"]:
        console.print(f"funding, and no candles, of {len(found['funding_alone'])} more", highlight=False)
    for note in found["notes"]:
        console.print(line((note, "yellow")))


@history.command()
@click.option("--at", "moment", help="Day or hour, UTC.  [default: all that ever were]")
def instruments(moment: str | None) -> None:
    """The contracts that were listed at a time, with tick and lot, and whether those are known of that time."""
    from trading_assets.history.market import HistoryMarket  # noqa: PLC0415 (pyarrow)

    market, time_ms = HistoryMarket(_library()), first_hour_ms(moment)
    lives = market.lives()
    table = Table("symbol", "listed", "ended", "told by", "tick", "lot", "rules")
    for one in market.instruments() if time_ms is None else market.instruments_at(time_ms):
        life = lives[one.symbol]
        ended = "lives" if life.ended_ms is None else iso(life.ended_ms)
        known = time_ms is not None and market.rules_known(one.symbol, time_ms)
        table.add_row(
            *(one.symbol, iso(life.listed_ms), ended, "a list" if life.is_told else "its trades"),
            *(f"{one.tick_size:f}", f"{one.qty_step:f}", "known" if known else "assumed"),
        )
    open_console().print(table)


@history.command()
@click.argument("symbol")
@click.option("--timeframe", type=click.Choice(_TIMEFRAMES), default="1m", show_default=True, help="Of the candles.")
@click.option("--from", "first", help="First hour or day, UTC.  [default: the first]")
@click.option("--to", "last", help="Last hour or day, UTC, included.  [default: the last]")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="FILE.parquet, .feather or .csv."
)
def export(symbol: str, timeframe: str, first: str | None, last: str | None, out: Path) -> None:
    """Write candles of SYMBOL into a file that import, the replay and other programs read."""
    from trading_assets.history.market import HistoryMarket  # noqa: PLC0415 (pyarrow)
    from trading_assets.history.summary import write_candles  # noqa: PLC0415 (as above)

    market = HistoryMarket(_library())
    last_ms = last_hour_ms(last)
    end_ms = market.now_ms() if last_ms is None else last_ms + 3_600_000
    candles = market.candles(symbol, Timeframe(timeframe), first_hour_ms(first) or 0, end_ms)
    write_candles(symbol, candles, out)
    open_console().print(f"{len(candles):,} candles of {symbol} {timeframe} in {out}", highlight=False)


@history.command()
def use() -> None:
    """Make the home one of real history: its research is on the library. It refuses a home with other research.

    It writes the venue and the first hour into `.env` of the home.
    """
    from trading_assets.cli.opening import open_ledger  # noqa: PLC0415
    from trading_assets.core.configuration import ENV_FILE, PREFIX  # noqa: PLC0415
    from trading_assets.core.private_files import write_private  # noqa: PLC0415
    from trading_assets.history.market import HistoryMarket  # noqa: PLC0415 (pyarrow)
    from trading_assets.history.summary import days_of, settings_text  # noqa: PLC0415 (as above)
    from trading_assets.trading.binding import require_market  # noqa: PLC0415

    settings, library = load_settings(), _library()
    market = HistoryMarket(library)
    announce(settings)
    file = settings.home / ENV_FILE
    text, first = settings_text(file, market)
    with open_ledger(settings) as database:
        require_market(database, market, settings.home / "candles" / CANDLES)
    write_private(file, text)
    console = open_console()
    console.print(f"{file} says {PREFIX}VENUE=history; hours from {first}", highlight=False)
    console.print(f"candles: {', '.join(days_of(library))}", highlight=False)
    console.print(
        f"it is {iso(market.now_ms())} there. Next: trading-assets backfill --from DAY --to DAY", highlight=False
    )


def _library() -> Library:
    from trading_assets.history.library import FOLDER, Library  # noqa: PLC0415 (pyarrow)

    return Library(load_settings().home / FOLDER)
