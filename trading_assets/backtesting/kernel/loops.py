"""The compiled loops: where a trade ends, and the figures of all trades of a parameter set without keeping them.

Import this module only where a simulation begins: it imports numba, which costs a second. A trade does not depend on
the account (its size is fixed), so a trade that starts at one bar is one trade for every parameter set with the same
stop and target: `simulate_set` keeps what it found in `exits` and `records` and looks it up for the next set.
"""

from __future__ import annotations

from typing import Any

import numba  # noqa: TID253 (this module is imported lazily)
import numpy as np

from trading_assets.backtesting.kernel.exit_loops import drawdown_with_exits, trade_with_exits
from trading_assets.backtesting.kernel.limit_loops import FILL, RISK, trade_with_limit
from trading_assets.backtesting.kernel.machine_code import cached
from trading_assets.backtesting.metrics import PROFIT_FACTOR_CAP, ROUNDING

PNL, FEES, FUNDING, SQUARED, CUBED, FOURTH, WORST, BEST = range(8)
"""Fields of a trade record, shape (RECORD_FIELDS,). SQUARED, CUBED and FOURTH sum powers of the changes of equity,
WORST and BEST are the extremes of equity relative to that before the entry, all in USD at closes."""

ONE = np.uint64(1)
"""Bars are numbers without a sign in the innermost loops: an index that has one is looked at whether it counts from the
end, which costs more than what is read there."""

UNKNOWN, NO_ENTRY = -1, -2
"""Values of `exits` that are no bar: not yet looked at; no entry, by `Column.entries` or `Strategy.signals`. From -3 on
downwards: an entry that waited up to bar 0, 1, ... and was not filled."""


def without_reference_counts() -> dict[str, Any]:
    """Numba's option for code that makes no array, where this version of numba has it.

    The option is private, so it may go. Then the loops count references: same results, a quarter more time.
    """
    try:
        from numba.core.cpu import CPUTargetOptions
    except ImportError:
        return {}
    return {"_nrt": False} if hasattr(CPUTargetOptions, "_nrt") else {}


COMPILED: dict[str, Any] = {"nogil": True, "error_model": "numpy", **without_reference_counts()}

compiled = cached(**COMPILED)

inlined = numba.njit(inline="always", error_model="numpy")
"""A call with arrays costs more than the loop inside: 80 ns for a trade, 26 inlined."""

_rows = numba.types.Array(numba.float64, 2, "C", readonly=True)
_whole = numba.types.Array(numba.int64, 1, "C", readonly=True)


@cached(
    numba.void(
        _rows, numba.int64, _whole, numba.int64, _whole, _rows, numba.float64[:, ::1], numba.int32[:, ::1]
    ),
    **(COMPILED | {"nogil": False}),  # it takes microseconds: to let another thread in costs more
)  # fmt: skip
def fill_funding(closes, first, start_ms, bar_ms, funding_ms, rates, paid, payments_by):  # type: ignore[no-untyped-def]
    """What a long pays per coin, of coins with equal times.

    Args:
        closes: shape (coins, bars of the data).
        first: the first bar that counts; n come with it and after it.
        rates: shape (coins, payments).
        paid: receives the sum of the payments before each and of all, shape (coins, payments + 1). A payment's price is
            the last close at or before it; those before the first close belong to no trade, so they count as nothing.
        payments_by: receives how many payments there were up to the open and up to the close of each bar, shape (2, n).
    """
    payments, bars = len(funding_ms), len(start_ms) - first
    opened, closed = 0, 0
    paid[:] = 0.0
    if bars <= 0:
        return
    for payment in range(payments + 1):
        # Bars that open, and those that close, before this payment.
        before = funding_ms[payment] if payment < payments else start_ms[len(start_ms) - 1] + bar_ms + 1
        while opened < bars and start_ms[first + opened] < before:
            payments_by[0, opened] = payment
            opened += 1
        while closed < bars and start_ms[first + closed] + bar_ms < before:
            payments_by[1, closed] = payment
            closed += 1
        if payment < payments:
            known = closed
            if known < bars and start_ms[first + known] + bar_ms == before:
                known += 1
            for coin in range(len(closes)):
                price = closes[coin, first + known - 1] if known else 0.0
                paid[coin, payment + 1] = paid[coin, payment] + rates[coin, payment] * price


