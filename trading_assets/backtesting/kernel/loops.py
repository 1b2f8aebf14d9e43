"""The compiled loops: where a trade ends, and the figures of all trades of a parameter set without keeping them.

Import this module only where a simulation begins: it imports numba, which costs a second. A trade does not depend on
the account (its size is fixed), so a trade that starts at one bar is one trade for every parameter set with the same
stop and target: `walk` keeps what it found in `exits` and `lines` and looks it up for the next set.
"""

from __future__ import annotations

import numba  # noqa: TID253 (this module is imported lazily)
import numpy as np

from trading_assets.backtesting.metrics import PROFIT_FACTOR_CAP

OPEN, HIGH, LOW, CLOSE, PAID_AT_OPEN, PAID_AT_CLOSE = range(6)
"""Rows of `market`, shape (6, n): prices; funding per coin paid by a long since the first bar, up to the open and up
to the close of each bar."""
MARKET_ROWS = 6

EXIT_PRICE, PNL, FEES, FUNDING, SQUARED, WORST, BEST, CLOSED, CUBED, FOURTH = range(10)
"""Fields of a line, shape (LINE,): one trade. SQUARED, CUBED and FOURTH sum powers of the changes of equity, WORST and
BEST are the extremes of equity relative to that before the entry, all in USD at closes."""

UNKNOWN, NO_ENTRY = -1, -2
"""Values of `exits` that are no bar: not yet looked at; the stop or target of such an entry would not lie above 0."""

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

inlined = numba.njit(inline="always", error_model="numpy")
"""A call with arrays costs more than the loop inside: 80 ns for a trade, 26 inlined."""

_real = numba.types.Array(numba.float64, 1, "C", readonly=True)
_whole = numba.types.Array(numba.int64, 1, "C", readonly=True)


@numba.njit(
    numba.void(_real, _real, _real, _real, _whole, numba.int64, _whole, _real, numba.float64[:, ::1]),
    cache=True,
    error_model="numpy",
)
def fill_market(open_, high, low, close, start_ms, bar_ms, funding_ms, rate, market):  # type: ignore[no-untyped-def]
    """Fill the rows of `market` from candles and funding payments, all of one symbol."""
    payments = len(funding_ms)
    # Payments before the first close belong to no trade of the window: cumulated alike, they cancel out.
    paid = np.zeros(payments + 1)
    known = 0
    for payment in range(payments):
        while known < len(close) and start_ms[known] + bar_ms <= funding_ms[payment]:
            known += 1
        paid[payment + 1] = paid[payment] + (rate[payment] * close[known - 1] if known else 0.0)
    by_open, by_close = 0, 0
    for bar in range(len(close)):
        while by_open < payments and funding_ms[by_open] <= start_ms[bar]:
            by_open += 1
        while by_close < payments and funding_ms[by_close] <= start_ms[bar] + bar_ms:
            by_close += 1
        market[OPEN, bar] = open_[bar]
        market[HIGH, bar] = high[bar]
        market[LOW, bar] = low[bar]
        market[CLOSE, bar] = close[bar]
        market[PAID_AT_OPEN, bar] = paid[by_open]
        market[PAID_AT_CLOSE, bar] = paid[by_close]


@inlined
def exit_of(open_, high, low, close, entry, sign, stop, target):  # type: ignore[no-untyped-def]
    """Where and at what price (before slippage) a trade ends, and what its closes did until then.

    Returns:
        (bar, price, lowest, highest, second, third, fourth): bar is -1 and price the last close where nothing ends it;
        extremes of the closes and sums of powers of their changes, the bar of the end excluded. The sums are made anew
        for each trade: differences of running sums would have lost their digits after a crash.
    """
    lowest = highest = before = close[entry]
    second, third, fourth = 0.0, 0.0, 0.0
    floor, ceiling = min(stop, target), max(stop, target)
    for bar in range(entry + 1, len(close)):
        if low[bar] <= floor or high[bar] >= ceiling:
            if sign > 0:
                price = min(open_[bar], stop) if low[bar] <= stop else max(open_[bar], target)
            else:
                price = max(open_[bar], stop) if high[bar] >= stop else min(open_[bar], target)
            return bar, price, lowest, highest, second, third, fourth
        now = close[bar]
        lowest = min(lowest, now)
        highest = max(highest, now)
        change = now - before
        square = change * change
        second += square
        third += square * change
        fourth += square * square
        before = now
    return -1, close[len(close) - 1], lowest, highest, second, third, fourth


