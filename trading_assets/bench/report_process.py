"""The walk-forward report of a range, measured: what `trading-assets bench backfill --report` starts in a process.

Settings come from the environment. The last line of output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trading_assets.core.memory import peak_mb
from trading_assets.core.settings import load_settings
from trading_assets.ledger.database import Database
from trading_assets.market.opening import open_candle_store
from trading_assets.reporting.build import Sources, make_walk_forward, write
from trading_assets.venues import open_market_data


def measure(first_ms: int, last_ms: int) -> dict[str, Any]:
    """Make and write the report of the hours from the first to the last (starts, UTC ms).

    Returns:
        Wall and CPU seconds without those to start the process, its peak of memory, trades of the page, and MB of each
        file by its ending.
    """
    settings, began, wall = load_settings(), time.process_time(), time.perf_counter()
    database = Database.of(settings)
    sources = Sources(settings, database, open_candle_store(settings), open_market_data(settings))
    report = make_walk_forward(sources, first_ms, last_ms)
    written: dict[str, Path | None] = asdict(write(report, settings))
    database.close()
    return {
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_s": round(time.process_time() - began, 1),
        "start_up_cpu_s": round(began, 1),
        "peak_mb": round(peak_mb()),
        "trades": len(report.main.trades),
        "files_mb": {name: round(path.stat().st_size / 1e6, 2) for name, path in written.items() if path is not None},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("first_ms", type=int)
    parser.add_argument("last_ms", type=int)
    given = parser.parse_args()
    print(json.dumps(measure(given.first_ms, given.last_ms)))