@inlined
def exit_of(open_, high, low, close, entry, sign, stop, target):  # type: ignore[no-untyped-def]
    """Where and at what price (before slippage) a trade ends, and what its closes did until then.

    Returns:
        (bar, price, lowest, highest, second, third, fourth): bar is n and price the last close where nothing ends it;
        extremes of the closes and sums of powers of their changes, the bar of the end excluded. The sums are made anew
        for each trade: differences of running sums would have lost their digits after a crash.
    """
    before = close[entry]
    lowest, highest = before, before
    second, third, fourth = 0.0, 0.0, 0.0
    floor, ceiling = (stop, target) if sign > 0 else (target, stop)
    bars = np.uint64(len(close))
    for bar in range(entry + ONE, bars):
        if (low[bar] <= floor) | (high[bar] >= ceiling):
            # Turned so that the stop of either side lies below: no branch to guess.
            opened, adverse = open_[bar] * sign, low[bar] if sign > 0 else -high[bar]
            stopped, reached = stop * sign, target * sign
            at_stop = opened if opened < stopped else stopped
            at_target = opened if opened > reached else reached
            price = sign * (at_stop if adverse <= stopped else at_target)
            return bar, price, lowest, highest, second, third, fourth
        now = close[bar]
        lowest = now if now < lowest else lowest
        highest = now if now > highest else highest
        change = now - before
        square = change * change
        second += square
        third += square * change
        fourth += square * square
        before = now
    return bars, before, lowest, highest, second, third, fourth


@inlined
def trade(  # type: ignore[no-untyped-def]
    open_, high, low, close, paid, payments_by, entry, sign, stop_fraction, reward_risk, costs, slips, records, place,
):  # fmt: skip
    """Simulate the trade that enters at the close of a bar.

    Args:
        paid, payments_by: of one coin, shapes (payments + 1,) and (2, n); see `fill_funding`.
        costs: fee, slippage, notional, capital, distance of the liquidation, overshoot of a stop.
        slips: slippage of a fill in each bar, shape (n,); of no bar where it is the same everywhere.
        entry, place: without signs.
        records: receives the trade at `place`, shape (places, RECORD_FIELDS).

    Returns:
        The bar of its end and the price; n and the last close where nothing ends it.
    """
    fee, slippage, notional = costs[0], costs[1], costs[2]
    at = close[entry]
    size = notional / at
    price = at * (1 + sign * (slips[entry] if len(slips) else slippage))
    stop = at * (1 - sign * stop_fraction)
    target = at * (1 + sign * (stop_fraction * reward_risk))
    end, touched, lowest, highest, second, third, fourth = exit_of(open_, high, low, close, entry, sign, stop, target)
    entry_fee = size * price * fee
    held = size * sign
    at_entry = held * (at - price) - entry_fee
    if end < np.uint64(len(close)):
        one, other = held * (lowest - price) - entry_fee, held * (highest - price) - entry_fee
        worst, best = (one, other) if sign > 0 else (other, one)
        funding = held * (paid[np.uint64(payments_by[0, end])] - paid[np.uint64(payments_by[1, entry])])
        if len(slips):
            slippage = slips[end]
            farthest = low[end] if sign > 0 else high[end]
            if farthest * sign <= stop * sign:
                slippage += costs[5] * abs(touched - farthest) / touched
        exit_price = touched * (1 - sign * slippage)
        fees = entry_fee + size * exit_price * fee
        pnl = held * (exit_price - price) - fees - funding
        change = pnl - (held * (close[end - ONE] - price) - entry_fee)
    else:
        last = end - ONE
        funding = held * (paid[payments_by[1, last]] - paid[payments_by[1, entry]])
        exit_price, fees = touched, entry_fee
        pnl = held * (touched - price) - entry_fee - funding
        # The last bar counts with its funding, as `pnl`, so its bare close is no extreme.
        worst = best = at_entry if last > entry else pnl
        second, third, fourth = 0.0, 0.0, 0.0
        for held_bar in range(entry + ONE, last):
            marked = held * (close[held_bar] - price) - entry_fee
            worst, best = min(worst, marked), max(best, marked)
            step = close[held_bar] - close[held_bar - ONE]
            second, third, fourth = second + step**2, third + step**3, fourth + step**4
        # Funding is booked at the last bar, on top of that bar's change.
        change = held * (close[last] - close[last - ONE]) - funding if last > entry else 0.0
    records[place, PNL] = pnl
    records[place, FEES] = fees
    records[place, FUNDING] = funding
    entered, changed, scale = at_entry * at_entry, change * change, held * held
    records[place, SQUARED] = entered + scale * second + changed
    records[place, CUBED] = entered * at_entry + scale * held * third + changed * change
    records[place, FOURTH] = entered * entered + scale * scale * fourth + changed * changed
    records[place, WORST] = worst if worst < pnl else pnl
    records[place, BEST] = best if best > pnl else pnl
    return np.int64(end), exit_price


