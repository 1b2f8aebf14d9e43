"""Explains an order, from its result back to its candles: each step with its link in the UI and the run that made it.

`ledger.tracing` reads the rows; this module presents them. No Dagster: links are made from the UI's address.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trading_assets.backtesting.made_with import costs_told
from trading_assets.core.errors import DataError
from trading_assets.core.foreign_text import plain as plain_text
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, floor_ms, hour_key, iso
from trading_assets.core.trace import trace_id_of
from trading_assets.ledger import dca, evidence, grids, tracing
from trading_assets.ledger.database import Database
from trading_assets.ledger.evidence import Evidence
from trading_assets.ledger.grids import FillRow, Grid, GridOrder, LevelRow
from trading_assets.ledger.orders import SIZE
from trading_assets.ledger.tracing import Origin, Outcome, Row

GONE = "not kept any more (see the retention settings)"

SAME = "the same"

_SHOWN = 4
"""Values that a line names of a row that differs today."""

SELECTIONS = "strategy_selections"


@dataclass(frozen=True)
class Links:
    """Addresses of pages of Dagster's UI."""

    base: str

    def partition(self, asset: str, hour_ms: int) -> str:
        """An asset's page at the partition of an hour. `asset` is its key, the parts joined by `/`."""
        query = urlencode({"view": "partitions", "partition": hour_key(hour_ms)})
        return f"{self.base.rstrip('/')}/assets/{quote(asset)}?{query}"

    def run(self, run_id: str) -> str:
        return f"{self.base.rstrip('/')}/runs/{quote(run_id)}"


@dataclass(frozen=True)
class Step:
    """One step back, or on: what it is, what was found, where it is shown, who made it.

    Attributes:
        today: whether the ledger's row is still what it was when the signal was written, and if not, what differs; None
            where that is no question.
        link: page of the UI; None where there is none.
        run_id: Dagster run that wrote it; None where it is not known.
        values: the rows behind it, for programs.
    """

    what: str
    found: str
    today: str | None = None
    link: str | None = None
    run_id: str | None = None
    run_link: str | None = None
    code_version: str | None = None
    values: Any = None


@dataclass(frozen=True)
class Explanation:
    """An order, or a signal without one, step by step: the result first, its causes after it.

    Attributes:
        trace_id: what lines of the log and spans about it have.
    """

    signal_id: str
    title: str
    steps: tuple[Step, ...] = field(default=())

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.signal_id)


def explain(database: Database, text: str, links: Links, btc: str) -> Explanation:
    """Explain the order of an order link id, an exchange's order id or a signal id; a unique beginning is enough.

    An order of a grid is explained by its level and its grid.

    A trace id names it, too, in full.

    Raises:
        DataError: there is none, or several begin so.
    """
    of_dca = _of_dca(database, text)
    if of_dca is not None:
        return of_dca
    of_grid = grids.beginning_with(database, text)
    if len(of_grid) > 1:
        raise DataError(f"{text!r} begins several orders of grids, such as {of_grid[0].order_link_id}: give more of it")
    if of_grid:
        return _of_grid(database, of_grid[0])
    signal_id = tracing.find_signal(database, text)
    with database.read() as connection:
        outcome = tracing.outcome(connection, signal_id)
        candles = tracing.candles_read(outcome.signal, btc)
        today = tracing.origin(connection, outcome.signal, candles)
        kept = evidence.read(connection, signal_id)
    signal = outcome.signal
    title = f"{signal['position_type']} {signal['symbol']} {signal['timeframe']} by {signal['strategy']}"
    return Explanation(signal_id, title, (*_forward(outcome, links), *_back(signal, kept, today, candles, links)))


