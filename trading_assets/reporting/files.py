"""Files of reports: a page and its trades, below the home directory. `page` decides what is on the page."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import to_datetime
from trading_assets.reporting.page import render
from trading_assets.reporting.report import Report


@dataclass(frozen=True)
class Written:
    """The page, and its trades as CSV (`figures.TRADE_COLUMNS`)."""

    page: Path
    trades: Path


def write(report: Report, settings: Settings) -> Written:
    """Write a report's files, atomically; the same report gives the same bytes under the same names.

    Of each kind the newest `reports_kept` pages stay.

    Raises:
        OSError: the directory cannot be written.
    """
    folder = settings.home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{report.kind}_{_stamp(report.start_ms)}_{_stamp(report.end_ms)}"
    written = Written(folder / f"{name}.html", folder / f"{name}.csv")
    _replace(written.trades, report.main.trades.to_csv(index=False, lineterminator="\n"))
    _replace(written.page, render(report))
    _keep_newest(folder, report.kind, settings.reports_kept, written.page)
    return written


def _stamp(time_ms: int) -> str:
    return to_datetime(time_ms).strftime("%Y%m%dT%H%M")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)


def _keep_newest(folder: Path, kind: str, kept: int, newest: Path) -> None:
    name = re.compile(rf"{kind}_\d{{8}}T\d{{4}}_\d{{8}}T\d{{4}}\.html")
    others = [path for path in folder.glob(f"{kind}_*.html") if name.fullmatch(path.name) and path != newest]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in others[kept - 1 :]:
        path.unlink(missing_ok=True)
        path.with_suffix(".csv").unlink(missing_ok=True)
