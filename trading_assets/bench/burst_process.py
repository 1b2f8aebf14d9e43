"""The session of a measurement of bursts, in a process of its own: `python -m trading_assets.bench.burst_process FILE`.

It trades as the session of the `trade` job does, and writes beside FILE when it heard a candle, when an order came to
which stage, and when it asked the exchange for what (`STAGES_FILE`, a line of JSON each; times in ns of this machine).
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from trading_assets.chaos import session_process
from trading_assets.core.logs import OURS
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import ENTRY_SIGNALS
from trading_assets.core.streams import ClosedCandle, StreamEvent
from trading_assets.defs.checks.schema import validate

STAGES_FILE = "stages.jsonl"
HEARD, CALL = "heard", "call"
DECIDED, RESERVED, SENT = "signal_found", "order_reserved", "order_sent"
"""Events of the log about a signal and its order."""

WRITE_EVERY_S = 0.3


class _Notes:
    """What is to be written; noting costs a microsecond, and a thread writes."""

    def __init__(self, file: Path) -> None:
        self._file, self._waiting = file, deque[dict[str, Any]]()
        threading.Thread(target=self._write, name="notes", daemon=True).start()

    def add(self, **note: Any) -> None:
        self._waiting.append(note)

    def _write(self) -> None:
        with self._file.open("a", buffering=1) as out:
            while True:
                time.sleep(WRITE_EVERY_S)
                while self._waiting:
                    out.write(json.dumps(self._waiting.popleft()) + "\n")


class _Stages(logging.Handler):
    """Notes the lines of the log that tell the stage of an order."""

    def __init__(self, notes: _Notes) -> None:
        super().__init__(logging.INFO)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", "")
        if event in (DECIDED, RESERVED, SENT):
            self._notes.add(what=event, at_ns=time.time_ns(), signal_id=getattr(record, "signal_id", ""))


class _Timed:
    """An exchange each of whose calls is noted."""

    def __init__(self, exchange: Exchange, notes: _Notes) -> None:
        self._exchange, self._notes = exchange, notes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._exchange, name)
        if not callable(found):
            return found

        def timed(*arguments: Any, **named: Any) -> Any:
            began_ns = time.time_ns()
            try:
                return found(*arguments, **named)
            finally:
                thread = threading.current_thread().name
                self._notes.add(what=CALL, name=name, began_ns=began_ns, ended_ns=time.time_ns(), thread=thread)

        return timed


def main(file: Path) -> None:
    """Trade until SIGTERM or SIGINT comes."""
    notes = _Notes(file.with_name(STAGES_FILE))
    ours = logging.getLogger(OURS)
    ours.setLevel(logging.INFO)
    ours.addHandler(_Stages(notes))

    def hear(event: StreamEvent) -> None:
        if isinstance(event, ClosedCandle):
            notes.add(what=HEARD, at_ns=time.time_ns(), close_ms=event.start_ms + event.timeframe.ms)

    session_process.main(
        file,
        wrap=lambda exchange: _Timed(exchange, notes),
        check=lambda rows: validate(ENTRY_SIGNALS, rows),
        hear=hear,
        clock_jumps=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
