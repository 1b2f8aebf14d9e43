"""The compiled loop of a trade that more than its stop and target may end.

`loops.simulate_set` calls it in place of `loops.trade` where a strategy has such exits; the other path knows nothing of
it. Import this module only where a simulation begins: it imports numba.
"""

from __future__ import annotations

import numpy as np

from trading_assets.backtesting.kernel.machine_code import cached
from trading_assets.core.exits import ExitReason

AFTER_BARS, TRAIL, TRAIL_FROM, BREAK_EVEN_FROM, BREAK_EVEN_TO = range(5)
"""Numbers of a plan, shape (PLAN_FIELDS,); see `core.exits.ExitPlan`."""

PLAN_FIELDS = 5
AT_CLOSE, WITHIN, AT_OPEN = range(3)
"""When in its bar a position was entered."""

NEVER = 1 << 40
"""Bars after which a step of an ROI table works that is no step."""

_OPEN, _STOP, _TARGET = int(ExitReason.OPEN), int(ExitReason.STOP), int(ExitReason.TARGET)
_SIGNAL, _TIME, _ROI = int(ExitReason.SIGNAL), int(ExitReason.TIME), int(ExitReason.ROI)


@cached(nogil=True, error_model="numpy")
def trade_with_exits(  # type: ignore[no-untyped-def]
    open_, high, low, close, paid, payments_by, entry, sign, stop_fraction, reward_risk, costs, slips, rules, record,
):  # fmt: skip
    """Simulate the trade that enters at the close of a bar. The arguments are those of `loops.trade`, and:

    Args:
        rules: numbers of the bars (consecutive where none is missing) and exit codes at each close (1 closes a long
            position, 2 a short one), shapes (n,), the latter of no bar where there are none; the plan's numbers; rows
            of the ROI table (bars, gain), padded with `NEVER`; rows of the parts (distance in stop distances, share),
            padded with shares of 0; room for equity at closes relative to that before the entry, shape (n,); room for
            bar (-1 where not filled) and price of each part.
        record: receives the trade, shape (RECORD_FIELDS,).

    Returns:
        The bar of its end, the mean price of its fills (n and with the rest marked at the last close where nothing ends
        it), and the reason, an `ExitReason`.
    """
    at = close[entry]
    size = costs[2] / at
    price = at * (1 + sign * (slips[entry] if len(slips) else costs[1]))
    return follow_position(
        open_, high, low, close, paid, payments_by, entry, sign, stop_fraction, reward_risk, costs, slips, rules,
        record, entry, AT_CLOSE, at, price, size, size * price * costs[0],
    )  # fmt: skip


