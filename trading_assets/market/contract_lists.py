"""Lists of contracts as they are seen, one file a day: of a past hour, its own ticks and lots can then be known.

A file is a table that `trading-assets history import` reads. What a list means for an hour is not known here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from trading_assets.core.errors import StorageError
from trading_assets.core.models import ContractKind, Instrument
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.timeframes import to_datetime

FOLDER = "contracts"
"""In the home; below it a folder for each market, named as that of its candles."""

_COLUMNS = (
    *(
        "symbol",
        "base_coin",
        "quote_coin",
        "settle_coin",
        "status",
        "listed_ms",
        "delivery_ms",
        "tick_size",
        "qty_step",
    ),
    *("min_qty", "max_market_qty", "min_notional", "max_leverage", "funding_interval_min"),
)


def keep(folder: Path, instruments: Iterable[Instrument], seen_ms: int) -> Path | None:
    """Write the perpetuals of a day (UTC), unless the day has a file; the file that was written.

    Raises:
        StorageError: the folder cannot be written.
    """
    path = folder / f"contracts-{to_datetime(seen_ms):%Y-%m-%d}.csv"
    if path.exists():
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, "seen_ms"])
    for one in sorted(instruments, key=lambda row: row.symbol):
        if one.kind is ContractKind.PERPETUAL:
            values = (getattr(one, name) for name in _COLUMNS)
            writer.writerow([*("" if value is None else str(value) for value in values), seen_ms])
    try:
        private_folder(folder)
        write_private(path, text.getvalue())
    except OSError as error:
        raise StorageError(f"the list of contracts {path} cannot be written: {error.strerror or error}") from error
    return path