@compiled
def one_trade(  # type: ignore[no-untyped-def]
    open_, high, low, close, paid, payments_by, entry, sign, stop_fraction, reward_risk, costs, slips, records, place,
):  # fmt: skip
    """`trade`, not inlined: where it is needed seldom."""
    return trade(
        open_, high, low, close, paid, payments_by,
        entry, sign, stop_fraction, reward_risk, costs, slips, records, place,
    )  # fmt: skip


@compiled
def fill_next_entry(direction, next_entry):  # type: ignore[no-untyped-def]
    """Fill `next_entry` of `simulate_set` from the codes."""
    bars = len(direction)
    next_entry[bars] = bars
    coming = bars
    for bar in range(bars - 1, -1, -1):
        coming = bar if direction[bar] else coming
        next_entry[bar] = coming


@compiled
def update_drawdown(close, entry, end, sign, slippage, base, peak, fall, pnl, costs):  # type: ignore[no-untyped-def]
    """Peak of equity after a trade, and the deepest fall so far (a fraction, <= 0) below the peak of its moment."""
    fee, notional = costs[0], costs[2]
    size = notional / close[entry]
    price = close[entry] * (1 + sign * slippage)
    entry_fee = size * price * fee
    held = size * sign
    bound = (1 + fall) * peak
    # An open trade's last bar has the funding in it, and so has `pnl`.
    for bar in range(np.uint64(entry), np.uint64(end)):
        equity = base + (held * (close[bar] - price) - entry_fee)
        if equity > peak:
            peak = equity
            bound = (1 + fall) * peak
        elif equity < bound:
            fall = equity / peak - 1
            bound = equity
    equity = base + pnl
    peak = max(peak, equity)
    return peak, min(fall, equity / peak - 1)


@inlined
def profit_factor(profit, loss):  # type: ignore[no-untyped-def]
    """Profit factor; see `metrics.profit_factor`."""
    if profit <= 0:
        return 0.0
    return profit / loss if loss * PROFIT_FACTOR_CAP > profit else PROFIT_FACTOR_CAP


