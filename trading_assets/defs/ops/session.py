"""The `trade` job's session: a thread trades; the op logs its messages, and waits for its end or for a cancel.

So no order waits for Dagster's event log, and a cancel never falls between an order and its record.
"""

import queue
import threading

import dagster as dg
import psutil

from trading_assets.core.foreign_text import plain
from trading_assets.core.schemas import ENTRY_SIGNALS
from trading_assets.defs import metadata as md
from trading_assets.defs.checks.schema import validate
from trading_assets.defs.ops.execution_context import make_execution_context
from trading_assets.defs.ops.signal_events import ENTRY_SIGNALS_KEY, log_signals
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
    require_market,
)
from trading_assets.trading.session.lease import AccountTakenError
from trading_assets.trading.session.log import Heartbeat, SessionMessage, SignalsFound
from trading_assets.trading.session.session import Session
from trading_assets.trading.session.watchlist import newest_selection
from trading_assets.venues import open_account_stream, open_candle_stream

SERVES = "trading_assets/serves"
"""Tag of a session's run: the selection that it trades on."""

STOP_WITHIN_S = 60.0
"""How long a cancelled run waits for what is being sent."""


@dg.op(
    ins={"account": dg.In(str, description="name of the account; empty: that of the settings")},
    description="Lives with the newest selection: streams its candles, decides as each one closes, sends the orders at "
    "once, and hands over to the run of the next selection. Cancel the run and trading stops; positions keep their "
    "stops at the exchange.",
)
def trade_session(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
    notifier: NotifierResource,
    account: str,
) -> None:
    selected = newest_selection(database.get())
    if selected is None:
        context.log.info("nothing is selected yet: materialise strategy_selections first")
        return
    context.instance.add_run_tags(context.run_id, {SERVES: selected.key})
    configured = settings.get(account)
    require_market(exchange.market_data(), trades=True)
    messages: queue.SimpleQueue[SessionMessage | SignalsFound | Heartbeat] = queue.SimpleQueue()
    session = Session(
        context=make_execution_context(settings, database, exchange, notifier, account),
        store=candle_store.local(),
        selected=selected,
        run=context.run_id,
        make_stream=lambda topics, deliver: open_candle_stream(configured, topics, deliver),
        make_account_stream=lambda deliver: open_account_stream(configured, deliver),
        check=lambda rows: validate(ENTRY_SIGNALS, rows),
        tell=messages.put,
        newest_settings=settings.newest(account),
    )
    worker = _Worker(session)
    worker.start()
    is_planned_stop = False
    try:
        while worker.is_alive():
            _log_messages(context, selected.hour_ms, messages, wait_s=0.5)
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        if _is_canceled(context):
            raise
        is_planned_stop = True  # such as an update of the machine: no failure, the next session goes on
    finally:
        # Also when the run is cancelled: what is being sent is finished, then the lease is given back.
        session.stop()
        worker.join(STOP_WITHIN_S)
        _log_messages(context, selected.hour_ms, messages, wait_s=0.0)
    if isinstance(worker.error, AccountTakenError):
        context.log.warning(plain(worker.error))
        context.add_output_metadata({"ended": str(worker.error)})
        return
    if worker.error is not None:
        raise worker.error
    reason = "its process was asked to end" if is_planned_stop else worker.reason
    context.log.info(plain(f"session ended: {reason}"))
    context.add_output_metadata({"ended": reason})


def _is_canceled(context: dg.OpExecutionContext) -> bool:
    """Whether somebody has asked Dagster to end the run."""
    run = context.instance.get_run_by_id(context.run_id)
    return run is None or run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


class _Worker(threading.Thread):
    """Runs a session; afterwards `reason` or `error` tells why it ended."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="session", daemon=True)
        self._session = session
        self.reason = ""
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.reason = self._session.run()
        except BaseException as error:  # noqa: BLE001 (raised again by the op)
            self.error = error


def _log_messages(
    context: dg.OpExecutionContext,
    hour_ms: int,
    messages: "queue.SimpleQueue[SessionMessage | SignalsFound | Heartbeat]",
    *,
    wait_s: float,
) -> None:
    """Log every message that is there; wait at most `wait_s` seconds for the first."""
    try:
        message = messages.get(timeout=wait_s) if wait_s else messages.get_nowait()
        while True:
            _log(context, hour_ms, message)
            message = messages.get_nowait()
    except queue.Empty:
        return


def _log(context: dg.OpExecutionContext, hour_ms: int, message: SessionMessage | SignalsFound | Heartbeat) -> None:
    match message:
        case SessionMessage():
            (context.log.warning if message.is_warning else context.log.info)(message.text)
        case SignalsFound():
            if not isinstance(message.check, dg.AssetCheckResult):
                raise TypeError(f"expected the result of a schema check, found {message.check!r}")
            log_signals(context, message.rows, hour_ms, message.check, dict(message.skipped))
        case Heartbeat():
            context.log_event(_observation(message, hour_ms))


def _observation(heartbeat: Heartbeat, hour_ms: int) -> dg.AssetObservation:
    numbers = {
        "candles decided": heartbeat.closes,
        "signals": heartbeat.signals,
        "orders executed": heartbeat.executed,
        "orders rejected": heartbeat.rejected,
        "signals waiting": heartbeat.refused,
        "candles read by REST": heartbeat.by_rest,
        "stream connections": heartbeat.connections,
        "stream messages": heartbeat.messages,
        "candle end to decision, p50 ms": heartbeat.latency_p50_ms,
        "candle end to decision, slowest ms": heartbeat.latency_max_ms,
        "memory MB": round(psutil.Process().memory_info().rss / 1e6),
    }
    return dg.AssetObservation(
        ENTRY_SIGNALS_KEY,
        partition=key_of(hour_ms),
        description="How the session lives, since the last observation.",
        metadata={
            **{name: value for name, value in numbers.items() if value is not None},
            "no signal because": md.counts(dict(heartbeat.skipped), "reason"),
        },
    )