@cached(nogil=True, error_model="numpy")
def follow_position(  # type: ignore[no-untyped-def]
    open_, high, low, close, paid, payments_by, signal, sign, stop_fraction, reward_risk, costs, slips, rules, record,
    fill, moment, level, price, size, entry_fee,
):  # fmt: skip
    """What becomes of a position. Arguments and result are those of `trade_with_exits`, and:

    Args:
        signal: the bar from whose close levels and time are measured.
        fill, moment: the bar in which it was entered, and when: `AT_CLOSE`, `WITHIN` it or `AT_OPEN`.
        level: the price it was entered at before slippage.
        price, size, entry_fee: of its entry.
    """
    numbers, codes, plan, roi, parts, marks, part_bars, part_prices = rules
    fee = costs[0]
    bars = len(close)
    at = close[signal]
    held = size * sign
    # Turned so that the stop of either side lies below and the target above.
    stop = sign * at * (1 - sign * stop_fraction)
    far = sign * at * (1 + sign * (stop_fraction * reward_risk))
    target = far
    code = 1 if sign > 0 else 2
    last_age = plan[AFTER_BARS]
    left, taken, next_part, parts_left = 1.0, 0.0, 0, 0
    for part in range(len(parts)):
        part_bars[part] = -1
        if parts[part, 1] > 0:
            parts_left += 1
    step = 0
    fees, funding, realised = entry_fee, 0.0, 0.0
    marks[fill] = held * (close[fill] - price) - entry_fee
    paid_before = paid[payments_by[1, fill] if moment == AT_CLOSE else payments_by[0, fill]]
    end, reason, touched = bars, _OPEN, close[bars - 1]
    for bar in range(fill + 1 if moment == AT_CLOSE else fill, bars):
        down, up = low[bar] * sign, high[bar] * sign
        if sign < 0:
            down, up = up, down
        opened, now = open_[bar] * sign, close[bar] * sign
        if bar == fill and moment == WITHIN:
            # Its best price may have been before the fill. Its close was not.
            opened, up = level * sign, now
        slip = slips[bar] if len(slips) else costs[1]
        if down <= stop:
            touched = opened if opened < stop else stop
            if len(slips):
                slip += costs[5] * abs(touched - down) / abs(touched)
            touched *= sign
            reason = _STOP
        else:
            while next_part < parts_left:
                level = sign * at * (1 + sign * (stop_fraction * parts[next_part, 0]))
                if level >= target or up < level:
                    break
                share = parts[next_part, 1]
                reached = sign * (opened if opened > level else level) * (1 - sign * slip)
                part_bars[next_part], part_prices[next_part] = bar, reached
                cost = size * share * reached * fee
                realised += held * share * (reached - price) - cost
                fees += cost
                funding += held * share * (paid[payments_by[0, bar]] - paid_before)
                taken += share * reached
                left -= share
                next_part += 1
            if up >= target:
                touched = sign * (opened if opened > target else target)
                reason = _TARGET
            else:
                age = numbers[bar] - numbers[signal]
                if len(codes) and codes[bar] & code:
                    reason = _SIGNAL
                elif last_age > 0 and age >= last_age:
                    reason = _TIME
                else:
                    gain = sign * (close[bar] / at - 1)
                    if plan[TRAIL] > 0 and gain >= plan[TRAIL_FROM]:
                        stop = max(stop, sign * (close[bar] * (1 - sign * plan[TRAIL])))
                    if plan[BREAK_EVEN_FROM] > 0 and gain >= plan[BREAK_EVEN_FROM]:
                        stop = max(stop, sign * (at * (1 + sign * plan[BREAK_EVEN_TO])))
                    while step < len(roi) and age >= roi[step, 0]:
                        target = min(far, sign * (at * (1 + sign * roi[step, 1])))
                        step += 1
                    if now >= target:
                        reason = _ROI
                if reason != _OPEN:
                    touched = close[bar]
        if reason != _OPEN:
            end = bar
            touched *= 1 - sign * slip
            break
        marks[bar] = realised + left * held * (close[bar] - price) - entry_fee
    if end < bars:
        fees += size * left * touched * fee
        funding += left * held * (paid[payments_by[0, end]] - paid_before)
    else:
        funding += left * held * (paid[payments_by[1, bars - 1]] - paid_before)
    mean = taken + left * touched
    pnl = held * (mean - price) - fees - funding
    final = end if end < bars else bars - 1
    marks[final] = pnl
    second, third, fourth, worst, best = 0.0, 0.0, 0.0, np.inf, -np.inf
    before = 0.0
    for bar in range(fill, final + 1):
        change = marks[bar] - before
        before = marks[bar]
        square = change * change
        second += square
        third += square * change
        fourth += square * square
        worst, best = min(worst, before), max(best, before)
    record[0], record[1], record[2] = pnl, fees, funding
    record[3], record[4], record[5], record[6], record[7] = second, third, fourth, worst, best
    return end, mean, reason


@cached(nogil=True, error_model="numpy")
def drawdown_with_exits(entry, end, marks, base, peak, fall):  # type: ignore[no-untyped-def]
    """Peak of equity after a trade, and the deepest fall so far below the peak of its moment; `marks` are its equity at
    closes, the last with all that it earned."""
    for bar in range(entry, end + 1):
        equity = base + marks[bar]
        peak = max(peak, equity)
        fall = min(fall, equity / peak - 1)
    return peak, fall


@cached(nogil=True, error_model="numpy")
def all_trades_with_exits(  # type: ignore[no-untyped-def]
    long, short, open_, high, low, close, paid, payments_by, stop_fraction, reward_risk, costs, slips, rules,
    entries, ends, signs, prices, reasons, records, part_bars, part_prices,
):  # fmt: skip
    """`loops.all_trades` with exits: also the reasons, shape (n,), and bar and price of parts, shapes (n, parts)."""
    numbers, codes, plan, roi, parts, marks, _, _ = rules
    count, bar = 0, 0
    while bar < len(long):
        if long[bar] or short[bar]:
            sign = 1.0 if long[bar] else -1.0
            of_one = (numbers, codes, plan, roi, parts, marks, part_bars[count], part_prices[count])
            end, price, reason = trade_with_exits(
                open_, high, low, close, paid, payments_by,
                bar, sign, stop_fraction[bar], reward_risk, costs, slips, of_one, records[count],
            )  # fmt: skip
            entries[count], ends[count], signs[count], prices[count] = bar, end, sign, price
            reasons[count] = reason
            count += 1
            bar = end
        bar += 1
    return count
