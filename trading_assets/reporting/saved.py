"""A report's figures as JSON beside its page, to be read by programs and by `report compare`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import iso
from trading_assets.reporting.answers import answers
from trading_assets.reporting.figures import TRADE_COLUMNS, daily_returns
from trading_assets.reporting.report import Report

FORMAT = 1
"""Raised when a name changes its meaning or goes; new names do not raise it."""


@dataclass(frozen=True)
class SavedReport:
    """What a page's JSON holds, and its trades.

    Attributes:
        name: of the files, without ending.
        figures: by account, the main one first, then by name as in `figures.Figures`; None: there is none.
        days: return of each day of the main account, percent, by day (`2026-03-02`).
        facts, notes, assumptions: as on the page.
        trades: `figures.TRADE_COLUMNS`; None where the CSV is not there.
    """

    name: str
    title: str
    begins: str
    ends: str
    figures: Mapping[str, Mapping[str, float | None]]
    days: Mapping[str, float]
    facts: Mapping[str, str]
    notes: Sequence[str]
    assumptions: Sequence[str]
    answers: Sequence[Mapping[str, Any]]
    trades: pd.DataFrame | None

    @property
    def main(self) -> Mapping[str, float | None]:
        """The figures of the account that the report is about."""
        return next(iter(self.figures.values()))


def as_json(report: Report) -> str:
    """The figures of a report; the same report gives the same text. NaN and infinity are null."""
    found = {
        "format": FORMAT,
        "kind": report.kind,
        "title": report.title,
        "from": iso(report.start_ms),
        "to": iso(report.end_ms),
        "facts": report.facts,
        "answers": answers(report),
        "figures": {track.curve.name: track.figures for track in (report.main, *report.beside)},
        "returns_pct": {curve.name: float(curve.returns_pct[-1]) for curve in report.curves},
        "under_costs": report.under_costs,
        "matched": None
        if report.matched is None
        else {
            "trades": report.matched.trades,
            "gross_r": report.matched.gross_r,
            "draws": report.matched.draws,
            "band_r": report.matched.band_r,
            "p_value": report.matched.p_value,
        },
        "evidence": report.evidence,
        "days": daily_returns(report.main.curve),
        "refused": report.refused,
        "notes": report.notes,
        "assumptions": report.assumptions,
    }
    return orjson.dumps(_plain(found), option=orjson.OPT_INDENT_2).decode() + "\n"


def _plain(value: Any) -> Any:
    """Only what JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def read_saved(path: Path) -> SavedReport:
    """Read the JSON beside a report's page, and the trades beside it.

    Args:
        path: of the page, its JSON or its CSV: the three have one name.

    Raises:
        DataError: it is not there, or no such file.
    """
    file = path.with_suffix(".json")
    try:
        held = orjson.loads(file.read_bytes())
        form = held["format"]
        if form != FORMAT:
            raise DataError(f"{file} has format {form}, expected {FORMAT}: make the report again")
        trades_file = path.with_suffix(".csv")
        trades = pd.read_csv(trades_file) if trades_file.exists() else None
        if trades is not None and list(trades.columns) != TRADE_COLUMNS:
            raise DataError(f"{trades_file} has other columns than the trades of a report: make the report again")
        return SavedReport(
            file.stem,
            str(held["title"]),
            str(held["from"]),
            str(held["to"]),
            held["figures"],
            {str(day): float(value) for day, value in held["days"].items()},
            held["facts"],
            held["notes"],
            held["assumptions"],
            held["answers"],
            trades,
        )
    except FileNotFoundError:
        raise DataError(
            f"{file} is not there: a report has it beside its page since figures are saved; make the report again, or "
            "name another one"
        ) from None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{file} holds no figures of a report: {type(error).__name__}: {error}") from None