@inlined
def trade(  # type: ignore[no-untyped-def]
    open_, high, low, close, paid_at_open, paid_at_close, entry, sign, stop_fraction, reward_risk, costs,
    lines, row, place,
):  # fmt: skip
    """Simulate the trade that enters at the close of a bar.

    Args:
        costs: fee, slippage, notional, and more that is not read here.
        lines: receives the trade at [row, place].

    Returns:
        The bar of its end; the last bar where nothing ends it.
    """
    fee, slippage, notional = costs[0], costs[1], costs[2]
    at = close[entry]
    size = notional / at
    price = at * (1 + sign * slippage)
    stop = price * (1 - sign * stop_fraction)
    target = price * (1 + sign * (stop_fraction * reward_risk))
    bar, touched, lowest, highest, second, third, fourth = exit_of(open_, high, low, close, entry, sign, stop, target)
    entry_fee = size * price * fee
    held = size * sign
    at_entry = held * (at - price) - entry_fee
    at_lowest, at_highest = held * (lowest - price) - entry_fee, held * (highest - price) - entry_fee
    worst, best = min(at_lowest, at_highest), max(at_lowest, at_highest)
    if bar < 0:
        last = len(close) - 1
        paid = held * (paid_at_close[last] - paid_at_close[entry])
        pnl = held * (touched - price) - entry_fee - paid
        # The last bar counts with its funding, as `pnl`, so its bare close is no extreme.
        worst = best = at_entry if last > entry else pnl
        second, third, fourth = 0.0, 0.0, 0.0
        for held_bar in range(entry + 1, last):
            marked = held * (close[held_bar] - price) - entry_fee
            worst, best = min(worst, marked), max(best, marked)
            step = close[held_bar] - close[held_bar - 1]
            second, third, fourth = second + step**2, third + step**3, fourth + step**4
        best = max(best, pnl)
        # Funding is booked at the last bar, on top of that bar's change.
        change = held * (close[last] - close[last - 1]) - paid if last > entry else 0.0
        lines[row, place, EXIT_PRICE] = touched
        lines[row, place, FEES] = entry_fee
        lines[row, place, CLOSED] = 0.0
        end = last
    else:
        paid = held * (paid_at_open[bar] - paid_at_close[entry])
        exit_price = touched * (1 - sign * slippage)
        fees = entry_fee + size * exit_price * fee
        pnl = held * (exit_price - price) - fees - paid
        change = pnl - (held * (close[bar - 1] - price) - entry_fee)
        best = max(best, pnl)
        lines[row, place, EXIT_PRICE] = exit_price
        lines[row, place, FEES] = fees
        lines[row, place, CLOSED] = 1.0
        end = bar
    lines[row, place, PNL] = pnl
    lines[row, place, FUNDING] = paid
    lines[row, place, SQUARED] = at_entry**2 + held**2 * second + change**2
    lines[row, place, CUBED] = at_entry**3 + held**3 * third + change**3
    lines[row, place, FOURTH] = at_entry**4 + held**4 * fourth + change**4
    lines[row, place, WORST] = min(worst, pnl)
    lines[row, place, BEST] = best
    return end


@compiled
def follow(direction, following):  # type: ignore[no-untyped-def]
    """Fill `following` of `walk` from the codes."""
    bars = len(direction)
    following[bars] = bars
    coming = bars
    for bar in range(bars - 1, -1, -1):
        coming = bar if direction[bar] else coming
        following[bar] = coming


@compiled
def deepest(close, entry, end, sign, base, peak, pnl, closed, costs):  # type: ignore[no-untyped-def]
    """Peak of equity after a trade, and its deepest fall (a fraction, <= 0) below the peak of its moment."""
    fee, slippage, notional = costs[0], costs[1], costs[2]
    size = notional / close[entry]
    price = close[entry] * (1 + sign * slippage)
    entry_fee = size * price * fee
    fall = 0.0
    # An open trade's last bar has the funding in it, and so has `pnl`.
    for bar in range(entry, end):
        equity = base + (size * sign * (close[bar] - price) - entry_fee)
        peak = max(peak, equity)
        fall = min(fall, equity / peak - 1)
    equity = base + pnl
    peak = max(peak, equity)
    return peak, min(fall, equity / peak - 1)


@inlined
def ratio(profit, loss):  # type: ignore[no-untyped-def]
    """Profit factor; see `metrics.profit_factor`."""
    if profit <= 0:
        return 0.0
    return profit / loss if loss * PROFIT_FACTOR_CAP > profit else PROFIT_FACTOR_CAP


