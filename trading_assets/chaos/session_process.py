"""A trading session in a process of its own, without Dagster: `python -m trading_assets.chaos.session_process FILE`.

Its settings come from the environment, its selection from the ledger. What it says goes to the file, a line of JSON
each: the moment (ms of this machine) and the text. SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from trading_assets.chaos import planned_exits
from trading_assets.chaos.signal_source import NEVER, selection_row
from trading_assets.core import logs
from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError
from trading_assets.core.models import ContractKind, ContractStatus, Instrument
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.streams import StreamEvent
from trading_assets.core.timeframes import HOUR_MS, floor_ms, local_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.market.store import CandleStore
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.sizing import Size, size_position
from trading_assets.trading.session.log import Check, Heartbeat, SessionMessage, SignalsFound
from trading_assets.trading.session.session import Session
from trading_assets.trading.session.watchlist import newest_selection
from trading_assets.venues import open_account_stream, open_candle_stream, open_exchange

IS_TRADING = "trading: "
"""What a session says when it begins to trade."""

CLOCK_FILE = "clock"
"""A file beside that of the session: seconds by which the machine's clock, as the session sees it, is ahead."""

IS_DOWN, IS_BACK = "is down", "is back"
"""What it says of a link that is broken, and of one that is whole again."""


@dataclass(frozen=True)
class Line:
    """A line that a session has said."""

    wall_ms: int
    text: str


@dataclass
class SessionProcess:
    """A session that runs, as its parent sees it."""

    file: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def lines(self) -> list[Line]:
        """What it has said so far."""
        text = self.file.read_text() if self.file.exists() else ""
        return [Line(**json.loads(line)) for line in text.splitlines() if line.endswith("}")]

    def says(self, words: str, since_ms: int = 0) -> Line | None:
        """The first line with these words since then."""
        return next((line for line in self.lines() if line.wall_ms >= since_ms and words in line.text), None)

    def stop(self, within_s: float = 90.0) -> None:
        """Ask for its end, and end it where it does not follow."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_session(
    folder: Path, environment: dict[str, str], prefix: Sequence[str] = (), *, module: str = __name__
) -> SessionProcess:
    """Start a session.

    Args:
        environment: variables that hold its settings.
        prefix: a command that runs it, as `ip netns exec NAME`.
        module: what runs in the process, if not this one; it takes the same file.
    """
    file = folder / "session.jsonl"
    command = [*prefix, sys.executable, "-m", module, str(file)]
    with (folder / "session.log").open("ab") as log:
        return SessionProcess(file, subprocess.Popen(command, env=environment, stdout=log, stderr=log))


def first_coins(exchange: Exchange, count: int, settings: Settings) -> list[Instrument]:
    """The first `count` USDT perpetuals that trade and of which a position can be opened, by name.

    Raises:
        ExchangeUnavailableError: there are fewer.
    """
    tickers = exchange.tickers()
    rows = [
        row
        for row in exchange.instruments()
        if row.kind is ContractKind.PERPETUAL
        and row.status is ContractStatus.TRADING
        and row.settle_coin == "USDT"
        and isinstance(size_position(row, tickers[row.symbol].mark, settings), Size)
    ]
    if len(rows) < count:
        raise ExchangeUnavailableError(f"the embedded exchange has {len(rows)} coins that trade, expected {count}")
    return sorted(rows, key=lambda row: row.symbol)[:count]


def select_coins(database: Database, now_ms: int, symbols: Sequence[str], timeframe: str) -> None:
    """Put a selection into the ledger that a session can live with, and that finds no signal of its own."""
    hour = floor_ms(now_ms, HOUR_MS) - HOUR_MS
    rows = [selection_row(hour, symbol, timeframe, parameters=NEVER) for symbol in symbols]
    replace_partitions(database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour])


@dataclass(frozen=True)
class _Passed:
    passed: bool = True


def main(
    file: Path,
    *,
    wrap: Callable[[Exchange], Exchange] = lambda exchange: exchange,
    check: Callable[[pd.DataFrame], Check] = lambda _rows: _Passed(),
    hear: Callable[[StreamEvent], None] = lambda _event: None,
    clock_jumps: bool = True,
) -> None:
    """Trade until SIGTERM or SIGINT comes.

    Args:
        wrap: gives the exchange that the session trades on.
        hear: called with each event of the candle stream, in the stream's thread, before the session has it.
        clock_jumps: the clock may be told to jump; each look at it reads a file then.

    Raises:
        ConfigurationError: nothing is selected.
    """
    logs.start("session")
    if clock_jumps:
        _follow_clock(file.with_name(CLOCK_FILE))
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    selected = newest_selection(database)
    if selected is None:
        raise ConfigurationError("nothing is selected: a session needs a selection in its ledger")
    with file.open("a", buffering=1) as out:

        def say(text: str) -> None:
            out.write(json.dumps({"wall_ms": local_ms(), "text": text}) + "\n")

        def tell(one: SessionMessage | SignalsFound | Heartbeat) -> None:
            if isinstance(one, SessionMessage):
                say(one.text)

        exchange = wrap(open_exchange(settings))
        context = ExecutionContext(database, exchange, settings, send=lambda one: say(f"{one.title}: {one.body}"))
        session = Session(
            context=context,
            store=CandleStore(settings.candle_store, btc=settings.symbols.btc),
            selected=selected,
            run="session-process",
            make_stream=lambda topics, deliver: open_candle_stream(settings, topics, _both(hear, deliver)),
            make_account_stream=lambda deliver: open_account_stream(settings, deliver),
            check=check,
            tell=tell,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: session.stop())
        try:
            with planned_exits.known():
                say(f"ended: {session.run()}")
        finally:
            exchange.close()
            database.close()


def _both(first: Callable[[StreamEvent], None], second: Callable[[StreamEvent], None]) -> Callable[[StreamEvent], None]:
    def deliver(event: StreamEvent) -> None:
        first(event)
        second(event)

    return deliver


def _follow_clock(file: Path) -> None:
    """Let the clock of this process jump as the file says."""
    real, real_ns = time.time, time.time_ns

    def ahead_s() -> int:
        try:
            return int(file.read_text() or 0)
        except OSError:
            return 0

    time.time = lambda: real() + ahead_s()
    time.time_ns = lambda: real_ns() + ahead_s() * 1_000_000_000


if __name__ == "__main__":
    main(Path(sys.argv[1]))
