"""Margins and wallet figures of a cross-margin unified account. Reads only; nothing here moves money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.exchange.models import Side
from trading_assets.simulator.account.models import TAKER_FEE, ZERO, Position
from trading_assets.simulator.account.pricing import mark_price
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.market.base import Contract, Market


@dataclass(frozen=True)
class PositionFigures:
    """A position valued at `mark`, in its settle coin. Margins include the estimated fee of closing."""

    position: Position
    contract: Contract
    mark: Decimal
    value: Decimal
    unrealised: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    bankrupt_price: Decimal


@dataclass(frozen=True)
class AccountFigures:
    """The account in USD (settle coins count 1:1), all positions valued at one moment."""

    wallet: Decimal
    unrealised: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    positions: tuple[PositionFigures, ...]

    @property
    def margin_balance(self) -> Decimal:
        return self.wallet + self.unrealised

    @property
    def available(self) -> Decimal:
        """What new positions may use."""
        return max(ZERO, self.margin_balance - self.initial_margin)


def maintenance_rate(contract: Contract) -> Decimal:
    """Of the lowest risk tier: half the initial margin rate at the highest leverage."""
    return 1 / (2 * contract.max_leverage)


def initial_margin(value: Decimal, leverage: Decimal, side: Side) -> Decimal:
    """value / leverage plus the taker fee of closing at the bankruptcy price."""
    return value / leverage + closing_fee(value, leverage, side)


def closing_fee(value: Decimal, leverage: Decimal, side: Side) -> Decimal:
    away = -1 / leverage if side is Side.BUY else 1 / leverage
    return value * TAKER_FEE * (1 + away)


def figures_of(position: Position, contract: Contract, mark: Decimal) -> PositionFigures:
    """Value an open position."""
    value = abs(position.size) * mark
    side = position.side or Side.BUY
    toward = 1 if side is Side.BUY else -1
    return PositionFigures(
        position=position,
        contract=contract,
        mark=mark,
        value=value,
        unrealised=toward * (value - position.entry_value),
        initial_margin=initial_margin(value, position.leverage, side),
        maintenance_margin=value * maintenance_rate(contract) + closing_fee(value, position.leverage, side),
        bankrupt_price=position.entry_price * (1 - toward / position.leverage),
    )


def account_figures(state: AccountState, market: Market, time_ms: int) -> AccountFigures:
    """The account at `time_ms`; the state must have been settled up to then."""
    valued = tuple(
        figures_of(position, contract, mark_price(market, contract, time_ms))
        for position in state.open_positions()
        for contract in (market.contracts[position.symbol],)
    )
    return AccountFigures(
        wallet=total(balance.wallet for balance in state.balances.values()),
        unrealised=total(item.unrealised for item in valued),
        initial_margin=total(item.initial_margin for item in valued),
        maintenance_margin=total(item.maintenance_margin for item in valued),
        positions=valued,
    )


def liquidation_price(account: AccountFigures, item: PositionFigures) -> Decimal | None:
    """Mark price at which the margin balance would equal the maintenance margin, all else unchanged.

    None where no price in (0, max_price] does that.
    """
    size = abs(item.position.size)
    rate = item.maintenance_margin / item.value
    others = account.maintenance_margin - item.maintenance_margin
    if item.position.size > 0:
        price = (others - account.margin_balance + size * item.mark) / (size * (1 - rate))
    else:
        price = (account.margin_balance - others + size * item.mark) / (size * (1 + rate))
    return price if 0 < price <= item.contract.max_price else None


def total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)
