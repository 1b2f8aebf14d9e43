"""The walk-forward report: what the selections of a range of hours would have traded in the hours after them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from trading_assets.backtesting.costs import costs_from, declared_entries
from trading_assets.backtesting.engine import COST_MODELS, FLAT, LIQUIDITY, STRESS, Costs
from trading_assets.core.candles import IntArray
from trading_assets.core.models import EntryOrder
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms, iso
from trading_assets.market.loading import CandleReader
from trading_assets.market.store import Progress
from trading_assets.reporting.evidence import evidence
from trading_assets.reporting.figures import Curve, Figures, figures, trades_frame, tried_frame
from trading_assets.reporting.forward_test import ForwardTestResult, run_forward_tests
from trading_assets.reporting.matched import DRAWS, matched_benchmark
from trading_assets.reporting.portfolio_simulation import PortfolioResult, simulate_account
from trading_assets.reporting.report import RandomBaseline, Report, Track
from trading_assets.reporting.trade_table import Choices, Selections, TradeTable
from trading_assets.reporting.trades import DELISTED, NO_ENDINGS, Ending, SelectedStrategy, last_closes
from trading_assets.strategies.declared import as_declared

SELECTED, RANDOM, HOLDING = "Selected", "Random choice (median)", "Holding BTC"
SAME_HOURS = "Selected, hours with backtests"

SHORT_DAYS = 30
"""Of fewer days a Sharpe ratio is not scaled up to a year without a warning."""

_MOST_DETAILED = 400_000
"""Of more random choices only what an account asks of a trade is kept: what is shown of one is found once more."""

BAND_PCT = (5, 95)
"""Percentiles of the random choices between which the page shades."""


def walk_forward(
    reader: CandleReader,
    chosen: Sequence[SelectedStrategy],
    drawn: Choices | Sequence[Sequence[SelectedStrategy]],
    settings: Settings,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    capital: float | None = None,
    known_rules: Collection[int] = (),
    empty: int = 0,
    endings: Mapping[str, Ending] = NO_ENDINGS,
    prices: str = "",
    progress: Progress | None = None,
) -> Report:
    """Forward test of what was chosen and of every random choice, each with an account of its own.

    Args:
        chosen: what was selected, at least one.
        drawn: random choices of as many of the same hours' backtests, see `load.drawn_at_random`.
        empty: how many hours between them were selected and chose no coin.
        endings: contracts that were delisted, see `run_forward_tests`.
        prices: where they are from, if they are not the venue's own.
        known_rules: hours whose tick, lot and leverage were those of their own time, as the scan tells.
        start_ms, end_ms: whole hours; default: from the first as-of to an hour after the last.
        capital: opening equity of each account, USD; default: the setting.
    """
    hours = sorted({selection.hour_ms for selection in chosen})
    start_ms = as_of_ms(hours[0]) if start_ms is None else start_ms
    end_ms = as_of_ms(hours[-1]) + HOUR_MS if end_ms is None else end_ms
    capital = float(settings.report_capital) if capital is None else capital
    costs = walk_forward_costs(settings)
    drawn = drawn if isinstance(drawn, Choices) else Choices.from_rows(drawn)
    forward_test = partial(
        run_forward_tests,
        reader,
        end_ms=end_ms,
        min_confidence=settings.min_confidence,
        costs=costs,
        entered_by=declared_entries(settings),
        endings=endings,
    )
    models = [model for model in COST_MODELS if model != settings.cost_model]
    selections = Selections.from_rows(dict.fromkeys(chosen))
    tested = forward_test(selections, also=[costs.under(model) for model in models], progress=progress)

    def account(of: ForwardTestResult, table: TradeTable, rows: IntArray) -> PortfolioResult:
        return simulate_account(of, table.take(table.signals(rows)), settings, capital, start_ms, end_ms)

    every = np.arange(len(tested.table))
    portfolio = account(tested, tested.table, every)
    main = _track(SELECTED, portfolio)
    by_model: dict[str, Figures] = {settings.cost_model: main.figures}
    for model, table in zip(models, tested.also, strict=True):
        by_model[model] = _track(model, account(tested, table, every)).figures
    # Backtests are kept for a shorter time than selections: what is compared is compared in the same hours.
    drawn_hours = set(np.unique(drawn.selections.hour_ms).tolist())
    compared = portfolio
    if drawn_hours and not drawn_hours.issuperset(hours):
        same = tested.followed[np.isin(selections.hour_ms, list(drawn_hours))]
        compared = account(tested, tested.table, tested.table.rows_of(same[same >= 0]))
    facts = _facts(chosen, hours, tested, capital, settings, known_rules, empty)
    failures = sorted({f"{one.strategy}: {reason}" for one, reason in tested.failures.items()})
    del tested
    beside = [_track(SAME_HOURS, compared)] if compared is not portfolio else []
    sample, tried = None, trades_frame([])
    if drawn_hours:
        by_chance = forward_test(
            drawn.selections,
            together=True,
            details=len(drawn.selections) <= _MOST_DETAILED,
            progress=progress,
        )
        table = by_chance.table
        at_random = [
            account(by_chance, table, table.rows_of(followed[followed >= 0]))
            for followed in (by_chance.followed[places] for places in drawn.places)
        ]
        beside.append(_track(RANDOM, _median(at_random)))
        sample, tried = _sample(at_random, compared), tried_frame(table)
        del by_chance, table, at_random  # of a year half a gigabyte
    holding = holding_btc(reader, portfolio, costs)
    return Report(
        kind="walk_forward",
        title="Walk-forward",
        start_ms=start_ms,
        end_ms=end_ms,
        main=main,
        beside=beside,
        holding=holding,
        sample=sample,
        under_costs={model: by_model[model] for model in COST_MODELS},
        matched=matched_benchmark(reader, portfolio.taken, chosen, costs, start_ms, end_ms),
        facts={
            **facts,
            **({"prices": prices} if prices else {}),
        },
        refused=dict(sorted(portfolio.refused.items(), key=lambda item: (-item[1], item[0]))),
        notes=[
            *short_range(start_ms, end_ms),
            *_notes(portfolio, failures, len(hours), len(drawn_hours) if len(drawn) else None, holding),
            *_delisted(portfolio, chosen, endings, start_ms, end_ms),
        ],
        assumptions=_assumptions(settings, {one.strategy for one in chosen}),
        evidence=evidence(reader, main.curve, main.trades, tried),
    )


def walk_forward_costs(settings: Settings) -> Costs:
    """The backtest's costs at the live system's size of a position."""
    return replace(costs_from(settings), notional=float(settings.target_notional))


def holding_btc(reader: CandleReader, portfolio: PortfolioResult, costs: Costs) -> Curve | None:
    """All of the opening equity in BTC from the first hour on; None where a candle of the start is missing.

    One fee and one slippage for buying; no funding, as coins that are owned pay none.
    """
    times = portfolio.times_ms
    candles = reader.read(reader.btc, Timeframe.M60, int(times[0]) - HOUR_MS, int(times[-1])).closed_by(int(times[-1]))
    closes = last_closes(candles, times.tolist())
    if not np.isfinite(closes[0]):
        return None
    capital = float(portfolio.equity[0])
    coins = capital / (closes[0] * (1 + costs.slippage) * (1 + costs.fee))
    return Curve(HOLDING, times, np.concatenate([[capital], coins * closes[1:]]))


def _track(name: str, portfolio: PortfolioResult) -> Track:
    curve = Curve(name, portfolio.times_ms, portfolio.equity)
    trades = trades_frame(portfolio.taken)
    return Track(curve, trades, figures(curve, trades, portfolio.exposure), portfolio.exposure)


def _median(at_random: Sequence[PortfolioResult]) -> PortfolioResult:
    """The account in the middle by what it ended with: one that was, not a mean of all."""
    return sorted(at_random, key=lambda one: float(one.equity[-1]))[len(at_random) // 2]


def short_range(start_ms: int, end_ms: int) -> list[str]:
    """The warning of a range so short that a figure by the year says little."""
    days = (end_ms - start_ms) / DAY_MS
    if days >= SHORT_DAYS:
        return []
    return [
        f"The Sharpe ratio is of {days:.3g} {'day' if days == 1 else 'days'}, scaled up to a year as if it were "
        f"all like that: read it with its standard error, which is about {math.sqrt(365 / days):.0f}."
    ]


def _sample(at_random: Sequence[PortfolioResult], compared: PortfolioResult) -> RandomBaseline:
    low, high = np.percentile([one.equity for one in at_random], BAND_PCT, axis=0)
    ends = np.array([one.equity[-1] for one in at_random])
    return RandomBaseline(low, high, ends, float(compared.equity[-1]))


def _facts(
    chosen: Sequence[SelectedStrategy],
    hours: Sequence[int],
    tested: ForwardTestResult,
    capital: float,
    settings: Settings,
    known_rules: Collection[int],
    empty: int,
) -> Mapping[str, str]:
    span = (hours[-1] - hours[0]) // HOUR_MS + 1
    return {
        "hours followed": f"{len(hours):,} of {span:,}" + (f"; {empty:,} more chose no coin" if empty else ""),
        "selections": f"{len(chosen):,}",
        "coins": f"{len({selection.symbol for selection in chosen}):,}",
        "signals": f"{len(tested.table.signals(np.arange(len(tested.table)))):,}",
        "opening equity": f"${capital:,.0f}",
        "size of a position": _size(settings),
        "tick, lot, leverage": f"of their own time in {len(known_rules):,} of {len(hours):,} hours, else assumed",
    }


def _notes(
    portfolio: PortfolioResult,
    failures: Sequence[str],
    hours: int,
    drawn_hours: int | None,
    holding: Curve | None,
) -> list[str]:
    notes = [f"{iso(halt.time_ms)}: no entry until 00:00 UTC, {halt.cause}: {halt.found}." for halt in portfolio.halts]
    notes += [f"A selection could not be followed. {reason}" for reason in failures]
    if drawn_hours is not None and drawn_hours < hours:
        notes.append(
            f"The backtests of {hours - drawn_hours:,} of {hours:,} hours are no longer kept, so nothing could be "
            "drawn from them: "
            + (
                f"the random choices are held against what was selected in the other {drawn_hours:,}."
                if drawn_hours
                else "there is no random choice."
            )
        )
    if holding is None:
        notes.append("The candles of BTC at the start are missing, so holding it is not shown.")
    return notes


def _delisted(
    portfolio: PortfolioResult,
    chosen: Sequence[SelectedStrategy],
    endings: Mapping[str, Ending],
    start_ms: int,
    end_ms: int,
) -> list[str]:
    """Each selected coin that ended in the range, and what became of its positions."""
    settled = Counter(trade.selection.symbol for trade in portfolio.taken if trade.reason == DELISTED)
    ended = {
        symbol
        for symbol in {one.symbol for one in chosen} & set(endings)
        if start_ms <= endings[symbol].time_ms <= end_ms
    }
    return [
        f"{symbol} was delisted at {iso(endings[symbol].time_ms)}: {settled[symbol]} of its positions ended then, at "
        + (
            "the last price."
            if endings[symbol].price is None
            else f"its settlement price of {endings[symbol].price:g}."
        )
        for symbol in sorted(ended)
    ]


_SLIPPAGE: Mapping[str, Callable[[float], str]] = {
    FLAT: lambda bps: f"{bps:g} bp of slippage",
    LIQUIDITY: lambda bps: (
        f"slippage by the turnover and range of its bar ({bps:g} bp where 72 million USD are traded a day)"
    ),
    STRESS: lambda bps: (
        f"slippage by the turnover and range of its bar ({bps:g} bp where 72 million USD are traded a "
        "day, stops halfway to the worst price of theirs)"
    ),
}


def _size(settings: Settings) -> str:
    fixed = f"${settings.target_notional:,.0f}"
    if settings.size_by == "fixed":
        return fixed
    return (
        f"confidence of {fixed}" if settings.size_by == "confidence" else f"{settings.size_pct} % by {settings.size_by}"
    )


def _entries(settings: Settings) -> str:
    if settings.entry_order is EntryOrder.MARKET:
        return "An entry fills at the close of its bar"
    bars = settings.entry_bars
    return (
        f"An entry waits {settings.entry_offset_pct} % from the close of its bar for {bars} bar{'s' * (bars > 1)} as "
        f"{settings.entry_order.value}: where the price goes beyond its price, it fills there with "
        f"{settings.maker_fee * 100:g} % maker fee, and its stop counts at once; all else fills"
    )


def _own_rules(settings: Settings, strategies: Iterable[str]) -> list[str]:
    """What strategies declare of their own, and what the matched benchmark does not do of it."""
    told, waits = [], settings.entry_order is not EntryOrder.MARKET
    for name in sorted(strategies):
        declared = as_declared(settings, name)
        waits = waits or declared.entry_order is not EntryOrder.MARKET
        if declared is not settings:
            told.append(f"{name} declares its own: {_entries(declared)}; size {_size(declared)}.")
    if waits:
        told.append(
            "The matched benchmark's random trades enter at the market at the close of their bar, also those in place "
            "of trades that waited at a price. So its rank tells of that price and of what was not filled, too."
        )
    return told


def _assumptions(settings: Settings, strategies: Iterable[str]) -> list[str]:
    return [
        *_own_rules(settings, strategies),
        "An hour's selections are followed in the next hour only, on bars that close from the selection's as-of on; "
        "on the bar of a full hour the older selection decides first, then the new one, as live. Nothing that chose "
        "them has seen a candle of the trades.",
        f"{_entries(settings)} with {_SLIPPAGE[settings.cost_model](settings.slippage_bps)} and "
        f"{settings.taker_fee * 100:g} % taker fee; stop and target are measured from that close and work from the "
        "next bar, the stop first where one bar touches both, gaps at the open. Funding is paid at its timestamps. An "
        "entry whose stop is as far as the liquidation is none.",
        "A trade is followed to its exit, however many hours later; one still open at the end is marked there.",
        f"The live limits hold: one position a coin, {settings.max_positions} at once, exposure, daily loss, drawdown, "
        f"cooldown, pauses, confidence of at least {settings.min_confidence:g} %. After a limit of loss there is no "
        "entry until 00:00 UTC; after a drawdown live waits for a person, who is assumed to resume then.",
        "Not known from candles, and so not applied: spread, delay and depth at the moment of the order, 24 h turnover "
        "at that minute, rounding to the quantity's step, orders of others.",
        f"A random choice draws as many of the same hour's backtests, one of a coin, and trades under the same rules; "
        f"there are {settings.report_random_choices}, the one shown by name ended in their middle. It trades other "
        "timeframes, so it may pay more or less.",
        f"The matched benchmark has the report's own trades, {DRAWS} times: all of a day moved together by as many "
        "hours, and each coin's given to another coin selected that day; side, timeframe, stop and target in ATR and "
        "costs stay. There is no account: each trade counts, also one beside another of its coin.",
        "The coins of past hours come from the venue's list of today: those delisted since are missing, and lot sizes "
        "(the highest price of an order) and leverage are those of the moment at which the hour was scanned: of its "
        "own time, or assumed (column contract_rules of market_scan).",
        "The deflated Sharpe ratio counts every pair of strategy and timeframe that traded as a try. It cannot know "
        "how many reports with other settings were looked at before this one.",
    ]
