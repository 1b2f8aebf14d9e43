"""Explains an order, from its result back to its candles: each step with its link in the UI and the run that made it.

`ledger.tracing` reads the rows; this module presents them. No Dagster: links are made from the UI's address.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trading_assets.core.errors import StrategyError
from trading_assets.core.timeframes import Timeframe, as_of_ms, hour_key, iso
from trading_assets.ledger import tracing
from trading_assets.ledger.database import Database
from trading_assets.ledger.tracing import Origin, Outcome, Row
from trading_assets.market.loading import stored_candles
from trading_assets.strategies.registry import make_strategy

GONE = "not kept any more (see the retention settings)"

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
        link: page of the UI; None where there is none.
        run_id: Dagster run that wrote it; None where it is not known.
        values: the rows behind it, for programs.
    """

    what: str
    found: str
    link: str | None = None
    run_id: str | None = None
    run_link: str | None = None
    code_version: str | None = None
    values: Any = None


@dataclass(frozen=True)
class Explanation:
    """An order, or a signal without one, step by step: the result first, its causes after it."""

    signal_id: str
    title: str
    steps: tuple[Step, ...] = field(default=())


def explain(database: Database, text: str, links: Links, btc: str) -> Explanation:
    """Explain the order of an order link id, an exchange's order id or a signal id; a unique beginning is enough.

    Raises:
        DataError: there is none, or several begin so.
    """
    signal_id = tracing.find_signal(database, text)
    with database.read() as connection:
        outcome = tracing.outcome(connection, signal_id)
        candles = _candles_read(outcome.signal, btc)
        assets = [SELECTIONS, _backtests(outcome.signal), *(f"candles/{timeframe}" for timeframe, _ in candles)]
        origin = tracing.origin(connection, outcome.signal, candles, sorted({*assets, "market_scan"}))
    signal = outcome.signal
    title = f"{signal['position_type']} {signal['symbol']} {signal['timeframe']} by {signal['strategy']}"
    return Explanation(signal_id, title, (*_forward(outcome, links), *_back(signal, origin, candles, links)))


def plain(explanation: Explanation) -> dict[str, Any]:
    """The same as values for JSON; money as text, so that nothing is rounded."""
    return {
        "signal_id": explanation.signal_id,
        "title": explanation.title,
        "steps": [
            {name: _plain(value) for name, value in vars(step).items() if value is not None}
            for step in explanation.steps
        ],
    }


def markdown(explanation: Explanation) -> str:
    """The same as a table for the UI."""
    lines = [f"**{_cell(explanation.title)}** `{explanation.signal_id}`", "", "| step | found | run | code |"]
    lines.append("|---|---|---|---|")
    for step in explanation.steps:
        what = f"[{step.what}]({step.link})" if step.link else step.what
        run = f"[{step.run_id[:8]}]({step.run_link})" if step.run_id and step.run_link else ""
        lines.append(f"| {what} | {_cell(step.found)} | {run} | {step.code_version or ''} |")
    return "\n".join(lines)


def print_explanation(explanation: Explanation, console: Console) -> None:
    """The same for a person: links can be clicked where the terminal knows them, and are printed below."""
    table = Table("step", "found", "run", "code", title=explanation.title, title_justify="left", show_lines=False)
    for step in explanation.steps:
        what = Text(step.what, style=f"link {step.link}" if step.link else "")
        run = Text((step.run_id or "")[:8], style=f"link {step.run_link}" if step.run_link else "")
        table.add_row(what, Text(step.found), run, step.code_version or "")
    console.print(table)
    console.print(f"signal {explanation.signal_id}", highlight=False, soft_wrap=True)
    shown: dict[str, str] = {}
    for step in explanation.steps:
        for address, name in ((step.link, step.what), (step.run_link, f"run of {step.what}")):
            if address is not None:
                shown.setdefault(address, name)
    for address, name in shown.items():
        console.print(f"  {name}: {address}", highlight=False, markup=False, soft_wrap=True)


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
    for name, rows in (("entry fills", outcome.entries), ("exit fills", outcome.exits), ("funding", outcome.funding)):
        if rows:
            fees = sum((row["fee"] for row in rows), Decimal(0))
            parts = ", ".join(f"{row['qty']} at {row['price']}" for row in rows[:5])
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            found = f"{fees:+f} USD paid" if name == "funding" else f"{parts}{more}; fee {fees} USD"
            steps.append(Step(name, found, values=list(rows)))
    if order is not None:
        course = " → ".join(row["status"] for row in outcome.events)
        found = (
            f"{order['side']} {order['qty']}, stop {order['stop_loss']}, target {order['take_profit']}, "
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
        Step("signal", found, links.partition("entry_signals", hour), run_id, _run(links, run_id), values=signal)
    )
    return steps


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


