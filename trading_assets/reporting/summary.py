"""A report in the terminal: its headline numbers and the path of its page."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from trading_assets.core.timeframes import iso
from trading_assets.reporting.files import Written
from trading_assets.reporting.report import Report


def print_summary(report: Report, written: Written, console: Console) -> None:
    """One column a track, one line a number."""
    console.print(f"[bold]{report.title}[/], {iso(report.start_ms)} to {iso(report.end_ms)}", highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in report.facts.items()), highlight=False)
    tracks = [report.main, *report.beside]
    table = Table("", *(track.curve.name for track in tracks), *([report.holding.name] if report.holding else []))
    for name, field, form in (
        ("return %", "return_pct", "+.2f"),
        ("largest drawdown %", "max_drawdown_pct", ".2f"),
        ("Sharpe ratio", "sharpe_ratio", ".2f"),
        ("deflated Sharpe", "deflated_sharpe", ".2f"),
        ("closed trades", "trades", ",d"),
        ("win rate %", "win_rate", ".1f"),
        ("profit factor", "profit_factor", ".2f"),
        ("PnL $", "pnl", "+,.2f"),
        ("fees $", "fees", ",.2f"),
        ("slippage $", "slippage", ",.2f"),
        ("funding paid $", "funding", "+,.2f"),
        ("turnover $", "turnover", ",.0f"),
        ("mean exposure %", "exposure_pct", ".1f"),
    ):
        values = [format(getattr(track.figures, field), form) for track in tracks]
        if report.holding is not None and field == "return_pct":
            values.append(format(report.holding.returns_pct[-1], form))
        if report.holding is not None and field == "max_drawdown_pct":
            values.append(format(report.holding.drawdown_pct.min(), form))
        table.add_row(name, *values)
    console.print(table)
    for note in report.notes:
        console.print(f"[yellow]{note}[/]", highlight=False)
    console.print(f"page: {written.page}\ntrades: {written.trades}", highlight=False, soft_wrap=True)