def _of_dca(database: Database, text: str) -> Explanation | None:
    """An order of a DCA plan, by its order link id or the exchange's id in full; None where it is none."""
    with database.read() as connection:
        order = dca.order_by_link(connection, text)
        if order is None:
            return None
        plan = dca.by_id(connection, order.plan_id)
        fills = [row for row in dca.fills_of(connection, plan) if row.order_link_id == order.order_link_id]
    price = "at the market" if order.price is None else f"at {order.price}"
    became = f"{order.status}, {order.filled_qty} filled" + (f": {order.reason}" if order.reason else "")
    place = f"round {order.round + 1}" if order.due_ms is None else f"due at {iso(order.due_ms)}"
    step = "" if order.step is None else f" {order.step}"
    amounts = f"{plan.side.value} ${plan.amount} {plan.schedule}, at most ${plan.max_deployed}"
    steps = [Step("order", f"{order.side.value} {order.qty} {price}, {became}", values=vars(order))]
    steps += [Step("fill", f"{iso(one.time_ms)}, {one.qty} at {one.price}, fee {one.fee}") for one in fills]
    steps.append(Step("purpose", f"{order.purpose}{step}; {place}; stop {order.stop_loss}, target {order.take_profit}"))
    steps.append(Step("plan", f"{plan.plan_id}: {amounts}; it is {plan.state}", values=vars(plan)))
    title = f"{order.side.value} {order.symbol} by DCA plan {plan.plan_id}"
    return Explanation(order.order_link_id, title, tuple(steps))


def _of_grid(database: Database, order: GridOrder) -> Explanation:
    """An order of a grid: what became of it, its level, what the level did before and after, and the grid."""
    with database.read() as connection:
        grid = grids.by_id(connection, order.grid_id)
        levels = [row for row in grids.levels_of(connection, grid) if row.generation == order.generation]
        others = [
            one
            for one in grids.orders_of(connection, order.grid_id)
            if (one.generation, one.level_index) == (order.generation, order.level_index)
        ]
        names = (order.order_link_id, order.order_id)
        fills = [row for row in grids.fills_of(connection, grid) if row.order_link_id in names or row.order_id in names]
    at = "" if order.price is None and order.trigger_price is None else f" at {order.price or order.trigger_price}"
    found = f"{order.status}, {order.filled_qty} of {order.qty} filled"
    why = order.cancel or order.reason
    sent = f"{iso(order.created_ms)}, {order.purpose} {order.side.value} {order.qty}{at}"
    steps = [Step("order", found + (f": {why}" if why else ""), values=_row(order)), Step("written", sent)]
    steps += [
        Step("fill", f"{iso(row.time_ms)}, {row.qty} at {row.price}, fee {row.fee}", values=_row(row)) for row in fills
    ]
    if order.level_index is not None:
        level = next((one for one in levels if one.level_index == order.level_index), None)
        told = (
            "laid anew since"
            if level is None
            else f"{level.side.value} first, {level.low} to {level.high}, {level.qty}"
        )
        steps.append(Step(f"level {order.level_index}", told, values=None if level is None else _row(level)))
        around = [one for one in others if abs(one.round - order.round) == 1]
        steps += [
            Step(
                "before it" if one.round < order.round else "after it",
                f"{one.purpose} {one.side.value} {one.qty} at {one.price}, {one.status} ({one.order_link_id})",
            )
            for one in around
        ]
    state = f"{grid.kind} {grid.spacing}, {grid.levels} levels from {grid.low} to {grid.high}, {grid.state}"
    steps.append(Step(f"grid {grid.grid_id}", f"{state}, generation {grid.generation}", values=_row(grid)))
    title = f"{order.purpose} {order.side.value} of the {grid.kind} grid in {grid.symbol}"
    return Explanation(order.order_link_id, title, tuple(steps))


def _row(row: GridOrder | FillRow | LevelRow | Grid) -> dict[str, Any]:
    return {name: value if isinstance(value, str | int | None) else str(value) for name, value in vars(row).items()}


def plain(explanation: Explanation) -> dict[str, Any]:
    """The same as values for JSON; money as text, so that nothing is rounded."""
    return {
        "signal_id": explanation.signal_id,
        "trace_id": explanation.trace_id,
        "title": explanation.title,
        "steps": [
            {name: _plain(value) for name, value in vars(step).items() if value is not None}
            for step in explanation.steps
        ],
    }


