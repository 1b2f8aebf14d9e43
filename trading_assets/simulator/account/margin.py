"""Margins and wallet figures of a unified account, cross or isolated. Reads only; nothing here moves money.

Isolated, a position has the margin that its entry needed and nothing more: its profit backs no other position, and its
loss can take no other's margin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import ISOLATED, ONE_WAY, TAKER_FEE, ZERO, Order, Position
from trading_assets.simulator.account.pricing import mark_price
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.market.base import Contract, Market
from trading_assets.simulator.market.risk import RiskTier, tiers


@dataclass(frozen=True)
class PositionFigures:
    """A position valued at `mark`, in its settle coin. Margins include the estimated fee of closing.

    `initial_margin` follows the mark price in cross margin; isolated it is what was set aside at entry or added since.
    """

    position: Position
    contract: Contract
    mark: Decimal
    value: Decimal
    unrealised: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    bankrupt_price: Decimal

    @property
    def isolated_equity(self) -> Decimal:
        """What is left of the margin set aside; only meaningful isolated."""
        return self.initial_margin + self.unrealised


@dataclass(frozen=True)
class AccountFigures:
    """The account in USD (settle coins count 1:1), all positions valued at one moment.

    `initial_margin` is that of the positions and of the orders that may open more.
    """

    wallet: Decimal
    unrealised: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    positions: tuple[PositionFigures, ...]
    order_margin: dict[str, Decimal]
    """by settle coin"""
    isolated: bool = False

    @property
    def margin_balance(self) -> Decimal:
        return self.wallet + self.unrealised

    @property
    def backing(self) -> Decimal:
        """What initial margin is taken from: isolated, unrealised profit is not in it."""
        return self.wallet if self.isolated else self.margin_balance

    @property
    def available(self) -> Decimal:
        """What new positions may use."""
        return max(ZERO, self.backing - self.initial_margin)

    @property
    def uncovered(self) -> tuple[PositionFigures, ...]:
        """Positions that must be liquidated: their equity no longer covers the maintenance margin.

        In cross margin that is a matter of the account, so all or none.
        """
        if self.isolated:
            return tuple(item for item in self.positions if item.isolated_equity <= item.maintenance_margin)
        return self.positions if self.margin_balance <= self.maintenance_margin else ()

    @property
    def must_be_liquidated(self) -> bool:
        return bool(self.uncovered)


@dataclass(frozen=True)
class Exposure:
    """What a position, in one-way mode, and its resting orders could become. Values in settle coin.

    Attributes:
        held: signed value of the position at mark.
        buys, sells: value of the orders that are not reduce-only.
    """

    held: Decimal
    buys: Decimal
    sells: Decimal

    @property
    def largest(self) -> Decimal:
        """The larger of both directions: margin is held for one of them only."""
        return max(abs(self.held), self.held + self.buys, self.sells - self.held)

    @property
    def side(self) -> Side:
        return Side.BUY if self.held + self.buys >= self.sells - self.held else Side.SELL

    def with_order(self, side: Side, value: Decimal) -> Exposure:
        if side is Side.BUY:
            return Exposure(self.held, self.buys + value, self.sells)
        return Exposure(self.held, self.buys, self.sells + value)


def tier_of(contract: Contract, value: Decimal) -> RiskTier | None:
    """The lowest tier that holds a position of `value`; None above the highest."""
    return next((tier for tier in tiers(contract) if value <= tier.limit), None)


def maintenance_margin(contract: Contract, value: Decimal) -> Decimal:
    """Of the tier, without the closing fee; beyond the highest tier its rate goes on."""
    tier = tier_of(contract, value) or tiers(contract)[-1]
    return value * tier.maintenance_rate - tier.deduction


def initial_margin(value: Decimal, leverage: Decimal, side: Side) -> Decimal:
    """value / leverage plus the taker fee of closing at the bankruptcy price."""
    return value / leverage + closing_fee(value, leverage, side)


def closing_fee(value: Decimal, leverage: Decimal, side: Side) -> Decimal:
    away = -1 / leverage if side is Side.BUY else 1 / leverage
    return value * TAKER_FEE * (1 + away)


def figures_of(position: Position, contract: Contract, mark: Decimal, *, isolated: bool) -> PositionFigures:
    """Value an open position."""
    size = abs(position.size)
    value = size * mark
    side = position.side or Side.BUY
    toward = 1 if side is Side.BUY else -1
    return PositionFigures(
        position=position,
        contract=contract,
        mark=mark,
        value=value,
        unrealised=toward * (value - position.entry_value),
        initial_margin=initial_margin(position.entry_value if isolated else value, position.leverage, side)
        + (position.added_margin if isolated else ZERO),
        maintenance_margin=maintenance_margin(contract, value) + closing_fee(value, position.leverage, side),
        bankrupt_price=position.entry_price * (1 - toward / position.leverage) - toward * position.added_margin / size,
    )


def account_figures(state: AccountState, market: Market, time_ms: int) -> AccountFigures:
    """The account at `time_ms`; the state must have been settled up to then."""
    return valued_account(
        state,
        market,
        {
            position.symbol: mark_price(market, market.contracts[position.symbol], time_ms)
            for position in state.open_positions()
        },
    )


def valued_account(state: AccountState, market: Market, marks: dict[str, Decimal]) -> AccountFigures:
    """The account at given mark prices of its open positions."""
    isolated = state.header.margin_mode == ISOLATED
    valued = tuple(
        figures_of(position, market.contracts[position.symbol], marks[position.symbol], isolated=isolated)
        for position in state.open_positions()
    )
    order_margin = _order_margins(state, market, marks)
    return AccountFigures(
        wallet=total(balance.wallet for balance in state.balances.values()),
        unrealised=total(item.unrealised for item in valued),
        initial_margin=total(item.initial_margin for item in valued) + total(order_margin.values()),
        maintenance_margin=total(item.maintenance_margin for item in valued),
        positions=valued,
        order_margin=order_margin,
        isolated=isolated,
    )


def exposure_of(state: AccountState, position: Position, mark: Decimal) -> Exposure:
    """The position and the orders in the book that may open more of it."""
    opening = [order for order in state.orders_of(position) if opens(order)]
    return Exposure(
        held=position.size * mark,
        buys=total(order.left_qty * order.price for order in opening if order.side is Side.BUY),
        sells=total(order.left_qty * order.price for order in opening if order.side is Side.SELL),
    )


def opens(order: Order) -> bool:
    """Margin is held for it: it is in the book and may open something."""
    if not order.is_active or order.reduce_only:
        return False
    return order.position_idx == ONE_WAY or order.side is opening_side(order.position_idx)


def opening_side(position_idx: int) -> Side:
    """Of a leg in hedge mode: buying opens the long, selling the short."""
    return Side.BUY if position_idx == 1 else Side.SELL


def _order_margins(state: AccountState, market: Market, marks: dict[str, Decimal]) -> dict[str, Decimal]:
    margins: dict[str, Decimal] = {}
    for symbol, index in dict.fromkeys((o.symbol, o.position_idx) for o in state.open_orders.values() if opens(o)):
        position = state.look_up(symbol, index)
        exposure = exposure_of(state, position, marks.get(symbol, ZERO))
        extra = exposure.largest - abs(exposure.held)
        coin = market.contracts[symbol].settle_coin
        margins[coin] = margins.get(coin, ZERO) + initial_margin(extra, position.leverage, exposure.side)
    return margins


def liquidation_price(account: AccountFigures, item: PositionFigures) -> Decimal | None:
    """Mark price at which equity would equal the maintenance margin, all else and the tiers unchanged.

    In cross margin that is the account's, and both legs of a symbol in hedge mode have the same. None where no
    price in (0, max_price] does that.
    """
    if account.isolated:
        legs, equity, fixed = [item], item.isolated_equity, item.maintenance_margin
    else:
        legs = [other for other in account.positions if other.position.symbol == item.position.symbol]
        equity, fixed = account.margin_balance, account.maintenance_margin
    net, rising = total(leg.position.size for leg in legs), ZERO
    for leg in legs:  # of the maintenance margin: what stays as it is, and what rises with each unit of price
        deduction = (tier_of(leg.contract, leg.value) or tiers(leg.contract)[-1]).deduction
        fixed -= leg.maintenance_margin + deduction
        rising += (leg.maintenance_margin + deduction) / leg.mark
    if net == rising:
        return None
    price = (fixed - equity + net * item.mark) / (net - rising)
    return price if 0 < price <= item.contract.max_price else None


def total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)
