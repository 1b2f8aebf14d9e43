"""The compiled walk of an account that is offered trades: `portfolio_simulation` says what its rules are.

It decides with floats what the live functions decide with decimals, and where the two might differ it asks them. Import
this module only where an account is simulated: it imports numba.
"""

from __future__ import annotations

from trading_assets.backtesting.kernel.machine_code import cached

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

(
    IS_OPEN, CLOSED_ON_BAR, TOO_SOON, HALTED, POSITIONS, STRATEGY, LEVERAGE, SHARE, EXPOSURE, TOTAL_EXPOSURE,
    DAILY_LOSS, DRAWDOWN, EQUITY, COOLDOWN, STOPS_IN_A_ROW, WEAK_SYMBOL, UNFILLED, REFUSALS,
) = range(18)  # fmt: skip
"""What may stand against a trade, in the order in which it is found out; `REFUSALS` is how many there are."""

NOTHING, UNSURE = -1, -2

(
    MAX_POSITIONS, LEVERAGE_TOO_HIGH, SIGNAL_INTERVAL_MS, COOLDOWN_MS, MOST_STOPS, STOPS_PAUSE_MS, WEAK_MS, WEAK_TRADES,
    CLOSINGS_BACK_MS,
) = range(9)  # fmt: skip
"""Whole numbers of the rules."""

(
    CAPITAL, PLANNED, PLANNED_MARGIN, CAPITAL_SHARE, MOST_MARGIN_PCT, MOST_SYMBOL_PCT, MOST_TOTAL_PCT, MOST_DAILY_PCT,
    MOST_DRAWDOWN_PCT, WEAK_PNL,
) = range(10)  # fmt: skip
"""Other numbers of the rules, USD and percent."""

NEAR = 1e-7
"""Floats decide what is farther than this from its limit, as a part of one more than the limit: a thousand times what
they are off."""

SMALL_USD = 1.0
"""Of an equity below this decimals decide."""


