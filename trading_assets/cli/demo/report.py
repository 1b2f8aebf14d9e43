"""What the demo prints: a line a stage while it runs, tables at the end. No running of anything here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import pandas as pd
from rich.console import Console
from rich.status import Status
from rich.table import Table

from trading_assets.cli.console import frame_table, line


@dataclass
class Counts:
    """What the demo did, summed over its hours."""

    scanned: int = 0
    candles: int = 0
    backtests: int = 0
    selections: int = 0
    signals: int = 0
    orders: int = 0
    closed: int = 0
    seconds: float = 0.0


@dataclass
class Report:
    """Prints, and keeps the time of each stage."""

    console: Console
    counts: Counts = field(default_factory=Counts)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    _status: Status | None = None

    def say(self, *parts: object) -> None:
        """A line of parts, as `cli.console.line` takes them."""
        self.console.print(line(*parts))

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """A spinner with a text while something runs; plain output gets the line once."""
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(text) as self._status:
            yield
        self._status = None

    def progress(self, text: str) -> None:
        """Change the spinner's text."""
        if self._status is not None:
            self._status.update(text)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        began = time.monotonic()
        yield
        self.add_time(stage, time.monotonic() - began)

    def add_time(self, stage: str, seconds: float) -> None:
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds

    def stages(self) -> None:
        """Time by stage."""
        table = Table("stage", "seconds", title="Where the time went", title_justify="left")
        for stage, seconds in self.stage_seconds.items():
            table.add_row(stage, f"{seconds:.1f}")
        self.console.print(table)

    def frame(self, title: str, rows: pd.DataFrame, columns: dict[str, str]) -> None:
        """A table of the given columns (name to heading); times in `*_ms` become readable."""
        self.console.print(frame_table(title, rows, columns))

    def finish(self, as_json: bool) -> None:
        """The counts: as a sentence, or as one JSON object on the last line."""
        counts = self.counts
        figures = {
            "scans of a coin": counts.scanned,
            "candles": counts.candles,
            "backtests": counts.backtests,
            "selections": counts.selections,
            "signals": counts.signals,
            "orders": counts.orders,
        }
        told = (part for name, count in figures.items() for part in ((f"{count:,}", "bold"), f" {name}, "))
        self.say()
        closed = ((f"{counts.closed:,}", "bold"), " closed in ", (f"{counts.seconds:.0f}", "bold"), " s")
        self.say("Over all hours: ", *told, *closed)
        if as_json:
            print(json.dumps(asdict(counts)), flush=True)
