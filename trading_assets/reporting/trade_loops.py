"""The compiled loops of a forward test: the trade of each entry by itself, many of one coin and timeframe at once.

How a trade goes is the business of `backtesting.kernel`; its machine code is kept with the kernel's. Import this module
only where trades are simulated: it imports numba.
"""

from __future__ import annotations

import numpy as np

from trading_assets.backtesting.kernel.exit_loops import trade_with_exits
from trading_assets.backtesting.kernel.limit_loops import trade_with_limit
from trading_assets.backtesting.kernel.loops import FEES, FUNDING, PNL, trade
from trading_assets.backtesting.kernel.machine_code import cached

FIRST_LOOK = 256
"""Most trades end within so many bars. What may look at all bars before it ends is first shown these, then four times
as many, and so on."""


@cached(nogil=True, error_model="numpy")
def follow_entries(  # type: ignore[no-untyped-def]
    bars, signs, fractions, rewards, open_, high, low, close, times_ms, ends_ms, rates, priced_at, payments_by,
    unpaid, none_by, costs, slips, records, ends, prices, figures,
):  # fmt: skip
    """Follow entries that fill at the close of their bar to a stop or target.

    Args:
        bars, signs, fractions, rewards: of each entry its bar, 1 or -1, the distance of the stop as a fraction of the
            close, and the target in such distances, shape (k,).
        ends_ms: close of each bar, shape (n,).
        times_ms, rates, priced_at: payments of funding, and the bar whose close is the price of each, shape (p,).
        payments_by: how many payments there were up to the open and up to the close of each bar, shape (2, n).
        unpaid, none_by: zeros of shape (1,) and (2, n): funding is added up here, from the trade's own first payment.
        costs, slips: see `loops.trade`.
        records: room of shape (1, RECORD_FIELDS).
        ends, prices, figures: receive the bar of the end (n where nothing ends it), its price, and PnL, fees and
            funding, shapes (k,), (k,) and (k, 3).
    """
    count = len(close)
    for index in range(len(bars)):
        bar, sign = bars[index], signs[index]
        end, price = trade(
            open_, high, low, close, unpaid, none_by,
            np.uint64(bar), sign, fractions[index], rewards[index], costs, slips, records, np.uint64(0),
        )  # fmt: skip
        ends[index], prices[index] = end, price
        begin = payments_by[1, bar]
        until = payments_by[0, end] if end < count else payments_by[1, count - 1]
        total = 0.0
        if begin > 0 and times_ms[begin - 1] == ends_ms[bar]:
            total += rates[begin - 1] * close[bar]
        before = total
        for payment in range(begin, until):
            total += rates[payment] * close[priced_at[payment]]
        funding = costs[2] / close[bar] * sign * (total - before)
        figures[index, 0] = records[0, PNL] - funding
        figures[index, 1] = records[0, FEES]
        figures[index, 2] = funding


@cached(nogil=True, error_model="numpy")
def follow_planned(  # type: ignore[no-untyped-def]
    bars, signs, fractions, rewards, open_, high, low, close, times_ms, ends_ms, rates, priced_at, payments_by, paid,
    costs, slips, rules, limit, look, record, is_filled, ends, prices, reasons, figures, fills,
):  # fmt: skip
    """Follow entries whose end a plan or exit conditions may decide, or that wait at a price.

    Arguments are those of `follow_entries`, and:

    Args:
        paid: room of shape (p + 1,).
        rules: of `exit_loops.trade_with_exits`.
        limit: of `limit_loops.trade_with_limit`; None where entries fill at the close of their bar.
        look: so many bars are looked at first.
        record: room of the record of a trade.
        is_filled, reasons, fills: receive whether an entry was filled, the reason of its end, and where it waited the
            fields of `limit_loops` after the others (bar, risk, price, fee), shapes (k,), (k,) and (k, 4).
    """
    count = len(close)
    for index in range(len(bars)):
        bar, sign = bars[index], signs[index]
        begin = payments_by[1, bar]
        if begin > 0 and times_ms[begin - 1] == ends_ms[bar]:
            begin -= 1
        paid[begin], known, shown = 0.0, begin, look
        while True:
            stop = min(bar + shown, count)
            until = payments_by[1, stop - 1]
            while known < until:
                paid[known + 1] = paid[known] + rates[known] * close[priced_at[known]]
                known += 1
            if limit is None:
                filled = True
                end, price, reason = trade_with_exits(
                    open_[:stop], high[:stop], low[:stop], close[:stop], paid, payments_by,
                    bar, sign, fractions[index], rewards[index], costs, slips, rules, record,
                )  # fmt: skip
            else:
                filled, end, price, reason = trade_with_limit(
                    open_[:stop], high[:stop], low[:stop], close[:stop], paid, payments_by,
                    bar, sign, fractions[index], rewards[index], costs, slips, rules, limit, record,
                )  # fmt: skip
            if not filled or end < stop or stop == count:
                break
            shown *= 4
        is_filled[index], ends[index], prices[index], reasons[index] = filled, end, price, reason
        figures[index, 0], figures[index, 1], figures[index, 2] = record[PNL], record[FEES], record[FUNDING]
        if limit is not None:
            for field in range(4):
                fills[index, field] = record[8 + field]
