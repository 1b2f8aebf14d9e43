"""The message on a day that has ended: equity, trades, win rate, PnL by strategy, and a picture of them."""

from __future__ import annotations

import io

import pandas as pd

from trading_assets.core.messages import Kind, Message
from trading_assets.core.timeframes import DAY_MS, floor_ms, to_datetime
from trading_assets.ledger import balance, outbox
from trading_assets.ledger.database import Database
from trading_assets.reporting.charts import COLOURS, GAIN, GRID, INK, LOSS
from trading_assets.trading.portfolio import Performance, performance

_INCHES, _DPI = (7.2, 4.2), 130
_STRATEGIES_SHOWN = 8


def keep_if_due(database: Database, account: str, wall_ms: int) -> bool:
    """Keep the message of the newest day that the books have passed, once. Return whether this call did.

    Raises:
        StorageError: the ledger cannot be read or written.
    """
    newest = balance.newest_snapshot_ms(database, account)
    if newest is None:
        return False
    day_ms = floor_ms(newest, DAY_MS) - DAY_MS
    key = f"summary:{_day(day_ms)}"
    if outbox.is_known(database, account, key):
        return False
    message = summary(database, account, day_ms)
    if message is None:
        return False
    with database.write() as connection:
        return outbox.add(connection, account, message, time_ms=day_ms + DAY_MS, wall_ms=wall_ms) is not None


def summary(database: Database, account: str, day_ms: int) -> Message | None:
    """The message on the UTC day that begins at `day_ms`; None where the books know nothing of it."""
    rows = balance.equity_rows(database, account)
    rows = rows[(rows["time_ms"] >= day_ms) & (rows["time_ms"] < day_ms + DAY_MS)]
    if rows.empty:
        return None
    found = performance(database, account, day_ms, day_ms + DAY_MS)
    first, last = float(rows["equity"].iloc[0]), float(rows["equity"].iloc[-1])
    rate = f"{found.wins / found.closings * 100:.0f} %" if found.closings else "none"
    by = found.by_one("strategy").sort_values("net", ascending=False)
    facts = {
        "day": _day(day_ms),
        "equity": f"{last:,.2f}",
        "change": f"{last - first:+,.2f}",
        "trades": str(found.closings),
        "wins": str(found.wins),
        "win_rate": rate,
        "pnl": f"{found.pnl:+,.2f}",
        "funding": f"{found.funding:+,.2f}",
        "net": f"{found.net:+,.2f}",
    }
    lines = [
        "equity {equity} USD, {change}".format_map(facts),
        "{trades} closed, {wins} with a profit (win rate {win_rate})".format_map(facts),
        "PnL {pnl}, funding paid {funding}, net {net}".format_map(facts),
        *(f"{row.strategy}: {row.closings} closed, net {row.net:+,.2f}" for row in by.itertuples()),
    ]
    return Message(
        f"{facts['day']}: {facts['net']} USD",
        "\n".join(lines),
        Kind.SUMMARY,
        is_kept=True,
        facts=facts,
        picture=picture(rows, found, facts["day"]),
        key=f"summary:{facts['day']}",
    )


def _day(day_ms: int) -> str:
    return to_datetime(day_ms).date().isoformat()


def picture(equity: pd.DataFrame, found: Performance, title: str) -> bytes:
    """A PNG: the day's equity, and the net result of each strategy.

    Args:
        equity: snapshots of the day, `time_ms` and `equity`.
    """
    # Pyplot keeps every figure until it is closed, in all threads; a figure of its own is let go.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    times = [to_datetime(int(one)) for one in equity["time_ms"]]
    left.plot(times, equity["equity"], color=COLOURS[0], linewidth=1.6)
    left.set_title(f"equity, USD, {title} (UTC)", fontsize=9, color=INK)
    by = found.by_one("strategy").sort_values("net", key=abs, ascending=False).head(_STRATEGIES_SHOWN)
    by = by.sort_values("net")
    if by.empty:
        right.text(0.5, 0.5, "no trade was closed", ha="center", va="center", color=INK, fontsize=9)
        right.set_axis_off()
    else:
        bars = right.barh(by["strategy"], by["net"], color=[GAIN if net >= 0 else LOSS for net in by["net"]])
        right.bar_label(bars, fmt="%+.2f", fontsize=7, padding=2)
        right.margins(x=0.4)
        right.set_title("net by strategy, USD", fontsize=9, color=INK)
    for axes in (left, right):
        axes.tick_params(labelsize=7, colors=INK)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    left.xaxis.set_major_formatter(_clock())
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _clock() -> object:
    from matplotlib.dates import DateFormatter

    return DateFormatter("%H:%M")
