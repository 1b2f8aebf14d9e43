"""What a rehearsal would trade: chosen and shown before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.models import ContractKind, ContractStatus, Instrument
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings

RESTING_AWAY = Decimal("0.1")
"""A resting order lies so far below the price, a fraction of it."""

MARGIN = Decimal("1.02")
"""So much above the least value of an order, as the price moves."""

LARGEST_VALUE = Decimal(500)
"""A rehearsal is never made with more than this, USD."""


@dataclass(frozen=True)
class Plan:
    """What would be traded, to be shown before it is."""

    contract: Instrument
    qty: Decimal
    price: Decimal

    @property
    def value(self) -> Decimal:
        """USD."""
        return self.qty * self.price


def plan(exchange: Exchange, settings: Settings, symbol: str | None) -> Plan:
    """The contract asked for, or the cheapest to try of those that are traded most; with the smallest quantity.

    Raises:
        ConfigurationError: the contract cannot be taken: it is not traded, something is open in it, or its smallest
            order is too large.
        ExchangeError: the venue cannot be asked.
    """
    tickers, listed = exchange.tickers(), exchange.instruments()
    busy = {one.symbol for one in exchange.positions()} | {one.symbol for one in exchange.open_orders()}
    plans = {
        one.symbol: Plan(one, smallest(one, tickers[one.symbol].last), tickers[one.symbol].last)
        for one in listed
        if one.status is ContractStatus.TRADING
        and one.kind is ContractKind.PERPETUAL
        and one.settle_coin == settings.symbols.settle_coin
        and one.symbol in tickers
    }
    if symbol is None:
        most = sorted(plans, key=lambda name: tickers[name].turnover_24h, reverse=True)[:10]
        free = [name for name in most if name not in busy]
        if not free:
            raise ConfigurationError("no contract with much trade is free of positions and orders: name one")
        symbol = min(free, key=lambda name: plans[name].value)
    if symbol not in plans:
        raise ConfigurationError(f"{symbol} is not traded here, expected a perpetual in {settings.symbols.settle_coin}")
    if symbol in busy:
        raise ConfigurationError(
            f"a position or an order is open in {symbol}: a rehearsal would mix with it. Name another contract"
        )
    found = plans[symbol]
    if found.value > LARGEST_VALUE:
        raise ConfigurationError(
            f"the smallest order in {symbol} is worth {found.value:.0f} USD, a rehearsal takes at most {LARGEST_VALUE}"
        )
    return found


def smallest(contract: Instrument, price: Decimal) -> Decimal:
    """The least quantity that the venue takes, also of a closing and of a resting order below the price."""
    value = contract.min_notional * MARGIN / (price * (1 - RESTING_AWAY))
    steps = (max(contract.min_qty, value) / contract.qty_step).to_integral_value(ROUND_CEILING)
    return steps * contract.qty_step