@compiled
def simulate_set(  # type: ignore[no-untyped-def]
    direction, next_entry, open_, high, low, close, paid, payments_by, window, max_price, distance, stop_atr,
    reward_risk, costs, slips, bars_per_year, exits, records, taken, gains, risks, figures, rules,
    limit,
):  # fmt: skip
    """Figures of one parameter set over a window (the fields of `Metrics`, in order), its confidence excepted.

    A trade that ended before the window's last bar is the same whatever bars follow, so windows share it. One that
    reaches the end of a window that others go beyond is simulated by itself, on what was known at that end.

    Args:
        direction: at each bar 1 for a long entry, 2 for a short one, else 0, shape (n,).
        paid, payments_by: of one coin; see `fill_funding`.
        window: a row of `panel.Panel.windows`.
        max_price: no entry at a close above it.
        next_entry: the first bar with an entry at or after each bar, n where there is none, shape (n + 1,).
        distance: ATR, price units, shape (n,); the stop stands `stop_atr` of it away.
        costs, slips: see `trade`.
        exits, records: trades known so far for this stop and target: a long one of each bar and a short one beside it,
            shapes (2 n,) and (2 n + 1, RECORD_FIELDS); the last place is for a trade of this window alone.
        taken, gains, risks: receive of closed trades the entry bar, the PnL, and the distance of the stop as a
            fraction of the close.
        rules: None where only stop and target end a trade (numba then compiles nothing of the rest), else those of
            `exit_loops.trade_with_exits`.
        limit: None where entries fill at the close of their bar, else that of `limit_loops.trade_with_limit`, whose
            records then are those of `records`; it needs `rules`.

    Returns:
        Number of closed trades.
    """
    capital = costs[3]
    begin, bars, split, known = window[1], window[2], window[3], window[4]
    length = bars - begin
    until, spare = np.uint64(bars), np.uint64(2 * len(close))
    # At a window's end a payment at the very as-of is not known yet.
    goes_on = bars < len(close) or payments_by[1, bars - 1] > known
    equity, peak, fall = capital, capital, 0.0
    squared, cubed, fourth = 0.0, 0.0, 0.0
    total, profit, loss, fees, funding = 0.0, 0.0, 0.0, 0.0, 0.0
    count, wins, held = 0, 0, 0
    seen, seen_wins, seen_total, seen_profit, seen_loss = 0, 0, 0.0, 0.0, 0.0
    held_back, held_back_total = 0, 0.0
    bound = capital
    bar = np.uint64(next_entry[begin])
    while bar < until:
        is_long = direction[bar] == 1
        sign, signal = 1.0 if is_long else -1.0, np.int64(bar)  # what waits or has exits counts with signs
        ordered = close[bar] if limit is None else close[bar] * (1 - sign * limit[1])
        if ordered > max_price:
            bar = np.uint64(next_entry[bar + ONE])
            continue
        at = bar + bar if is_long else bar + bar + ONE
        end = int(exits[at])
        if end < 0:
            if end == UNKNOWN:
                away = distance[bar] * stop_atr
                reach = away if is_long else away * reward_risk
                end = NO_ENTRY
                fraction = away / close[bar]
                if away > 0 and reach < close[bar] and fraction < costs[4]:
                    if limit is not None:
                        if limit[1] < fraction:
                            is_filled, end, _, _ = trade_with_limit(
                                open_, high, low, close, paid, payments_by,
                                signal, sign, fraction, reward_risk, costs, slips, rules, limit, records[at],
                            )  # fmt: skip
                            end = end if is_filled else NO_ENTRY - 1 - end
                    elif rules is None:
                        end, _ = trade(
                            open_, high, low, close, paid, payments_by,
                            bar, sign, fraction, reward_risk, costs, slips, records, at,
                        )  # fmt: skip
                    else:
                        end, _, _ = trade_with_exits(
                            open_, high, low, close, paid, payments_by,
                            signal, sign, fraction, reward_risk, costs, slips, rules, records[at],
                        )  # fmt: skip
                exits[at] = end
            if end == NO_ENTRY:
                bar = np.uint64(next_entry[bar + ONE])
                continue
        if goes_on and (end if end >= 0 else NO_ENTRY - 1 - end) >= bars - 1:
            at = spare
            paid_by = payments_by[1, bars - 1]
            payments_by[1, bars - 1] = min(paid_by, known)
            fraction = distance[bar] * stop_atr / close[bar]
            if limit is not None:
                is_filled, end, _, _ = trade_with_limit(
                    open_[:bars], high[:bars], low[:bars], close[:bars], paid, payments_by,
                    signal, sign, fraction, reward_risk, costs, slips, rules, limit, records[at],
                )  # fmt: skip
                end = end if is_filled else NO_ENTRY - 1 - end
            elif rules is None:
                end, _ = one_trade(
                    open_[:bars], high[:bars], low[:bars], close[:bars], paid, payments_by,
                    bar, sign, fraction, reward_risk, costs, slips, records, at,
                )  # fmt: skip
            else:
                end, _, _ = trade_with_exits(
                    open_[:bars], high[:bars], low[:bars], close[:bars], paid, payments_by,
                    signal, sign, fraction, reward_risk, costs, slips, rules, records[at],
                )  # fmt: skip
            payments_by[1, bars - 1] = paid_by
        if limit is not None and end < NO_ENTRY:
            bar = np.uint64(next_entry[NO_ENTRY - end])
            continue
        entry = int(signal) if limit is None else int(records[at, FILL])
        pnl = records[at, PNL]
        squared += records[at, SQUARED]
        cubed += records[at, CUBED]
        fourth += records[at, FOURTH]
        highest, lowest = equity + records[at, BEST], equity + records[at, WORST]
        # The bars are looked at only where the trade can both set a new peak and fall deeper than ever.
        if highest <= peak:
            if lowest < bound:
                fall = lowest / peak - 1
                bound = lowest
        else:
            if lowest < (1 + fall) * highest:
                last = end if end < bars else bars - 1
                if rules is None:
                    slip = slips[bar] if len(slips) else costs[1]
                    peak, fall = update_drawdown(close, bar, last, sign, slip, equity, peak, fall, pnl, costs)
                else:  # what its equity was at closes is found once more: it is asked for seldom
                    paid_by = payments_by[1, bars - 1]
                    payments_by[1, bars - 1] = min(paid_by, known)
                    if limit is not None:
                        trade_with_limit(
                            open_[:bars], high[:bars], low[:bars], close[:bars], paid, payments_by, signal, sign,
                            distance[bar] * stop_atr / close[bar], reward_risk, costs, slips, rules, limit,
                            records[at],
                        )  # fmt: skip
                    else:
                        trade_with_exits(
                            open_[:bars], high[:bars], low[:bars], close[:bars], paid, payments_by, signal, sign,
                            distance[bar] * stop_atr / close[bar], reward_risk, costs, slips, rules, records[at],
                        )  # fmt: skip
                    payments_by[1, bars - 1] = paid_by
                    peak, fall = drawdown_with_exits(entry, last, rules[5], equity, peak, fall)
            else:
                peak = highest
            bound = (1 + fall) * peak
        equity += pnl
        if end == bars:
            held += bars - 1 - entry
            break
        held += end - entry
        taken[count] = bar
        gains[count] = pnl
        risks[count] = distance[bar] * stop_atr / close[bar] if limit is None else records[at, RISK]
        count += 1
        total += pnl
        won = pnl > 0
        wins += won
        profit += pnl if won else 0.0
        loss -= 0.0 if won else pnl
        fees += records[at, FEES]
        funding += records[at, FUNDING]
        if end < split:
            seen, seen_wins, seen_total, seen_profit, seen_loss = count, wins, total, profit, loss
        elif entry >= split:
            held_back += 1
            held_back_total += pnl
        bar = np.uint64(next_entry[np.uint64(end + 1)])
    mean = (equity - capital) / capital / length
    # Raw moments of the changes as fractions of capital; see `metrics.moments`.
    second = squared / capital**2 / length
    third = cubed / capital**3 / length
    fourth = fourth / capital**4 / length
    variance = second - mean * mean
    if variance <= ROUNDING * max(second, ROUNDING):
        variance = 0.0
    figures[0] = count
    figures[1] = wins / count * 100 if count else 0.0
    figures[2] = profit_factor(profit, loss)
    figures[3] = total / capital * 100
    figures[4] = min(fall * 100, 0.0)
    figures[5] = mean / np.sqrt(variance) * np.sqrt(bars_per_year) if variance > 0 else 0.0
    figures[6] = total
    figures[7] = 0.0
    figures[8] = fees
    figures[9] = funding
    figures[10] = held / length * 100
    figures[11], figures[12] = 0.0, 3.0
    if variance > 0:
        figures[11] = (third - 3 * mean * second + 2 * mean**3) / (variance * np.sqrt(variance))
        figures[12] = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / variance**2
    figures[13] = seen
    figures[14] = seen_wins / seen * 100 * profit_factor(seen_profit, seen_loss) * np.log(seen + 1.0) if seen else 0.0
    figures[15] = seen_total
    figures[16] = held_back
    figures[17] = held_back_total
    return count


