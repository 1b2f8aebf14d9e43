"""The compiled loop of a trade whose entry waits at a price: docs/engine.md has the rules.

`loops.simulate_set` calls it where `Costs.entry` is set; the other paths know nothing of it. Once filled, a position is
followed by `exit_loops.follow_position`. Import this module only where a simulation begins: it imports numba.
"""

from __future__ import annotations

from trading_assets.backtesting.kernel.exit_loops import AT_CLOSE, AT_OPEN, WITHIN, follow_position
from trading_assets.backtesting.kernel.machine_code import cached

LIMIT, POST_ONLY, CHASE = range(3)
"""Numbers of the kinds, as `engine.LimitEntry.numbers` gives them."""

ROUNDING = 1e-9
"""A price is beyond another one only by more than this part of it: a touch must not become a fill by its last digit."""

KIND, OFFSET, BARS, FEE, DEVIATION = range(5)

FILL, RISK, ENTRY_PRICE, ENTRY_FEE = range(8, 12)
"""Fields of a record beside those of `loops`: the bar of the fill, `engine.risked`, price and fee of the entry."""

RECORD_FIELDS = 12


@cached(nogil=True, error_model="numpy")
def trade_with_limit(  # type: ignore[no-untyped-def]
    open_, high, low, close, paid, payments_by, signal, sign, stop_fraction, reward_risk, costs, slips, rules, limit,
    record,
):  # fmt: skip
    """Simulate the trade of an entry that waits from the close of a bar. The arguments are those of
    `exit_loops.trade_with_exits`, and:

    Args:
        limit: `engine.LimitEntry.numbers`.
        record: shape (RECORD_FIELDS,) of this module.

    Returns:
        Whether it was filled; and what `trade_with_exits` returns. Where it was not: the last bar that it took, 0, 0.
    """
    numbers, bars = rules[0], len(close)
    at = close[signal]
    level = at * (1 - sign * limit[OFFSET])
    size = costs[2] / level
    turned, over = level * sign, numbers[signal] + limit[BARS]
    through = turned - level * ROUNDING
    last, is_over = signal, False
    fill, moment, price, fee = -1, AT_CLOSE, level, limit[FEE]
    for bar in range(signal + 1, bars):
        if numbers[bar] > over:
            is_over = True
            break
        last = bar
        if open_[bar] * sign < through:
            if numbers[bar] == numbers[signal] + 1:  # it comes to a market that is beyond its price
                if limit[KIND] == POST_ONLY:
                    return False, signal, 0.0, 0
                slip = slips[bar] if len(slips) else costs[1]
                price, fee = sign * min(open_[bar] * sign * (1 + sign * slip), turned), costs[0]
            fill, moment = bar, AT_OPEN
            break
        if (low[bar] if sign > 0 else -high[bar]) < through:
            fill, moment = bar, WITHIN
            break
    is_over = is_over or numbers[last] >= over
    if fill < 0 and is_over and limit[KIND] == CHASE:
        farthest = at * (1 + sign * limit[DEVIATION]) * sign
        if close[last] * sign <= farthest:
            slip = slips[last] if len(slips) else costs[1]
            fill, price, fee = last, sign * min(close[last] * sign * (1 + sign * slip), farthest), costs[0]
    if fill < 0:
        return False, last, 0.0, 0
    entry_fee = size * price * fee
    end, mean, reason = follow_position(
        open_, high, low, close, paid, payments_by, signal, sign, stop_fraction, reward_risk, costs, slips, rules,
        record, fill, moment, level, price, size, entry_fee,
    )  # fmt: skip
    stop = at * (1 - sign * stop_fraction)
    record[FILL], record[RISK] = fill, (max(price * sign, turned) - stop * sign) / level
    record[ENTRY_PRICE], record[ENTRY_FEE] = price, entry_fee
    return True, end, mean, reason


@cached(nogil=True, error_model="numpy")
def all_trades_with_limit(  # type: ignore[no-untyped-def]
    long, short, open_, high, low, close, paid, payments_by, stop_fraction, reward_risk, costs, slips, rules, limit,
    entries, ends, signs, prices, reasons, records, part_bars, part_prices,
):  # fmt: skip
    """`exit_loops.all_trades_with_exits` of entries that wait; `entries` receives the bars of the signals."""
    numbers, codes, plan, roi, parts, marks, _, _ = rules
    count, bar = 0, 0
    while bar < len(long):
        if long[bar] or short[bar]:
            sign = 1.0 if long[bar] else -1.0
            of_one = (numbers, codes, plan, roi, parts, marks, part_bars[count], part_prices[count])
            is_filled, end, price, reason = trade_with_limit(
                open_, high, low, close, paid, payments_by,
                bar, sign, stop_fraction[bar], reward_risk, costs, slips, of_one, limit, records[count],
            )  # fmt: skip
            if is_filled:
                entries[count], ends[count], signs[count], prices[count] = bar, end, sign, price
                reasons[count] = reason
                count += 1
            bar = end
        bar += 1
    return count
