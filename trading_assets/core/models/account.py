"""The account: wallet, positions, key, modes, fees, transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from trading_assets.core.models.orders import Side

DOLLARS = ("USDT", "USDC")
"""Coins that count as a dollar each: trades settle in them, and what is paid in or out in them moves the peak."""


@dataclass(frozen=True)
class Wallet:
    """The unified account in USD.

    Attributes:
        available: what new positions may use as margin; None where the venue does not tell it.
        initial_margin, maintenance_margin: of all positions and orders; None likewise.
        balances: of each coin, without open PnL, in the coin; empty where the venue does not tell them.
    """

    equity: Decimal
    wallet_balance: Decimal
    available: Decimal | None
    initial_margin: Decimal | None
    maintenance_margin: Decimal | None
    unrealised_pnl: Decimal
    balances: Mapping[str, Decimal] = field(default_factory=dict)

    def dollars(self) -> Decimal | None:
        """The balance of the coins that count as a dollar each; None where it is not told."""
        held = [balance for coin, balance in self.balances.items() if coin in DOLLARS]
        return sum(held, Decimal(0)) if held else None


@dataclass(frozen=True)
class Position:
    """An open position, or one leg of two in hedge mode.

    Attributes:
        position_idx: 0 in one-way mode; 1 is the long leg and 2 the short leg of hedge mode.
        stop_loss, take_profit: None where the venue holds none.
        trailing: distance of a stop that follows the price; this system sets none.
    """

    symbol: str
    side: Side
    size: Decimal
    entry_price: Decimal
    mark_price: Decimal
    leverage: Decimal
    unrealised_pnl: Decimal
    realised_pnl: Decimal
    liquidation_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    position_idx: int
    opened_ms: int
    updated_ms: int
    trailing: Decimal | None = None

    def is_still(self, before: Position) -> bool:
        """Whether it is what was read `before`: nothing was traded of it since, as far as can be seen."""
        return (self.symbol, self.position_idx, self.side, self.size, self.entry_price, self.opened_ms) == (
            before.symbol,
            before.position_idx,
            before.side,
            before.size,
            before.entry_price,
            before.opened_ms,
        )


@dataclass(frozen=True)
class ApiKeyInfo:
    """What the venue says of the key in use.

    Attributes:
        addresses: from which it may be used; empty means any.
        expires_ms: None where it does not expire.
        faults: what else forbids to trade with it, and what to do, in the venue's terms.
    """

    read_only: bool
    may_withdraw: bool
    addresses: tuple[str, ...]
    expires_ms: int | None
    faults: tuple[str, ...] = ()


class MarginMode(StrEnum):
    """What secures a position: the whole account, or its own margin alone."""

    CROSS = "cross"
    ISOLATED = "isolated"
    PORTFOLIO = "portfolio"
    OTHER = "other"


class PositionMode(StrEnum):
    """Whether a contract has one position, or a long and a short leg side by side."""

    ONE_WAY = "one-way"
    HEDGE = "hedge"
    UNKNOWN = "unknown"
    """the venue does not tell it now"""


@dataclass(frozen=True)
class FeeRate:
    """What the venue takes of an account's fills in a contract, fractions of notional."""

    symbol: str
    taker: Decimal
    maker: Decimal


@dataclass(frozen=True)
class AccountShape:
    """How the account is set up at the venue.

    Attributes:
        user_id: the venue's number of the account; None where it does not tell it (demo trading).
        position_mode: of the contract that was asked about.
    """

    user_id: str | None
    unified: bool
    margin_mode: MarginMode
    position_mode: PositionMode


class TransactionKind(StrEnum):
    """What changed the balance of a coin."""

    TRADE = "trade"
    FUNDING = "funding"
    TRANSFER = "transfer"
    """a deposit, a withdrawal or a transfer: money that was neither earned nor lost"""
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    OTHER = "other"


@dataclass(frozen=True)
class Transaction:
    """A row of the account's transaction log.

    Attributes:
        word: the venue's own word for the kind.
        change: of the coin's balance, in the coin; `balance` is the balance after it.
        fee: above 0 was paid; funding: above 0 was received.
    """

    transaction_id: str
    kind: TransactionKind
    word: str
    coin: str
    symbol: str
    change: Decimal
    balance: Decimal
    fee: Decimal
    funding: Decimal
    order_id: str
    time_ms: int
