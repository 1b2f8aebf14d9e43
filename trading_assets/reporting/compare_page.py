"""Two reports on one page. No numbers are made here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from trading_assets.reporting.answers import Answer, Tone, interval
from trading_assets.reporting.charts import Charts, days_chart
from trading_assets.reporting.comparison import Difference
from trading_assets.reporting.estimates import Estimate
from trading_assets.reporting.first_screen import first_screen
from trading_assets.reporting.markup import NONE, bullets, document, number, section, table
from trading_assets.reporting.saved import SavedReport

FIGURES: Mapping[str, tuple[str, str]] = {
    "return_pct": ("return, %", "+.2f"),
    "max_drawdown_pct": ("largest drawdown, %", ".2f"),
    "sharpe_ratio": ("Sharpe ratio", ".2f"),
    "sharpe_error": ("its standard error", ".2f"),
    "deflated_sharpe": ("deflated Sharpe ratio", ".2f"),
    "trades": ("closed trades", ",.0f"),
    "win_rate": ("win rate, %", ".1f"),
    "profit_factor": ("profit factor", ".2f"),
    "mean_r": ("mean of a trade, R", "+.3f"),
    "mean_bps": ("mean of a trade, bp", "+.1f"),
    "pnl": ("PnL closed, $", "+,.2f"),
    "open_pnl": ("PnL of open trades, $", "+,.2f"),
    "fees": ("fees, $", ",.2f"),
    "slippage": ("slippage, $", ",.2f"),
    "funding": ("funding paid, $", "+,.2f"),
    "turnover": ("turnover, $", ",.0f"),
    "exposure_pct": ("mean exposure, %", ".1f"),
    "mean_hours": ("mean time in a trade, h", ".1f"),
}
"""Rows of the comparison: name and form of each of `figures.Figures`."""


def render(found: Difference) -> str:
    """The page."""
    charts = Charts()
    first, second = found.first, found.second
    title = f"{first.title} and {second.title}" if first.title != second.title else f"Two reports: {first.title}"
    chart = charts.show("days", days_chart({"first": _grown(first), "second": _grown(second)}), 320)
    body = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="span">first: {_told(first)}<br>second: {_told(second)}</p></header>',
        "".join(f"<p>{escape(text)}</p>" for text in apart(found)),
        first_screen(told(found)),
        section("Return, day by day", chart),
        section("Figures", table(("", "first", "second", "difference"), rows_of(found))),
        section("Their first screens", _answers(first, second)),
        section("Trades", _groups(found)),
        bullets("Only of the first", found.only_first),
        bullets("Only of the second", found.only_second),
    ]
    return document(title, "\n".join(part for part in body if part), charts.policy)


def apart(found: Difference) -> list[str]:
    """What is not the same time in both: one sentence, or none."""
    first, second = found.first, found.second
    if (first.begins, first.ends) == (second.begins, second.ends):
        return []
    return [
        f"The reports are of other times: {first.begins} to {first.ends}, and {second.begins} to {second.ends}. Sums "
        "such as return, PnL and fees tell of that; the answers are of days that both have, and of each trade."
    ]


def told(found: Difference) -> list[Answer]:
    """Which of the two is better, by day and by trade; "too few" is an answer."""
    days, trades = found.per_day, found.per_trade
    shared = next((group for group in found.groups if group.name == "both took"), None)
    answers = [
        _answer(
            "Does the second earn more?",
            f"{number(days.value, '+.3f')} % a day",
            days,
            "+.3f",
            "% a day",
            [
                f"Mean of the differences on {days.days} days that both have.",
                "One pair of many that were compared is different by luck alone.",
            ],
        )
    ]
    if trades is not None:
        answers.append(
            _answer(
                "Are its trades better?",
                f"{number(trades.value, '+.3f')} R a trade",
                trades,
                "+.3f",
                "R",
                ["Closed trades of all days of both; what both took on a day counts once in the error."],
            )
        )
    if shared is not None:
        alone = sum(group.trades for group in found.groups) - shared.trades
        answers.append(
            Answer(
                "How much do they share?",
                f"{shared.trades:,} trades",
                f"{alone:,} {'is' if alone == 1 else 'are'} of one alone",
                "the same" if not alone else "nothing" if not shared.trades else "in part",
                Tone.OPEN,
                ["The same coin, timeframe, strategy, side and entry."],
            )
        )
    return answers


def _answer(question: str, text: str, found: Estimate, form: str, unit: str, lines: list[str]) -> Answer:
    if found.reason:
        verdict, tone = "too few", Tone.OPEN
    elif found.low > 0:
        verdict, tone = "yes", Tone.GOOD
    elif found.high < 0:
        verdict, tone = "no, less", Tone.BAD
    else:
        verdict, tone = "cannot be told", Tone.OPEN
    return Answer(question, text, interval(found, form, unit), verdict, tone, lines)


def rows_of(found: Difference) -> list[tuple[str, str, str, str]]:
    """Name, first, second and difference of each figure, as text."""
    rows = []
    for key, (name, form) in FIGURES.items():
        values = [
            math.nan if value is None else value for value in (found.first.main.get(key), found.second.main.get(key))
        ]
        signed = form if form.startswith("+") else f"+{form}"
        rows.append((name, number(values[0], form), number(values[1], form), number(values[1] - values[0], signed)))
    return rows


def _told(one: SavedReport) -> str:
    return escape(f"{one.name}, {one.begins[:16].replace('T', ' ')} to {one.ends[:16].replace('T', ' ')} UTC")


def _grown(one: SavedReport) -> dict[str, float]:
    """Return since the beginning at the end of each day, percent."""
    whole = (np.cumprod([1 + value / 100 for value in one.days.values()]) - 1) * 100
    return dict(zip(one.days, whole.tolist(), strict=True))


def _answers(first: SavedReport, second: SavedReport) -> str:
    of_second = {str(one["question"]): one for one in second.answers}
    rows = []
    for one in first.answers:
        other = of_second.get(str(one["question"]))
        rows.append((str(one["question"]), *_of(one), *(_of(other) if other else (NONE, NONE))))
    return table(("", "first", "its verdict", "second", "its verdict"), rows)


def _of(answer: Mapping[str, object]) -> tuple[str, str]:
    return str(answer["number"]), str(answer["verdict"])


def _groups(found: Difference) -> str:
    if not found.groups:
        return "<p>The trades of one of them are not there.</p>"
    rows = [
        (one.name, f"{one.trades:,}", number(one.first_r, "+.3f"), number(one.second_r, "+.3f")) for one in found.groups
    ]
    return table(("", "closed", "R in the first", "R in the second"), rows)
