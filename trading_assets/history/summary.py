"""What the library holds, in words and tables for people; and its candles in a file for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet

from trading_assets.core.candles import FUNDING, Candles
from trading_assets.core.configuration import PREFIX
from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.timeframes import DAY_MS, Timeframe, floor_ms, iso
from trading_assets.history.library import Library, Span
from trading_assets.history.lives import Life, clock_ms, lives
from trading_assets.history.market import HistoryMarket
from trading_assets.history.rows import VALUES

_VENUE, _START = f"{PREFIX}VENUE", f"{PREFIX}PARTITIONS_START"


def overview(library: Library) -> dict[str, Any]:
    """`series`: a row of texts and counts for each symbol and timeframe of candles; `notes`: what a person should know;
    `funding_alone`: symbols of which there is funding and no candle."""
    spans, lists = library.spans(), library.contracts()
    known = lives(spans, lists)
    funding = {span.symbol: span for span in spans if span.timeframe == FUNDING}
    candles = [span for span in spans if span.timeframe != FUNDING]
    return {
        "now": iso(clock_ms(known)) if known else None,
        "series": [_row(library, span, known[span.symbol], funding.get(span.symbol)) for span in candles],
        "funding_alone": sorted(set(funding) - set(known)),
        "notes": _notes(candles, known, set(funding), bool(lists)),
    }


def days_of(library: Library) -> list[str]:
    """`1m of 3 coins from 2025-05-04 to 2025-05-21`, for each timeframe of candles, so that a person can name days."""
    found: dict[Timeframe, list[Span]] = {}
    for span in library.spans():
        if span.timeframe != FUNDING:
            found.setdefault(Timeframe(span.timeframe), []).append(span)
    return [
        f"{timeframe.value} of {len(spans)} coin{'s' if len(spans) > 1 else ''} from "
        f"{iso(min(span.first_ms for span in spans))[:10]} to {iso(max(span.end_ms for span in spans) - 1)[:10]}"
        for timeframe, spans in sorted(found.items(), key=lambda one: one[0].ms)
    ]


def _row(library: Library, span: Span, life: Life, funding: Span | None) -> dict[str, Any]:
    timeframe = Timeframe(span.timeframe)
    held = len(library.read(span.symbol, timeframe, span.first_ms, span.end_ms))
    payments = 0
    if funding is not None:
        payments = len(library.read_funding(span.symbol, funding.first_ms, funding.end_ms))
    return {
        "symbol": span.symbol,
        "timeframe": span.timeframe,
        "first": iso(span.first_ms),
        "end": iso(span.end_ms),
        "rows": held,
        "missing": (span.end_ms - span.first_ms) // timeframe.ms - held,
        "funding": payments,
        "files": span.files,
        "life": _life(life),
    }


def _life(life: Life) -> str:
    by = "by a list" if life.is_told else "by its trades"
    return f"lives, {by}" if life.ended_ms is None else f"ended {iso(life.ended_ms)[:16]}, {by}"


def _notes(spans: list[Span], known: Mapping[str, Life], funded: set[str], has_lists: bool) -> list[str]:
    if not known:
        return ["The library is empty: trading-assets history import PATH"]
    notes = []
    without = sorted(set(known) - funded)
    if without:
        notes.append(
            f"No funding of {_some(without)}: their trades pay none, which flatters longs. Import funding files."
        )
    ended = sorted(symbol for symbol, life in known.items() if life.ended_ms is not None)
    notes.append(
        f"{len(ended)} of {len(known)} coins ended before the library does"
        + (f": {_some(ended)}." if ended else ": if only coins of today were imported, results have survivorship bias.")
    )
    guessed = [symbol for symbol in ended if not known[symbol].is_told]
    if guessed:
        notes.append(f"That {_some(guessed)} ended is told by the last trade alone; a list of contracts would know.")
    if not has_lists:
        notes.append("No list of contracts: tick and lot are those that the numbers show, and assumed.")
    estimated = sorted({span.symbol for span in spans if span.estimated})
    if estimated:
        notes.append(f"The turnover of {_some(estimated)} is volume at the typical price.")
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def words(report: Mapping[str, Any]) -> str:
    """The findings of a stored report in one line."""
    counts = [
        f"{number:,} {name}" + (f" (first {report['first'][name]})" if name in report["first"] else "")
        for name, number in report["counts"].items()
    ]
    return "; ".join([*counts, *report["notes"]])


def write_candles(symbol: str, candles: Candles, path: Path) -> None:
    """A table as import and the replay read it: symbol, timeframe, start_ms, prices, volume, turnover.

    Raises:
        ConfigurationError: the file's name ends in something else.
        StorageError: it cannot be written.
    """
    count = len(candles)
    table = pa.table(
        {
            "symbol": pa.array(np.full(count, symbol, dtype=object), type=pa.string()),
            "timeframe": pa.array(np.full(count, candles.timeframe.value, dtype=object), type=pa.string()),
            "start_ms": candles.start_ms,
            **{name: getattr(candles, name) for name in VALUES},
        }
    )
    writers = {".parquet": pa_parquet.write_table, ".feather": pa_feather.write_feather, ".csv": pa_csv.write_csv}
    write = writers.get(path.suffix)
    if write is None:
        raise ConfigurationError(f"{path.name} does not tell its kind; expected .parquet, .feather or .csv")
    try:
        write(table, str(path))
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def settings_text(file: Path, market: HistoryMarket) -> tuple[str, str]:
    """What `.env` of a home of real history says, other lines of it kept; and its first hour.

    Raises:
        ConfigurationError: it names another venue.
    """
    first = min(life.listed_ms for life in market.lives().values())
    start = iso(floor_ms(first, DAY_MS))
    lines = file.read_text().splitlines() if file.is_file() else []
    for one in lines:
        name, _, value = one.partition("=")
        if name.strip() == _VENUE and value.strip().strip("\"'") != "history":
            raise ConfigurationError(
                f"{file} says {one.strip()}: this home is another market's; give history a home of its own "
                "(TRADING_ASSETS_HOME)"
            )
    kept = [one for one in lines if one.partition("=")[0].strip() not in (_VENUE, _START)]
    return "\n".join([*kept, f"{_VENUE}=history", f"{_START}={start}"]) + "\n", start