@cached(nogil=True, error_model="numpy")
def walk(  # type: ignore[no-untyped-def]
    entry_ms, exit_ms, symbol, strategy, step_ms, direction, size, entry_price, entry_fee, pnl, is_filled, is_closed,
    is_stop, filled_ms, is_allowed, marks_at, marks, prices, whole, numbers, times_ms, answers,
    equity_at, exposure_at, taken, refused, halts, found, last_exit, last_signal, open_, closings, moment,
):  # fmt: skip
    """Walk from hour to hour and offer each trade at its entry.

    Args:
        entry_ms, ..., is_allowed: of each trade, in order of entry, shape (k,). `symbol` and `strategy` are places in
            sorted texts, `step_ms` its bar's length, `is_allowed` whether the account trades its strategy.
        marks_at, marks: where the marks of each begin in `prices`, and how many there are.
        whole, numbers: the rules.
        times_ms: whole hours, shape (n,); `equity_at` and `exposure_at` receive what was there, the latter 0 at first.
        answers: what the live functions said where floats could not decide, in the order in which they were asked.
        taken: receives the trades taken, shape (k,); `refused` how many were, by the reason.
        halts, found: receive when and why the account was halted and how many had closed, and its equity and peak.
        last_exit, last_signal: room, by symbol and by symbol and strategy, zeros and -1.
        open_, closings: room for places of trades, shapes (most positions + 1,) and (k,).
        moment: receives what is asked of the live functions: trade (or -1), time, open positions and closings,
            and the first closing that counts.

    Returns:
        How many were taken and how many halts there were; -1 for the former where an answer is needed, with the equity
        and the peak of that moment.
    """
    capital = numbers[CAPITAL]
    cash, peak = capital, capital
    opened, closed, count, halted = 0, 0, 0, 0
    halted_until, oldest, asked = 0, 0, 0
    checked_hour, checked_taken, checked_closed = -1, 0, 0
    equity_at[0], exposure_at[0] = capital, 0.0
    place, offered = 1, 0
    # The first mark is before the first trade.
    first_mark = True
    while place < len(times_ms):
        is_offer = not first_mark and offered < len(entry_ms) and entry_ms[offered] <= times_ms[place]
        now = times_ms[0] if first_mark else entry_ms[offered] if is_offer else times_ms[place]
        # What has ended by now.
        while True:
            ended = -1
            for at in range(opened):
                one = open_[at]
                if (
                    is_closed[one]
                    and exit_ms[one] <= now
                    and (
                        ended < 0
                        or exit_ms[one] < exit_ms[open_[ended]]
                        or (exit_ms[one] == exit_ms[open_[ended]] and symbol[one] < symbol[open_[ended]])
                    )
                ):
                    ended = at
            if ended < 0:
                break
            one = open_[ended]
            for at in range(ended, opened - 1):
                open_[at] = open_[at + 1]
            opened -= 1
            last_exit[symbol[one]] = exit_ms[one]
            if is_filled[one]:
                cash += pnl[one]
                closings[closed] = one
                closed += 1
        # The limits of loss.
        hour = now // HOUR_MS
        known = hour == checked_hour and count == checked_taken and closed == checked_closed
        if now >= halted_until and not known:
            checked_hour, checked_taken, checked_closed = hour, count, closed
            total, _ = worth(now, opened, open_, exit_ms, direction, size, entry_price, entry_fee, pnl, is_filled,
                             filled_ms, entry_ms, marks_at, marks, prices)  # fmt: skip
            equity = cash + total
            if halted_until:
                halted_until = 0
                if halts[halted - 1, 1] == DRAWDOWN:
                    peak = equity
            cause = losses(equity, realised(now, closings, closed, exit_ms, pnl), peak, numbers, True)
            if cause == UNSURE:
                if asked == len(answers):
                    moment[:] = (-1, now, opened, closed, oldest)
                    return -1, halted, equity, peak
                cause = answers[asked]
                asked += 1
            if cause != NOTHING:
                halts[halted, 0], halts[halted, 1], halts[halted, 2] = now, cause, closed
                found[halted, 0], found[halted, 1] = equity, peak
                halted += 1
                halted_until = now // DAY_MS * DAY_MS + DAY_MS
                left = 0
                for at in range(opened):
                    one = open_[at]
                    if is_filled[one] and now >= filled_ms[one]:
                        open_[left] = one
                        left += 1
                    elif is_filled[one]:
                        refused[HALTED] += 1
                        kept = 0
                        for other in range(count):
                            if taken[other] != one:
                                taken[kept] = taken[other]
                                kept += 1
                        count = kept
                opened = left
        if not is_offer:
            total, exposure = worth(now, opened, open_, exit_ms, direction, size, entry_price, entry_fee, pnl,
                                    is_filled, filled_ms, entry_ms, marks_at, marks, prices)  # fmt: skip
            equity = cash + total
            peak = max(peak, equity)
            if first_mark:
                first_mark = False
                continue
            equity_at[place], exposure_at[place] = equity, exposure
            place += 1
            continue
        trade = offered
        offered += 1
        coin, key = symbol[trade], strategy[trade]
        is_held = False
        for at in range(opened):
            if symbol[open_[at]] == coin:
                is_held = True
        if is_held:
            refused[IS_OPEN] += 1
            continue
        if now - step_ms[trade] < last_exit[coin]:
            refused[CLOSED_ON_BAR] += 1
            continue
        if last_signal[coin, key] >= 0 and now - last_signal[coin, key] < whole[SIGNAL_INTERVAL_MS]:
            refused[TOO_SOON] += 1
            continue
        last_signal[coin, key] = now
        if now < halted_until:
            refused[HALTED] += 1
            continue
        if opened >= whole[MAX_POSITIONS]:
            refused[POSITIONS] += 1
            continue
        total, _ = worth(now, opened, open_, exit_ms, direction, size, entry_price, entry_fee, pnl, is_filled,
                         filled_ms, entry_ms, marks_at, marks, prices)  # fmt: skip
        equity = cash + total
        held = 0.0
        for at in range(opened):
            one = open_[at]
            held += size[one] * mark(now, one, entry_price, entry_ms, is_filled, marks_at, marks, prices)
        while oldest < closed and exit_ms[closings[oldest]] < now - whole[CLOSINGS_BACK_MS]:
            oldest += 1
        gate = refusal(now, trade, equity, held, peak, is_allowed, symbol, exit_ms, pnl, is_stop, closings, oldest,
                       closed, whole, numbers)  # fmt: skip
        if gate == UNSURE:
            if asked == len(answers):
                moment[:] = (trade, now, opened, closed, oldest)
                return -1, halted, equity, peak
            gate = answers[asked]
            asked += 1
        if gate != NOTHING:
            refused[gate] += 1
            continue
        if is_filled[trade]:
            taken[count] = trade
            count += 1
        else:  # known only to us: the account keeps its coin until then
            refused[UNFILLED] += 1
        open_[opened] = trade
        opened += 1
    return count, halted, 0.0, 0.0


