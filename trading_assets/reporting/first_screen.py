"""The answers of a report and what they rest on, as HTML. No numbers are made here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from trading_assets.reporting.answers import Answer, interval
from trading_assets.reporting.estimates import Estimate
from trading_assets.reporting.evidence import Evidence
from trading_assets.reporting.markup import NONE, money, number, section, table


def first_screen(told: Sequence[Answer]) -> str:
    """A card a question."""
    return f'<div class="answers">{"".join(map(_card, told))}</div>' if told else ""


def _card(answer: Answer) -> str:
    lines = "".join(f"<p>{escape(line)}</p>" for line in answer.lines)
    return (
        f'<article class="answer {answer.tone.value}"><h2>{escape(answer.question)}'
        f'<span class="verdict">{escape(answer.verdict)}</span></h2>'
        f'<div class="number">{escape(answer.number)}</div><div class="interval">{escape(answer.interval)}</div>'
        f"{lines}</article>"
    )


def sections(found: Evidence | None) -> str:
    """States of the market, pairs of strategy and timeframe, and sizes, as tables."""
    if found is None:
        return ""
    return "\n".join(part for part in (_regimes(found), _configurations(found), _capacity(found)) if part)


def _regimes(found: Evidence) -> str:
    rows = [
        (
            one.dimension,
            one.value,
            f"{one.mean_r.trades:,}",
            number(one.mean_r.value, "+.3f"),
            _interval(one.mean_r),
            number(one.mean_bps, "+.1f"),
            money(one.pnl),
        )
        for one in found.regimes
    ]
    note = (
        "States as they were known at the entry. The intervals hold together: with many states one of them looks bad "
        "by luck alone."
    )
    heading = ("state", "value", "closed", "R", "95 % of it", "bp", "PnL")
    return section("By state of the market", _note(note), table(heading, rows)) if rows else ""


def _configurations(found: Evidence) -> str:
    if not found.configurations:
        return ""
    rows = [
        (
            one.strategy,
            one.timeframe,
            *(_of(one.traded) if one.traded else (NONE,) * 3),
            *(_of(one.tried) if one.tried else (NONE,) * 3),
        )
        for one in found.configurations
    ]
    heading = ("strategy", "tf", "traded", "R", "95 % of it", "at random", "R", "95 % of it")
    sets = found.parameter_sets
    note = (
        "Traded: what this account took. At random: closed trades of random choices among all backtests of the same "
        f"hours. {sets.traded:,} parameter sets were traded; of the {sets.judged:,} with 20 closed trades or more "
        f"{sets.earned:,} earned."
    )
    return section("By strategy and timeframe", _note(note), table(heading, rows))


def _of(one: Estimate) -> tuple[str, str, str]:
    return f"{one.trades:,}", number(one.value, "+.3f"), _interval(one)


def _interval(one: Estimate) -> str:
    return "too few" if one.reason else interval(one, "+.3f", "").strip()


def _capacity(found: Evidence) -> str:
    if found.capacity is None:
        return ""
    rows = [
        (
            f"{size.times} times",
            money(size.notional),
            f"{size.share_median:.3g} %",
            f"{size.share_high:.3g} %",
            f"{size.impact_bps:+.1f}",
            f"{size.mean_bps:+.1f}",
        )
        for size in found.capacity.sizes
    ]
    note = (
        f"Of {found.capacity.entries:,} entries; a minute's turnover is that of the entry's bar. The impact is the "
        "model of docs/engine.md: volatility of a minute times the root of the share. Up to "
        f"{money(found.capacity.largest)} an entry is 1 % of its minute or less, 19 times of 20."
    )
    heading = (
        *("positions", "size", "share of a minute, median", "1 of 20 has more than"),
        *("both fills cost more by, bp", "bp"),
    )
    return section("If positions were larger", _note(note), table(heading, rows))


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