@compiled
def all_trades(  # type: ignore[no-untyped-def]
    long, short, open_, high, low, close, paid, payments_by, stop_fraction, reward_risk, costs, slips,
    entries, ends, signs, prices, records,
):  # fmt: skip
    """Trades of given entries in order. Returns how many; they fill the last five arrays, of shape (n,); `records` has
    (n, RECORD_FIELDS).

    An open trade ends at n, at the last close.
    """
    count, bar = 0, 0
    while bar < len(long):
        if long[bar] or short[bar]:
            sign = 1.0 if long[bar] else -1.0
            end, price = trade(
                open_, high, low, close, paid, payments_by,
                np.uint64(bar), sign, stop_fraction[bar], reward_risk, costs, slips, records, np.uint64(count),
            )  # fmt: skip
            entries[count], ends[count], signs[count], prices[count] = bar, end, sign, price
            count += 1
            bar = end
        bar += 1
    return count


@compiled
def each_trade(  # type: ignore[no-untyped-def]
    bars, signs, stop_fraction, reward_risk, open_, high, low, close, paid, payments_by, costs, slips, records, pnl
):  # fmt: skip
    """PnL of the trade that each of the given entries would be by itself, whatever the others do.

    Args:
        bars, signs, stop_fraction, reward_risk: of each entry, shape (k,).
        records: room of shape (1, RECORD_FIELDS).
        pnl: receives the results, shape (k,); NaN where there is no such entry.
    """
    for index in range(len(bars)):
        bar, fraction = bars[index], stop_fraction[index]
        reach = fraction if signs[index] > 0 else fraction * reward_risk[index]
        pnl[index] = np.nan
        if fraction > 0 and reach < 1 and fraction < costs[4]:
            trade(
                open_, high, low, close, paid, payments_by,
                np.uint64(bar), signs[index], fraction, reward_risk[index], costs, slips, records, np.uint64(0),
            )  # fmt: skip
            pnl[index] = records[0, PNL]