def markdown(explanation: Explanation) -> str:
    """The same as a table for the UI."""
    lines = [f"**{_cell(explanation.title)}** `{explanation.signal_id}`", "", "| step | found | today | run | code |"]
    lines.append("|---|---|---|---|---|")
    for step in explanation.steps:
        what = f"[{step.what}]({step.link})" if step.link else step.what
        run = f"[{step.run_id[:8]}]({step.run_link})" if step.run_id and step.run_link else ""
        lines.append(
            f"| {what} | {_cell(step.found)} | {_cell(step.today or '')} | {run} | {step.code_version or ''} |"
        )
    return "\n".join(lines)


def print_explanation(explanation: Explanation, console: Console) -> None:
    """The same for a person: links can be clicked where the terminal knows them, and are printed below."""
    columns = ("step", "found", "today", "run", "code")
    table = Table(*columns, title=Text(plain_text(explanation.title)), title_justify="left", show_lines=False)
    for step in explanation.steps:
        what = Text(step.what, style=f"link {step.link}" if step.link else "")
        run = Text((step.run_id or "")[:8], style=f"link {step.run_link}" if step.run_link else "")
        found, today = Text(plain_text(step.found)), Text(plain_text(step.today or ""))
        table.add_row(what, found, today, run, plain_text(step.code_version or ""))
    console.print(table)
    console.print(Text(plain_text(f"signal {explanation.signal_id}")), soft_wrap=True)
    console.print(Text(f"trace {explanation.trace_id}"), soft_wrap=True)
    shown: dict[str, str] = {}
    for step in explanation.steps:
        for address, name in ((step.link, step.what), (step.run_link, f"run of {step.what}")):
            if address is not None:
                shown.setdefault(address, name)
    for address, name in shown.items():
        console.print(Text(plain_text(f"  {name}: {address}")), soft_wrap=True)


