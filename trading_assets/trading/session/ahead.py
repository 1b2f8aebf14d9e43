"""Reads ahead of each close what its orders need, and sets leverages before a signal comes. See `trading.keeper`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from trading_assets.core.errors import OrderRejectedError, TradingAssetsError
from trading_assets.core.models import ContractStatus
from trading_assets.core.side_by_side import begin
from trading_assets.core.timeframes import Timeframe, floor_ms
from trading_assets.ledger import dca, grids, orders, risk
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.keeper import Keeper, Reading
from trading_assets.trading.risk.guard import AccountReads

LEAD_S = 1.0
"""So long before a candle closes the account and the prices are read."""

LEVERAGES_EVERY_S = 60.0
LEVERAGES_AGAIN_S = 1.0
LEVERAGES_A_LOOK = 8
"""After so many coins positions and orders are looked at again: nobody's leverage is to be changed."""

_SAMPLE_EVERY_S, _SAMPLES = 1.0, 20
_USUAL_PACE, _FASTEST_PACE = 1000.0, 50_000.0


class CloseWatch:
    """Tells when a close is near. The venue's time between two messages is that of the last one, and the time since.

    A market in haste has more than a second in each.
    """

    def __init__(self) -> None:
        self._samples = deque[tuple[float, int]](maxlen=_SAMPLES)
        self._told_ms = 0

    def is_near(self, timeframes: Iterable[Timeframe], venue_ms: int, heard_at: float, moment: float) -> bool:
        """Whether the next close of one of them is at most `LEAD_S` away; once for each close.

        Args:
            venue_ms: the venue's time of the newest message, UTC ms; 0 before the first.
            heard_at, moment: when that came, and now, s of a monotonic clock.
        """
        if not venue_ms:
            return False
        pace = self._pace(venue_ms, heard_at)
        now_ms = int(venue_ms + max(moment - heard_at, 0.0) * pace)
        close_ms = min((floor_ms(now_ms, one.ms) + one.ms for one in timeframes), default=0)
        if not close_ms or close_ms == self._told_ms or close_ms - now_ms > LEAD_S * pace:
            return False
        self._told_ms = close_ms
        return True

    def _pace(self, venue_ms: int, heard_at: float) -> float:
        """Milliseconds of the venue in a second."""
        if not self._samples or heard_at - self._samples[-1][0] >= _SAMPLE_EVERY_S:
            self._samples.append((heard_at, venue_ms))
        (first_at, first_ms), (last_at, last_ms) = self._samples[0], self._samples[-1]
        if last_at - first_at < 2 * _SAMPLE_EVERY_S:
            return _USUAL_PACE
        return min(max((last_ms - first_ms) / (last_at - first_at), _USUAL_PACE), _FASTEST_PACE)


class ReadAhead:
    """What a keeper is filled by: each function is the work of a thread of its own.

    Args:
        context: to read and set with; raises where the session may not trade.
        symbols: coins that may get a signal.
    """

    def __init__(
        self, keeper: Keeper, context: Callable[[], ExecutionContext], symbols: Callable[[], Iterable[str]]
    ) -> None:
        self._keeper, self._context, self._symbols = keeper, context, symbols

    def read(self) -> None:
        """Read positions, wallet and prices side by side; contracts and clock where they will soon be old.

        What fails is read again when a signal waits, and told there.
        """
        context = self._context()
        try:
            context.contracts.refresh(context.exchange, context.wall_ms())
            context.exchange.clock_offset_ms()
            epoch, began = self._keeper.begin()
            account, tickers = AccountReads(context.exchange), begin(context.exchange.tickers)
            reading = Reading(
                positions=account.positions.result(),
                wallet=account.wallet.result(),
                tickers=tickers.result(),
                venue_ms=context.exchange.now_ms(),
                began=began,
                epoch=epoch,
            )
        except TradingAssetsError:
            return
        self._keeper.keep(reading)

    def set_leverages(self) -> float | None:
        """Set the leverage of coins in which the account has neither position nor order: a person's leverage is his.

        Return after how many seconds to come again.
        """
        try:
            return self._set_some()
        except TradingAssetsError:
            return LEVERAGES_EVERY_S  # it is set before the order then, and told where that fails

    def _set_some(self) -> float:
        context, keeper = self._context(), self._keeper
        exchange, leverage = context.exchange, context.settings.leverage
        news = keeper.news
        ours = _owned(context)
        symbols = keeper.without_leverage((one for one in self._symbols() if one not in ours), leverage)
        if not symbols or not self._may_open(context):
            return LEVERAGES_EVERY_S
        contracts = context.contracts.get(exchange, set(), context.wall_ms())
        held, waiting = exchange.positions(), exchange.open_orders()
        taken = {one.symbol for one in held} | {one.symbol for one in waiting}
        free = [
            symbol
            for symbol in symbols
            if symbol not in taken
            and not held.may_hide(symbol)
            and not waiting.may_hide(symbol)
            and (contract := contracts.get(symbol)) is not None
            and contract.status is ContractStatus.TRADING
            and leverage <= contract.max_leverage
        ]
        for symbol in free[:LEVERAGES_A_LOOK]:
            if keeper.news != news or context.ends():
                return LEVERAGES_AGAIN_S
            keeper.setting(symbol)
            try:
                exchange.set_leverage(symbol, leverage)
            except OrderRejectedError:
                continue
            keeper.has_set(symbol, leverage)
        return LEVERAGES_AGAIN_S if len(free) > LEVERAGES_A_LOOK else LEVERAGES_EVERY_S

    @staticmethod
    def _may_open(context: ExecutionContext) -> bool:
        if context.is_halted_by_file or context.why_off():
            return False
        with context.database.read() as connection:
            return risk.entries_allowed(connection, context.settings.account, context.exchange.now_ms())


def _owned(context: ExecutionContext) -> set[str]:
    """Coins of ours that are taken, as far as the ledger knows."""
    database, account = context.database, context.settings.account
    found = {intent.symbol for intent in orders.occupying(database, account)}
    found |= {grid.symbol for grid in grids.living(database, account)}
    return found | {plan.symbol for plan in dca.living(database, account)}
