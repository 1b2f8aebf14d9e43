"""The questions that a reader has first, each answered by one number, its interval and a verdict. Nothing is drawn.

A verdict is given where an interval leaves zero out, and not because a number looks good: "cannot be told" and "too
few" are answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trading_assets.backtesting.engine import STRESS
from trading_assets.backtesting.significance import SIGNIFICANT
from trading_assets.core.timeframes import DAY_MS, iso
from trading_assets.reporting.estimates import Estimate, counted
from trading_assets.reporting.evidence import Evidence
from trading_assets.reporting.markup import NONE, money
from trading_assets.reporting.matched import share_interval
from trading_assets.reporting.regimes import UNKNOWN, Regime
from trading_assets.reporting.report import Report

TOO_FEW, UNTOLD = "too few", "cannot be told"
_SURE = 1 - SIGNIFICANT


class Tone(StrEnum):
    """What a verdict says of the account."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"


@dataclass(frozen=True)
class Answer:
    """One question.

    Attributes:
        number, interval: as text, with their units.
        verdict: in a few words.
        lines: what else belongs to it, a sentence each.
    """

    question: str
    number: str
    interval: str
    verdict: str
    tone: Tone
    lines: Sequence[str]


def answers(report: Report) -> list[Answer]:
    """The first screen of a report, in the order of the reader's questions; none without `Report.evidence`."""
    found = report.evidence
    if found is None:
        return []
    return [
        _earned(report, found),
        _compared(report, found),
        _luck(report, found),
        _cost(report, found),
        _breaks(report, found),
        _since(report, found),
    ]


def _earned(report: Report, found: Evidence) -> Answer:
    numbers = report.main.figures
    question = "Has it earned?" if report.kind == "performance" else "Would it have earned?"
    verdict, tone = _sign(found.mean_r, "it earned", "it lost")
    opening = float(report.main.curve.equity[0])
    return Answer(
        question,
        _r(found.mean_r.value) + " a trade",
        interval(found.mean_r, "+.3f", "R"),
        verdict,
        tone,
        [
            f"{numbers.return_pct:+.2f} % of ${opening:,.0f}; {_form(found.mean_bps.value, '+.1f')} bp of a position's "
            f"value{_within(found.mean_bps, '+.1f', 'bp')}.",
            f"{counted(numbers.trades, 'closed trade')} entered on {counted(found.mean_r.days, 'day')}, "
            f"{numbers.win_rate:.0f} % won; {numbers.open_trades:,} open.",
        ],
    )


def _compared(report: Report, found: Evidence) -> Answer:
    lines, question = [], "Compared with what?"
    if report.holding is not None:
        lines.append(
            f"{report.holding.name}: {report.holding.returns_pct[-1]:+.2f} %, {report.main.curve.name.lower()}: "
            f"{report.main.figures.return_pct:+.2f} %."
        )
    if report.sample is not None:
        low, high = report.sample.rank_interval
        lines.append(
            f"It ended above {report.sample.behind} of {len(report.sample.ends)} random choices: above {_share(low)} "
            f"to {_share(high)} of all."
        )
    matched = report.matched
    if matched is None:
        others = [track for track in report.beside if len(track.trades)]
        number = f"{report.main.figures.return_pct - others[0].figures.return_pct:+.2f} %" if others else NONE
        against = f"of the opening equity, against {others[0].curve.name.lower()}" if others else "nothing beside it"
        return Answer(question, number, against, UNTOLD, Tone.OPEN, lines)
    middle = float(np.median(matched.drawn_gross_r))
    bottom, top = matched.band_r
    low, high = share_interval(matched.draws - matched.behind, matched.draws)
    few = matched.trades < 20
    better = not few and high < SIGNIFICANT
    worse = not few and low > _SURE
    verdict = TOO_FEW if few else "better than chance" if better else "worse than chance" if worse else "like chance"
    tone = Tone.GOOD if better else Tone.BAD if worse else Tone.OPEN
    lines.insert(
        0,
        f"Before costs, against {matched.draws:,} times the same trades at random moments, p = {matched.p_value:.3f}.",
    )
    return Answer(
        question,
        f"{matched.gross_r - middle:+.3f} R a trade",
        f"chance alone: {bottom - middle:+.3f} to {top - middle:+.3f} R",
        verdict,
        tone,
        lines,
    )


def _luck(report: Report, found: Evidence) -> Answer:
    numbers, ranks = report.main.figures, found.ranks
    tries = len({(one.strategy, one.timeframe) for one in found.configurations if one.traded is not None})
    deflated = numbers.deflated_sharpe
    if math.isnan(numbers.sharpe_ratio):
        spread = "no Sharpe ratio"
    else:
        low, high = (numbers.sharpe_ratio + sign * 1.96 * numbers.sharpe_error for sign in (-1, 1))
        spread = f"Sharpe ratio {numbers.sharpe_ratio:.1f}, {low:.1f} to {high:.1f}"
    if math.isnan(deflated):
        verdict, tone = TOO_FEW, Tone.OPEN
    elif deflated > _SURE:
        verdict, tone = "more than luck", Tone.GOOD
    else:
        verdict, tone = "luck can do that", Tone.OPEN
    if ranks.reason:
        overfit = f"Overfitting: {ranks.reason}."
    else:
        low, high = ranks.interval
        overfit = (
            f"Overfitting (PBO): in {_share(ranks.probability)} ({_share(low)} to {_share(high)}) of {ranks.splits} "
            f"splits the best of {ranks.tries} pairs of strategy and timeframe was below the middle afterwards; "
            f"in {_share(ranks.loss)} it lost."
        )
    return Answer(
        "Is it luck?",
        NONE if math.isnan(deflated) else f"{_percent(deflated)} sure",
        spread,
        verdict,
        tone,
        [
            f"Deflated Sharpe ratio: the chance that it beats the best of {tries} lucky tries. Other reports that you "
            "looked at are not counted.",
            overfit,
        ],
    )


