"""Models of the pre-trade checks: the signal, the account, and a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from trading_assets.core.models import ContractStatus, Position, Rows, Wallet
from trading_assets.ledger.executions import Closing
from trading_assets.ledger.risk import NEVER_SET, StateChange


@dataclass(frozen=True)
class Refusal:
    """A gate that failed.

    Attributes:
        found: what the gate found.
        final: whether it fails for the rest of the signal's life.
        of_account: whether it fails for every signal alike. Then one alert is sent until it opens again.
    """

    gate: str
    found: str
    final: bool = False
    of_account: bool = False

    def __str__(self) -> str:
        return f"{self.gate}: {self.found}"


@dataclass(frozen=True)
class Account:
    """The account at one moment.

    Attributes:
        occupied: symbols with an order or position of ours.
        realised_today: PnL of closings and funding since 00:00 UTC, or since a person accepted today's loss, USD.
        peak_equity: highest equity recorded since a person last accepted a drawdown, USD.
        reconciled_ms: up to when the last reconciliation read; None if there was none.
        active_strategies: names that may trade.
        state: of the risk guard.
        closings: of ours in the last `CLOSINGS_BACK_MS`, ascending.
        hidden: last known value of positions whose rows cannot be read now, USD by symbol.
        resting: what orders of ours that wait may still fill, USD by symbol.
        grids: symbols of grids, each with the value of its position when every level of a side has opened, USD.
        dca: symbols of DCA plans, each with all that it may deploy, USD.
    """

    wallet: Wallet
    positions: Rows[Position] | tuple[Position, ...]
    occupied: frozenset[str]
    realised_today: Decimal
    peak_equity: Decimal
    reconciled_ms: int | None
    active_strategies: frozenset[str]
    state: StateChange = NEVER_SET
    closings: tuple[Closing, ...] = ()
    hidden: Mapping[str, Decimal] = field(default_factory=dict)
    resting: Mapping[str, Decimal] = field(default_factory=dict)
    grids: Mapping[str, Decimal] = field(default_factory=dict)
    dca: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def owned(self) -> Mapping[str, Decimal]:
        """Symbols of grids and DCA plans: each with the most that its position may come to, USD."""
        return {**self.grids, **self.dca}


@dataclass(frozen=True)
class Candidate:
    """What the gates need of a signal and its contract.

    Attributes:
        blocked: why the checks of its hour and candles block it.
        side: LONG or SHORT.
        delivery_ms: when the contract is settled, UTC ms, as far as it is announced.
        notional: the value that its position is to have, USD; None: that of each.
    """

    symbol: str
    strategy: str
    confidence: float
    entry_price: Decimal
    hour_ms: int
    ttl_ms: int
    side: str = "LONG"
    blocked: str | None = None
    status: ContractStatus = ContractStatus.TRADING
    delivery_ms: int | None = None
    notional: Decimal | None = None