def signals_markdown(rows: Iterable[Mapping[Any, Any]], links: Links) -> str:
    """New signals with the pages that they came from, as a table for the UI."""
    lines = ["| signal | selection | backtests | candles |", "|---|---|---|---|"]
    for row in rows:
        hour, timeframe = int(row["hour_ms"]), str(row["timeframe"])
        shown = {"selection": SELECTIONS, "backtests": _backtests(row), "candles": f"candles/{timeframe}"}
        cells = [f"[{hour_key(hour)}]({links.partition(asset, hour)})" for asset in shown.values()]
        lines.append(f"| `{row['signal_id']}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _forward(outcome: Outcome, links: Links) -> list[Step]:
    """What became of the signal."""
    signal, order = outcome.signal, outcome.order
    steps = [_result(outcome)]
    for row in outcome.closings:
        found = (
            f"{iso(row['closed_ms'])} at its {row['reason']}: {row['qty']} at {row['exit_price']} (entry "
            f"{row['entry_price']}), PnL {row['pnl']:+f} USD after {row['fees']} fees"
        )
        steps.append(Step(f"closing {row['order_id'][:8]}", found, values=row))
    for row in reversed(outcome.decided):
        steps.append(_decided(signal, row, links))
    for name, rows in (("entry fills", outcome.entries), ("exit fills", outcome.exits), ("funding", outcome.funding)):
        if rows:
            fees = sum((row["fee"] for row in rows), Decimal(0))
            parts = ", ".join(f"{row['qty']} at {row['price']}" for row in rows[:5])
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            found = f"{fees:+f} USD paid" if name == "funding" else f"{parts}{more}; fee {fees} USD"
            steps.append(Step(name, found, values=list(rows)))
    if order is not None:
        notes = [str(row["detail"] or "") for row in outcome.events]
        size = next((f" ({note})" for note in notes if note.startswith(SIZE)), "")
        course = " → ".join(
            row["status"] for row, note in zip(outcome.events, notes, strict=True) if not note.startswith(SIZE)
        )
        found = (
            f"{order['side']} {order['qty']}{size}, stop {order['stop_loss']}, target {order['take_profit']}, "
            f"{order['leverage']}x; {course}" + (f" ({order['reason']})" if order["reason"] else "")
        )
        values = {**order, "events": list(outcome.events)}
        steps.append(Step(f"order {order['order_link_id']}", found, values=values))
    found = (
        f"{iso(signal['created_at_ms'])} on the bar closed {iso(signal['signal_timestamp_ms'])}: entry "
        f"{signal['entry_price']:g}, confidence {signal['confidence']:g} %, {signal['status']}"
        + (f" ({signal['reason']})" if signal["reason"] else "")
    )
    hour, run_id = int(signal["hour_ms"]), signal["run_id"]
    steps.append(
        Step(
            "signal",
            found,
            link=links.partition("entry_signals", hour),
            run_id=run_id,
            run_link=_run(links, run_id),
            values=signal,
        )
    )
    return steps


def _decided(signal: Row, row: Row, links: Links) -> Step:
    """What the exit plan said, with the candle that it came from."""
    timeframe, close_ms = signal["timeframe"], int(row["bar_close_ms"])
    found = (
        f"{row['detail']}, of the {timeframe} candle closed {iso(close_ms)}: stop {row['stop_loss']}, target "
        f"{row['take_profit']} from then on; decided {iso(row['time_ms'])}, {row['state']}"
    )
    link = links.partition(f"candles/{timeframe}", floor_ms(close_ms - 1, HOUR_MS))
    return Step(f"exit plan: {row['kind']}", found, link=link, values=row)


def _result(outcome: Outcome) -> Step:
    order = outcome.order
    if order is None:
        reason = outcome.signal["reason"] or "nothing was sent"
        return Step("result", f"no order: the signal is {outcome.signal['status']} ({reason})")
    values = {"pnl": outcome.pnl, "funding_paid": outcome.funding_paid, "net": outcome.pnl - outcome.funding_paid}
    if not outcome.closings:
        text = "the position is open" if order["status"] == "confirmed" else f"the order is {order['status']}"
        return Step("result", text, values={**values, "closed": False})
    closed = sum((row["qty"] for row in outcome.closings), Decimal(0))
    part = "" if closed >= (order["filled_qty"] or closed) else f" so far, {closed} of {order['filled_qty']} closed"
    found = f"net {values['net']:+f} USD (PnL {outcome.pnl:+f}, funding paid {outcome.funding_paid:+f}){part}"
    return Step("result", found, values={**values, "closed": not part})


def _back(
    signal: Row, kept: Evidence | None, today: Origin, candles: list[tuple[str, str]], links: Links
) -> list[Step]:
    """What the signal came from: as it was when the signal was written, and whether it still is."""
    hour = int(signal["hour_ms"])
    origin = kept.origin if kept is not None else _of_this_decision(signal, today)

    def step(what: str, asset: str, then: Row | None, now: Row | None, tell: Callable[[Row], str]) -> Step:
        write = origin.writes.get(asset, {})
        run_id, code = write.get("run_id"), write.get("code_version")
        found = tell(then) if then is not None else _missing(now)
        compared = None
        if kept is not None:
            compared = _compared(then, now) + _written_by(write, today.writes.get(asset, {}))
        return Step(what, found, compared, links.partition(asset, hour), run_id, _run(links, run_id), code, then)

    steps = [
        _evidence(kept),
        step("selection", SELECTIONS, origin.selection, today.selection, _selected),
        step("backtest", _backtests(signal), origin.backtest, today.backtest, _backtested),
        Step("parameters", str(signal["parameters"])),
        step("scan", "market_scan", origin.scan, today.scan, _scanned),
    ]
    for timeframe, symbol in candles:
        key = (timeframe, symbol)
        asset = f"candles/{timeframe}"
        steps.append(
            step(f"candles {timeframe} {symbol}", asset, origin.candles.get(key), today.candles.get(key), _held)
        )
    if kept is not None and kept.candles:
        read = ", ".join(f"{name} {row['bars']} ({row['content_hash']})" for name, row in kept.candles.items())
        values = {"candles": dict(kept.candles), "indicators": dict(kept.indicators)}
        steps.append(Step("candles decided on", f"bars and content: {read}", values=values))
    failed = [f"{row['check_name']} of {row['asset']}: {row['detail']}" for row in origin.verdicts if not row["passed"]]
    told = f"{len(origin.verdicts) - len(failed)} of {len(origin.verdicts)} blocking checks passed"
    if origin.verdicts:
        steps.append(Step("checks", "; ".join([told, *failed]), values=list(origin.verdicts)))
    return steps


def _evidence(kept: Evidence | None) -> Step:
    if kept is None:
        return Step("evidence", "no snapshot: the signal is older than these; below is what the ledger has today")
    state = "it has its hash" if kept.is_intact else "ITS CONTENT DOES NOT HAVE THIS HASH: it was changed"
    found = f"kept when the signal was written, {iso(kept.time_ms)}; SHA-256 {kept.content_hash}, {state}"
    return Step("evidence", found, values={"content_hash": kept.content_hash, "is_intact": kept.is_intact})


def _of_this_decision(signal: Row, today: Origin) -> Origin:
    """Today's rows where they are those of the decision: an hour may have been written again."""

    def same(row: Row | None) -> Row | None:
        decisive = ("timeframe", "strategy", "parameters")
        return row if row is not None and all(row[name] == signal[name] for name in decisive) else None

    return replace(today, selection=same(today.selection), backtest=same(today.backtest))


def _missing(now: Row | None) -> str:
    if now is None:
        return GONE
    return f"its hour was written again since: today {now['strategy']} {now['timeframe']} {now['parameters']}"


def _compared(then: Row | None, now: Row | None) -> str:
    """Whether today's row is the one of the snapshot."""
    if then is None or now is None:
        return SAME if then is now else GONE if now is None else "there was none"
    different = [name for name in then if name in now and _settled(then[name]) != _settled(now[name])]
    if not different:
        return SAME
    shown = ", ".join(f"{name} {_short(then[name])} → {_short(now[name])}" for name in different[:_SHOWN])
    more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
    return f"differs: {shown}{more}"


def _written_by(then: Row, now: Row) -> str:
    """Who wrote the partition again, where somebody did."""
    run_id = now.get("run_id")
    return f" (written again by {run_id[:8]})" if run_id and then and run_id != then.get("run_id") else ""


def _settled(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _selected(row: Row) -> str:
    return (
        f"as of {iso(as_of_ms(row['hour_ms']))}: score {row['score']:.4g}, {row['configurations_tried']} tried, "
        f"deflated Sharpe {_chance(row['deflated_sharpe'])}, p {_chance(row['p_value_corrected'])}; {row['scan_id']}"
    )


def _backtested(row: Row) -> str:
    return (
        f"{row['total_trades']} trades in {row['bars']} bars, {row['win_rate']:.4g} % won, profit factor "
        f"{row['profit_factor']:.3g}, PnL {row['total_pnl']:+.2f} USD, drawdown {row['max_drawdown']:.3g} %; out of "
        f"sample {row['out_of_sample_trades']} trades {row['out_of_sample_pnl']:+.2f} USD"
    ) + (f"; {costs}" if (costs := costs_told(row)) else "")


def _scanned(row: Row) -> str:
    rules = f"; tick, lot, leverage {row['contract_rules']}" if row.get("contract_rules") else ""
    return f"rank {row['rank']}, range {row['volatility_24h']:.3g} %, turnover {row['volume_24h']:,.0f} USD{rules}"


def _held(row: Row) -> str:
    return (
        f"{row['bars']} of {row['expected_bars']} candles ({row['coverage_pct']:.4g} %) up to "
        f"{iso(row['last_ms'] + Timeframe(row['timeframe']).ms)}, content {row['content_hash']}"
        + (f"; left out: {row['fault']}" if row["fault"] else "")
    )


def _backtests(signal: Mapping[Any, Any]) -> str:
    return f"backtest_results/{signal['timeframe']}"


def _run(links: Links, run_id: str | None) -> str | None:
    return links.run(run_id) if run_id else None


def _cell(text: str) -> str:
    return plain_text(text).replace("|", "\\|")


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _chance(value: Any) -> str:
    """A probability of a row; rows of few trades have none."""
    return "of too few trades" if value is None or math.isnan(value) else f"{value:.2g}"