@compiled
def walk(  # type: ignore[no-untyped-def]
    direction, following, market, distance, stop_atr, reward_risk, costs, bars_per_year, split, exits, lines, taken,
    figures,
):  # fmt: skip
    """Figures of one parameter set (the fields of `Metrics`, in order), its confidence excepted.

    Args:
        direction: at each bar 1 for a long entry, 2 for a short one, else 0, shape (n,).
        following: the first bar with an entry at or after each bar, n where there is none, shape (n + 1,).
        distance: ATR, price units, shape (n,); the stop stands `stop_atr` of it away.
        costs: fee, slippage, notional, capital.
        split: first bar of the out-of-sample part.
        exits, lines: shapes (2, n) and (2, n, LINE); trades known so far for this stop and target, long and short.
        taken: receives the entry bars of closed trades.

    Returns:
        Number of entries in `taken`.
    """
    capital = costs[3]
    open_, high, low, close = market[OPEN], market[HIGH], market[LOW], market[CLOSE]
    paid_at_open, paid_at_close = market[PAID_AT_OPEN], market[PAID_AT_CLOSE]
    bars = len(close)
    equity, peak, fall = capital, capital, 0.0
    squared, cubed, fourth = 0.0, 0.0, 0.0
    total, profit, loss, fees, funding = 0.0, 0.0, 0.0, 0.0, 0.0
    count, wins, held = 0, 0, 0
    seen, seen_wins, seen_total, seen_profit, seen_loss = 0, 0, 0.0, 0.0, 0.0
    held_back, held_back_total = 0, 0.0
    bar = following[0]
    while bar < bars:
        side = direction[bar] - 1
        sign = 1.0 - 2.0 * side
        end = exits[side, bar]
        if end == UNKNOWN:
            away = distance[bar] * stop_atr
            reach = away if side == 0 else away * reward_risk
            end = NO_ENTRY
            if away > 0 and reach < close[bar]:
                fraction = away / close[bar]
                end = trade(
                    open_, high, low, close, paid_at_open, paid_at_close,
                    bar, sign, fraction, reward_risk, costs, lines, side, bar,
                )  # fmt: skip
            exits[side, bar] = end
        if end == NO_ENTRY:
            bar = following[bar + 1]
            continue
        pnl = lines[side, bar, PNL]
        closed = lines[side, bar, CLOSED] > 0
        squared += lines[side, bar, SQUARED]
        cubed += lines[side, bar, CUBED]
        fourth += lines[side, bar, FOURTH]
        highest, lowest = equity + lines[side, bar, BEST], equity + lines[side, bar, WORST]
        # The bars are looked at only where the trade can both set a new peak and fall deeper than ever.
        if highest <= peak:
            if lowest < (1 + fall) * peak:
                fall = min(fall, lowest / peak - 1)
        elif lowest < (1 + fall) * highest:
            peak, deeper = deepest(close, bar, end, sign, equity, peak, pnl, closed, costs)
            fall = min(fall, deeper)
        else:
            peak = highest
        equity += pnl
        held += end - bar
        if closed:
            taken[count] = bar
            count += 1
            total += pnl
            wins += pnl > 0
            profit += max(pnl, 0.0)
            loss += max(-pnl, 0.0)
            fees += lines[side, bar, FEES]
            funding += lines[side, bar, FUNDING]
            if end < split:
                seen, seen_wins, seen_total, seen_profit, seen_loss = count, wins, total, profit, loss
            elif bar >= split:
                held_back += 1
                held_back_total += pnl
        bar = following[end + 1]
    mean = (equity - capital) / capital / bars
    # Raw moments of the changes as fractions of capital; see `metrics.moments`.
    second = squared / capital**2 / bars
    third = cubed / capital**3 / bars
    fourth = fourth / capital**4 / bars
    variance = second - mean * mean
    figures[0] = count
    figures[1] = wins / count * 100 if count else 0.0
    figures[2] = ratio(profit, loss)
    figures[3] = total / capital * 100
    figures[4] = min(fall * 100, 0.0)
    figures[5] = mean / np.sqrt(variance) * np.sqrt(bars_per_year) if variance > 0 else 0.0
    figures[6] = total
    figures[7] = 0.0
    figures[8] = fees
    figures[9] = funding
    figures[10] = held / bars * 100
    figures[11], figures[12] = 0.0, 3.0
    if variance > 0:
        figures[11] = (third - 3 * mean * second + 2 * mean**3) / variance**1.5
        figures[12] = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / variance**2
    figures[13] = seen
    figures[14] = seen_wins / seen * 100 * ratio(seen_profit, seen_loss) * np.log(seen + 1.0) if seen else 0.0
    figures[15] = seen_total
    figures[16] = held_back
    figures[17] = held_back_total
    return count


@compiled
def all_trades(  # type: ignore[no-untyped-def]
    long, short, market, stop_fraction, reward_risk, costs, entries, ends, signs, lines
):
    """Trades of given entries in order; fills the last four arrays, shapes (n,) and (1, n, LINE). Returns how many."""
    open_, high, low, close = market[OPEN], market[HIGH], market[LOW], market[CLOSE]
    paid_at_open, paid_at_close = market[PAID_AT_OPEN], market[PAID_AT_CLOSE]
    count, bar = 0, 0
    while bar < len(long):
        if long[bar] or short[bar]:
            sign = 1.0 if long[bar] else -1.0
            end = trade(
                open_, high, low, close, paid_at_open, paid_at_close,
                bar, sign, stop_fraction[bar], reward_risk, costs, lines, 0, count,
            )  # fmt: skip
            entries[count], ends[count], signs[count] = bar, end, sign
            count += 1
            bar = end
        bar += 1
    return count