def _cost(report: Report, found: Evidence) -> Answer:
    gross, numbers = found.gross_bps, report.main.figures
    if gross.reason:
        verdict, tone = TOO_FEW, Tone.OPEN
    elif gross.low > found.cost_bps:
        verdict, tone = "it can pay them", Tone.GOOD
    elif gross.high < found.cost_bps:
        verdict, tone = "more than it earns", Tone.BAD
    else:
        verdict, tone = UNTOLD, Tone.OPEN
    before = numbers.whole_pnl + numbers.fees + numbers.slippage + numbers.funding
    costs = numbers.fees + numbers.slippage + numbers.funding
    part = f"{_share(costs / before)} of what it earned before them" if before > 0 else "it lost before them, too"
    lines = [
        f"Fees {money(numbers.fees)}, slippage {money(numbers.slippage)}, funding {money(numbers.funding)}: {part}.",
    ]
    if STRESS in report.under_costs:
        stress = report.under_costs[STRESS]
        lines.append(f"Under stress {_r(stress.mean_r)} a trade, {stress.return_pct:+.2f} % in all.")
    if found.capacity is not None:
        size = found.capacity.sizes[0]
        lines.append(
            f"An entry is {size.share_median:.2g} % of its minute's turnover; up to ${found.capacity.largest:,.0f} it "
            "is 1 % or less, 19 times of 20."
        )
    return Answer(
        "What does it cost?",
        f"{_form(found.cost_bps, '.1f')} bp a trade",
        f"break-even at {_form(gross.value, '.1f')} bp{_within(gross, '.1f', 'bp')}",
        verdict,
        tone,
        lines,
    )


def _breaks(report: Report, found: Evidence) -> Answer:
    paths, order = found.drawdowns, found.order
    losing = [one for one in found.regimes if one.value != UNKNOWN and one.mean_r.high < 0]
    judged = [one for one in found.regimes if one.value != UNKNOWN and not one.mean_r.reason]
    if losing:
        first = min(losing, key=lambda one: one.mean_r.value)
        verdict, tone = f"{first.dimension}: {first.value}", Tone.BAD
    else:
        verdict, tone = (UNTOLD if judged else TOO_FEW), Tone.OPEN
    lines = []
    if judged:
        worst = min(judged, key=lambda one: one.mean_r.value)
        lines.append(f"Worst of {len(judged)} states of the market: {_of_regime(worst)}.")
    else:
        lines.append("No state of the market has trades enough to be judged.")
    if not order.reason:
        lines.append(
            f"The same trades in another order: {money(order.median)} in the middle, 5 % fall deeper than "
            f"{money(order.worst)}; it was {money(order.seen)}."
        )
    spread = (
        paths.reason
        if paths.reason
        else f"other orders of days: {paths.median:.2f} %, 5 % fall below {paths.worst:.2f} %"
    )
    return Answer(
        "When does it break?", f"{report.main.figures.max_drawdown_pct:.2f} % fall", spread, verdict, tone, lines
    )


def _since(report: Report, found: Evidence) -> Answer:
    days = (report.end_ms - report.start_ms) / DAY_MS
    estimate, numbers = found.mean_r, report.main.figures
    needed = estimate.trades_needed
    if estimate.reason or math.isnan(needed):
        asked, verdict, tone = estimate.reason or "nothing to go by", TOO_FEW, Tone.OPEN
    else:
        asked = f"{numbers.trades:,} closed trades; about {needed:,.0f} would tell this mean from 0"
        told = estimate.excludes_zero
        verdict, tone = ("long enough", Tone.GOOD) if told else ("too short", Tone.OPEN)
    first, second = found.halves
    return Answer(
        "Since when?",
        f"{days:.3g} day{'' if days == 1 else 's'}",
        asked,
        verdict,
        tone,
        [
            f"{iso(report.start_ms)[:16].replace('T', ' ')} to {iso(report.end_ms)[:16].replace('T', ' ')} UTC.",
            f"First half {_r(first)} a trade, second half {_r(second)}.",
            f"Last at its peak on {found.below_peak_since}.",
        ],
    )


def _of_regime(one: Regime) -> str:
    return (
        f"{one.dimension}, {one.value}: {_r(one.mean_r.value)} ({interval(one.mean_r, '+.3f', 'R')}) in "
        f"{counted(one.mean_r.trades, 'trade')}"
    )


def _sign(estimate: Estimate, up: str, down: str) -> tuple[str, Tone]:
    if estimate.reason:
        return TOO_FEW, Tone.OPEN
    if estimate.low > 0:
        return up, Tone.GOOD
    return (down, Tone.BAD) if estimate.high < 0 else (UNTOLD, Tone.OPEN)


def interval(estimate: Estimate, form: str, unit: str) -> str:
    """The interval as text, or why there is none."""
    if estimate.reason:
        return estimate.reason
    return f"{estimate.low:{form}} to {estimate.high:{form}} {unit}"


def _within(estimate: Estimate, form: str, unit: str) -> str:
    return "" if estimate.reason else f" ({interval(estimate, form, unit)})"


def _form(value: float, form: str) -> str:
    return NONE if math.isnan(value) else format(value, form)


def _r(value: float) -> str:
    return f"{_form(value, '+.3f')} R"


def _percent(value: float) -> str:
    return "under 1 %" if value < 0.01 else "over 99 %" if value > 0.99 else _share(value)


def _share(value: float) -> str:
    """A part of one, such as `14 %`."""
    return f"{value * 100:.0f} %"
