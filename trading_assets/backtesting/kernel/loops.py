"""The compiled loops: where a trade ends, and the figures of all trades of a parameter set without keeping them.

Import this module only where a simulation begins: it imports numba, which costs a second. A trade does not depend on
the account (its size is fixed), so a trade that starts at one bar is one trade for every parameter set with the same
stop and target: `walk` keeps what it found in `exits` and `lines` and looks it up for the next set.
"""

from __future__ import annotations

import numba  # noqa: TID253 (this module is imported lazily)
import numpy as np

from trading_assets.backtesting.metrics import PROFIT_FACTOR_CAP

OPEN, HIGH, LOW, CLOSE, PAID_AT_OPEN, PAID_AT_CLOSE, SQUARES = range(7)
"""Rows of `market`, shape (7, n): prices; funding per coin paid by a long since the first bar, up to the open and up
to the close of each bar; running sum of the squared changes of the close."""
MARKET_ROWS = 7

EXIT_PRICE, PNL, FEES, FUNDING, SQUARED, WORST, BEST, CLOSED = range(8)
"""Fields of a line, shape (8,): one trade. SQUARED sums the squared changes of equity, WORST and BEST are the extremes
of equity relative to that before the entry, all in USD at closes."""
LINE = 8

UNKNOWN, NO_ENTRY = -1, -2
"""Values of `exits` that are no bar: not yet looked at; the stop or target of such an entry would not lie above 0."""

LONG, SHORT = 1, 2
"""Codes of `direction`; 0 is no entry."""

FIGURES = 11

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

_real = numba.types.Array(numba.float64, 1, "C", readonly=True)
_whole = numba.types.Array(numba.int64, 1, "C", readonly=True)