def _back(signal: Row, origin: Origin, candles: list[tuple[str, str]], links: Links) -> list[Step]:
    """What the signal came from."""
    hour = int(signal["hour_ms"])

    def step(what: str, asset: str, found: str, values: Any) -> Step:
        write = origin.writes.get(asset, {})
        run_id = write.get("run_id")
        code = write.get("code_version")
        return Step(what, found, links.partition(asset, hour), run_id, _run(links, run_id), code, values)

    chosen, tested = origin.selection, origin.backtest
    selected = GONE
    if chosen is not None:
        selected = (
            f"as of {iso(as_of_ms(hour))}: score {chosen['score']:.4g}, {chosen['configurations_tried']} tried, "
            f"deflated Sharpe {_chance(chosen['deflated_sharpe'])}, p {_chance(chosen['p_value_corrected'])}; "
            f"{chosen['scan_id']}"
        )
    backtested = GONE
    if tested is not None:
        backtested = (
            f"{tested['total_trades']} trades in {tested['bars']} bars, {tested['win_rate']:.4g} % won, profit factor "
            f"{tested['profit_factor']:.3g}, PnL {tested['total_pnl']:+.2f} USD, drawdown "
            f"{tested['max_drawdown']:.3g} %; out of sample {tested['out_of_sample_trades']} trades "
            f"{tested['out_of_sample_pnl']:+.2f} USD"
        )
    steps = [
        step("selection", SELECTIONS, selected, chosen),
        step("backtest", _backtests(signal), backtested, tested),
        Step("parameters", str(signal["parameters"])),
    ]
    for timeframe, symbol in candles:
        row = origin.candles.get((timeframe, symbol))
        found = GONE
        if row is not None:
            found = (
                f"{row['bars']} of {row['expected_bars']} candles ({row['coverage_pct']:.4g} %) up to "
                f"{iso(row['last_ms'] + Timeframe(timeframe).ms)}, content {row['content_hash']}"
                + (f"; left out: {row['fault']}" if row["fault"] else "")
            )
        steps.append(step(f"candles {timeframe} {symbol}", f"candles/{timeframe}", found, row))
    failed = [f"{row['check_name']} of {row['asset']}: {row['detail']}" for row in origin.verdicts if not row["passed"]]
    told = f"{len(origin.verdicts) - len(failed)} of {len(origin.verdicts)} blocking checks passed"
    if origin.verdicts:
        steps.append(Step("checks", "; ".join([told, *failed]), values=list(origin.verdicts)))
    return steps


def _candles_read(signal: Row, btc: str) -> list[tuple[str, str]]:
    """Stored candles that the strategy reads, as (timeframe, symbol); the own ones where the strategy is gone."""
    symbol, timeframe = str(signal["symbol"]), Timeframe(signal["timeframe"])
    try:
        needs = make_strategy(str(signal["strategy"]), str(signal["parameters"])).needs()
    except StrategyError:
        return [(timeframe.value, symbol)]
    return stored_candles(symbol, timeframe, needs, btc)


def _backtests(signal: Mapping[Any, Any]) -> str:
    return f"backtest_results/{signal['timeframe']}"


def _run(links: Links, run_id: str | None) -> str | None:
    return links.run(run_id) if run_id else None


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


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