@cached(nogil=True, error_model="numpy")
def mark(now, one, entry_price, entry_ms, is_filled, marks_at, marks, prices):  # type: ignore[no-untyped-def]
    """`ForwardTrade.mark_at`."""
    first = -(-entry_ms[one] // HOUR_MS) * HOUR_MS
    index = (now - first) // HOUR_MS
    if index < 0 or marks[one] == 0:
        return entry_price[one]
    return prices[marks_at[one] + min(index, marks[one] - 1)]


@cached(nogil=True, error_model="numpy")
def worth(  # type: ignore[no-untyped-def]
    now, opened, open_, exit_ms, direction, size, entry_price, entry_fee, pnl, is_filled, filled_ms, entry_ms,
    marks_at, marks, prices,
):  # fmt: skip
    """What open trades have earned so far, and the value of all positions, USD."""
    total, exposure = 0.0, 0.0
    for at in range(opened):
        one = open_[at]
        holds = is_filled[one] and now >= filled_ms[one]
        price = mark(now, one, entry_price, entry_ms, is_filled, marks_at, marks, prices)
        if now >= exit_ms[one]:
            total += pnl[one]
        elif holds:
            total += direction[one] * size[one] * (price - entry_price[one]) - entry_fee[one]
        else:
            total += 0.0
        if holds:
            exposure += size[one] * price
    return total, exposure


@cached(nogil=True, error_model="numpy")
def realised(now, closings, closed, exit_ms, pnl):  # type: ignore[no-untyped-def]
    """PnL of what was closed since 00:00 UTC, USD."""
    since, total = now // DAY_MS * DAY_MS, 0.0
    for at in range(closed - 1, -1, -1):
        if exit_ms[closings[at]] < since:
            break
        total += pnl[closings[at]]
    return total


@cached(nogil=True, error_model="numpy")
def losses(equity, lost_today, peak, numbers, worst):  # type: ignore[no-untyped-def]
    """`limits.losses_reached`: the drawdown of both where the worst is asked for, else the first; or `NOTHING`."""
    at_start = equity - lost_today
    top = max(peak, equity)
    if at_start < SMALL_USD or equity < SMALL_USD:
        return UNSURE
    lost, fallen = -lost_today / at_start * 100, (top - equity) / top * 100
    if near(lost, numbers[MOST_DAILY_PCT]) or near(fallen, numbers[MOST_DRAWDOWN_PCT]):
        return UNSURE
    is_lost, is_fallen = lost >= numbers[MOST_DAILY_PCT], fallen >= numbers[MOST_DRAWDOWN_PCT]
    if is_fallen and (worst or not is_lost):
        return DRAWDOWN
    return DAILY_LOSS if is_lost else NOTHING


@cached(nogil=True, error_model="numpy")
def near(value, limit):  # type: ignore[no-untyped-def]
    """Whether floats cannot tell which is larger."""
    return abs(value - limit) <= NEAR * (1 + abs(limit))


@cached(nogil=True, error_model="numpy")
def refusal(  # type: ignore[no-untyped-def]
    now, trade, equity, held, peak, is_allowed, symbol, exit_ms, pnl, is_stop, closings, oldest, closed, whole, numbers
):  # fmt: skip
    """The first of `limits.limits` and `protections.protections` that refuses a trade, `NOTHING` or `UNSURE`."""
    if not is_allowed[trade]:
        return STRATEGY
    if whole[LEVERAGE_TOO_HIGH]:
        return LEVERAGE
    share = equity * numbers[CAPITAL_SHARE] / 100
    if share < SMALL_USD:
        return UNSURE
    margin = numbers[PLANNED_MARGIN] / share * 100
    in_symbol, in_all = numbers[PLANNED] / share * 100, (held + numbers[PLANNED]) / share * 100
    if near(margin, numbers[MOST_MARGIN_PCT]):
        return UNSURE
    if margin > numbers[MOST_MARGIN_PCT]:
        return SHARE
    if near(in_symbol, numbers[MOST_SYMBOL_PCT]):
        return UNSURE
    if in_symbol > numbers[MOST_SYMBOL_PCT]:
        return EXPOSURE
    if near(in_all, numbers[MOST_TOTAL_PCT]):
        return UNSURE
    if in_all > numbers[MOST_TOTAL_PCT]:
        return TOTAL_EXPOSURE
    cause = losses(equity, realised(now, closings, closed, exit_ms, pnl), peak, numbers, False)
    if cause != NOTHING:
        return cause
    coin = symbol[trade]
    stopped_ms = -1
    for at in range(closed - 1, oldest - 1, -1):
        if symbol[closings[at]] == coin and is_stop[closings[at]]:
            stopped_ms = exit_ms[closings[at]]
            break
    if stopped_ms >= 0 and now < stopped_ms + whole[COOLDOWN_MS]:
        return COOLDOWN
    row = 0
    for at in range(closed - 1, oldest - 1, -1):
        if not is_stop[closings[at]]:
            break
        row += 1
    if row >= whole[MOST_STOPS]:
        if row == 0:
            return UNSURE
        if now < exit_ms[closings[closed - 1]] + whole[STOPS_PAUSE_MS]:
            return STOPS_IN_A_ROW
    weak, total = 0, 0.0
    for at in range(closed - 1, oldest - 1, -1):
        one = closings[at]
        if exit_ms[one] < now - whole[WEAK_MS]:
            break
        if symbol[one] == coin:
            weak += 1
            total += pnl[one]
    if weak >= whole[WEAK_TRADES]:
        if near(total, numbers[WEAK_PNL]):
            return UNSURE
        if total < numbers[WEAK_PNL]:
            return WEAK_SYMBOL
    return NOTHING