@numba.njit(
    numba.void(_real, _real, _real, _real, _whole, numba.int64, _whole, _real, numba.float64[:, ::1]),
    nogil=True,
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
    by_open, by_close, squares = 0, 0, 0.0
    for bar in range(len(close)):
        while by_open < payments and funding_ms[by_open] <= start_ms[bar]:
            by_open += 1
        while by_close < payments and funding_ms[by_close] <= start_ms[bar] + bar_ms:
            by_close += 1
        if bar:
            squares += (close[bar] - close[bar - 1]) ** 2
        market[OPEN, bar] = open_[bar]
        market[HIGH, bar] = high[bar]
        market[LOW, bar] = low[bar]
        market[CLOSE, bar] = close[bar]
        market[PAID_AT_OPEN, bar] = paid[by_open]
        market[PAID_AT_CLOSE, bar] = paid[by_close]
        market[SQUARES, bar] = squares


@compiled
def exit_of(open_, high, low, close, entry, sign, stop, target):  # type: ignore[no-untyped-def]
    """Where and at what price (before slippage) a trade ends, and the extremes of the closes while it lasts.

    Returns:
        (bar, price, lowest, highest); bar is -1 and price the last close where nothing ends it.
    """
    lowest = highest = close[entry]
    for bar in range(entry + 1, len(close)):
        if sign > 0:
            if low[bar] <= stop:
                return bar, min(open_[bar], stop), lowest, highest
            if high[bar] >= target:
                return bar, max(open_[bar], target), lowest, highest
        else:
            if high[bar] >= stop:
                return bar, max(open_[bar], stop), lowest, highest
            if low[bar] <= target:
                return bar, min(open_[bar], target), lowest, highest
        lowest = min(lowest, close[bar])
        highest = max(highest, close[bar])
    return -1, close[len(close) - 1], lowest, highest


@compiled
def trade(market, entry, sign, stop_fraction, reward_risk, fee, slippage, notional, line):  # type: ignore[no-untyped-def]
    """Simulate the trade that enters at the close of a bar; fills `line` and returns the bar of its end."""
    close = market[CLOSE]
    size = notional / close[entry]
    price = close[entry] * (1 + sign * slippage)
    stop = price * (1 - sign * stop_fraction)
    target = price * (1 + sign * (stop_fraction * reward_risk))
    bar, touched, lowest, highest = exit_of(market[OPEN], market[HIGH], market[LOW], close, entry, sign, stop, target)
    entry_fee = size * price * fee
    held = size * sign
    at_entry = held * (close[entry] - price) - entry_fee
    if sign > 0:
        worst, best = held * (lowest - price) - entry_fee, held * (highest - price) - entry_fee
    else:
        worst, best = held * (highest - price) - entry_fee, held * (lowest - price) - entry_fee
    if bar < 0:
        last = len(close) - 1
        paid = held * (market[PAID_AT_CLOSE, last] - market[PAID_AT_CLOSE, entry])
        line[EXIT_PRICE] = touched
        line[PNL] = held * (touched - price) - entry_fee - paid
        line[FEES] = entry_fee
        line[FUNDING] = paid
        if last > entry:
            # Funding is booked at the last bar, on top of that bar's change.
            change = held * (close[last] - close[last - 1]) - paid
            inner = market[SQUARES, last - 1] - market[SQUARES, entry]
            line[SQUARED] = at_entry * at_entry + size * size * inner + change * change
        else:
            line[SQUARED] = at_entry * at_entry
        line[WORST] = min(worst, line[PNL])
        line[BEST] = best
        line[CLOSED] = 0.0
        return last
    paid = held * (market[PAID_AT_OPEN, bar] - market[PAID_AT_CLOSE, entry])
    exit_price = touched * (1 - sign * slippage)
    fees = entry_fee + size * exit_price * fee
    pnl = held * (exit_price - price) - fees - paid
    change = pnl - (held * (close[bar - 1] - price) - entry_fee)
    inner = market[SQUARES, bar - 1] - market[SQUARES, entry]
    line[EXIT_PRICE] = exit_price
    line[PNL] = pnl
    line[FEES] = fees
    line[FUNDING] = paid
    line[SQUARED] = at_entry * at_entry + size * size * inner + change * change
    line[WORST] = min(worst, pnl)
    line[BEST] = max(best, pnl)
    line[CLOSED] = 1.0
    return bar


@compiled
def deepest(market, entry, end, sign, base, peak, line, fee, slippage, notional):  # type: ignore[no-untyped-def]
    """Peak of equity after a trade, and its deepest fall (a fraction, <= 0) below the peak of its moment."""
    close = market[CLOSE]
    size = notional / close[entry]
    price = close[entry] * (1 + sign * slippage)
    entry_fee = size * price * fee
    fall = 0.0
    bars = end if line[CLOSED] > 0 else end + 1
    for bar in range(entry, bars):
        equity = base + (size * sign * (close[bar] - price) - entry_fee)
        if bar == end:
            equity = base + line[PNL]
        peak = max(peak, equity)
        fall = min(fall, equity / peak - 1)
    equity = base + line[PNL]
    peak = max(peak, equity)
    return peak, min(fall, equity / peak - 1)


@compiled
def walk(  # type: ignore[no-untyped-def]
    direction, market, distance, stop_atr, reward_risk, costs, bars_per_year, exits, lines, taken, figures
):
    """Figures of one parameter set (the fields of `Metrics`, in order), its confidence excepted.

    Args:
        direction: int8 codes, shape (n,).
        distance: ATR, price units, shape (n,); the stop stands `stop_atr` of it away.
        costs: fee, slippage, notional, capital.
        exits, lines: shapes (2, n) and (2, n, LINE); trades known so far for this stop and target, long and short.
        taken: receives the entry bars of closed trades.

    Returns:
        Number of entries in `taken`.
    """
    fee, slippage, notional, capital = costs
    close = market[CLOSE]
    bars = len(close)
    equity, peak, fall, squared = capital, capital, 0.0, 0.0
    total, profit, loss, fees, funding = 0.0, 0.0, 0.0, 0.0, 0.0
    count, wins, held = 0, 0, 0
    bar = 0
    while bar < bars:
        code = direction[bar]
        if code == 0:
            bar += 1
            continue
        side = code - 1
        end = exits[side, bar]
        if end < 0:
            if end == UNKNOWN:
                away = distance[bar] * stop_atr
                reach = away if side == 0 else away * reward_risk
                if away > 0 and reach < close[bar]:
                    end = trade(
                        market,
                        bar,
                        1.0 - 2.0 * side,
                        away / close[bar],
                        reward_risk,
                        fee,
                        slippage,
                        notional,
                        lines[side, bar],
                    )
                else:
                    end = NO_ENTRY
                exits[side, bar] = end
            if end == NO_ENTRY:
                bar += 1
                continue
        line = lines[side, bar]
        pnl = line[PNL]
        squared += line[SQUARED]
        high, low = equity + line[BEST], equity + line[WORST]
        if high <= peak:
            fall = min(fall, low / peak - 1)
        elif low / high - 1 < fall:
            peak, deeper = deepest(
                market, bar, end, 1.0 - 2.0 * side, equity, peak, line, fee, slippage, notional
            )
            fall = min(fall, deeper)
        else:
            peak = high
        equity += pnl
        held += end - bar
        if line[CLOSED] > 0:
            taken[count] = bar
            count += 1
            total += pnl
            if pnl > 0:
                wins += 1
                profit += pnl
            else:
                loss -= pnl
            fees += line[FEES]
            funding += line[FUNDING]
        bar = end + 1
    mean = (equity - capital) / capital / bars
    variance = squared / (capital * capital) / bars - mean * mean
    figures[0] = count
    figures[1] = wins / count * 100 if count else 0.0
    if profit <= 0:
        figures[2] = 0.0
    else:
        figures[2] = profit / loss if loss * PROFIT_FACTOR_CAP > profit else PROFIT_FACTOR_CAP
    figures[3] = total / capital * 100
    figures[4] = min(fall * 100, 0.0)
    figures[5] = mean / np.sqrt(variance) * np.sqrt(bars_per_year) if variance > 0 else 0.0
    figures[6] = total
    figures[7] = 0.0
    figures[8] = fees
    figures[9] = funding
    figures[10] = held / bars * 100
    return count


@compiled
def all_trades(long, short, market, stop_fraction, reward_risk, fee, slippage, notional, entries, ends, signs, lines):  # type: ignore[no-untyped-def]
    """Trades of given entries in order; fills the last four arrays, of shape (n,) and (n, LINE). Returns how many."""
    count, bar = 0, 0
    while bar < len(long):
        if long[bar] or short[bar]:
            sign = 1.0 if long[bar] else -1.0
            end = trade(
                market, bar, sign, stop_fraction[bar], reward_risk, fee, slippage, notional, lines[count]
            )
            entries[count], ends[count], signs[count] = bar, end, sign
            count += 1
            bar = end
        bar += 1
    return count
