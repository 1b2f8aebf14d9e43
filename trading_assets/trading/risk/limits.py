"""The limits of the account: how much may be open, and how much may be lost. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.models import Position, Rows
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, floor_ms, iso
from trading_assets.ledger.risk import Cause, RiskState, StateChange, accepted_ms
from trading_assets.trading.risk.pre_trade import Account, Candidate, Refusal


@dataclass(frozen=True)
class Reached:
    """A limit that halts trading, and what was found."""

    cause: Cause
    found: str


def limits(candidate: Candidate, account: Account, settings: Settings, now_ms: int) -> list[Refusal]:
    """Return every limit that forbids one more position, in a fixed order."""
    found = [*_state(account, now_ms), *_reconciliation(account, settings, now_ms)]
    if candidate.strategy not in account.active_strategies:
        found.append(Refusal("strategy", f"{candidate.strategy} is stopped", final=True))
    if settings.strategies and candidate.strategy not in settings.strategies:
        text = f"{candidate.strategy} is none of the account's: {', '.join(settings.strategies)}"
        found.append(Refusal("strategy", text, final=True))
    if isinstance(account.positions, Rows) and any(
        row.symbol == candidate.symbol for row in account.positions.unreadable
    ):
        found.append(Refusal("positions", f"a row of {candidate.symbol} cannot be read: what is open is not known"))
    found.extend(_room(candidate, account, settings))
    for reached in losses_reached(
        account.wallet.equity, account.realised_today, account.peak_equity, settings=settings
    ):
        found.append(Refusal(reached.cause.value, reached.found, of_account=True))
    if account.wallet.equity <= 0:
        found.append(Refusal("equity", f"${account.wallet.equity:.2f}, expected more than zero", of_account=True))
    return found


def losses_reached(
    equity: Decimal, realised_today: Decimal, peak_equity: Decimal, *, settings: Settings
) -> list[Reached]:
    """Return the limits of loss that are reached: daily loss, drawdown. All in USD."""
    found = []
    lost = lost_today_pct(equity, realised_today)
    if lost >= settings.max_daily_loss_pct:
        found.append(
            Reached(Cause.DAILY_LOSS, f"{lost:.1f} % lost today, less than {settings.max_daily_loss_pct:g} % needed")
        )
    fallen = -drawdown_pct(equity, peak_equity)
    if fallen >= settings.max_drawdown_pct:
        found.append(
            Reached(Cause.DRAWDOWN, f"{fallen:.1f} % below the peak, less than {settings.max_drawdown_pct:g} % needed")
        )
    return found


def lost_today_pct(equity: Decimal, realised_today: Decimal) -> float:
    """Return today's realised loss, percent of the equity that the day began with; below 0 is a profit."""
    at_start = equity - realised_today
    return float(-realised_today / at_start * 100) if at_start > 0 else 100.0 if realised_today < 0 else 0.0


def loss_counts_from_ms(states: Sequence[StateChange], now_ms: int) -> int:
    """Return when today's loss begins: 00:00 UTC, or when a person resumed trading after the limit was reached."""
    return max(floor_ms(now_ms, DAY_MS), accepted_ms(states, Cause.DAILY_LOSS))


def drawdown_pct(equity: Decimal, peak: Decimal) -> float:
    """Return the distance of equity to its peak, percent, <= 0."""
    peak = max(peak, equity)
    return float((equity - peak) / peak * 100) if peak > 0 else 0.0


def notional(position: Position) -> Decimal:
    """Return the value of a position at its mark price, USD."""
    return position.size * position.mark_price


def _state(account: Account, now_ms: int) -> list[Refusal]:
    state = account.state
    if state.ended(now_ms) or state.state is RiskState.ACTIVE:
        return []
    until = "" if state.until_ms is None else f" until {iso(state.until_ms)}"
    return [
        Refusal(
            "state",
            f"{state.state.value}{until} by {state.actor}: {state.reason}",
            final=state.state is RiskState.HALTED,
            of_account=True,
        )
    ]


def _reconciliation(account: Account, settings: Settings, now_ms: int) -> list[Refusal]:
    if account.reconciled_ms is None:
        return [Refusal("reconciliation", "the books were never read", of_account=True)]
    age_s = (now_ms - account.reconciled_ms) / 1000
    if age_s <= settings.max_reconciliation_age_s:
        return []
    found = f"books read {age_s:.0f} s ago, at most {settings.max_reconciliation_age_s} s"
    return [Refusal("reconciliation", found, of_account=True)]


def _room(candidate: Candidate, account: Account, settings: Settings) -> list[Refusal]:
    """Check the number of positions, leverage, and shares of equity. An unsettled order counts as a whole position."""
    found = []
    held = {position.symbol for position in account.positions} | set(account.hidden)
    count = len(held | account.occupied | account.owned.keys())
    if count >= settings.max_positions:
        found.append(Refusal("positions", f"{count} open, at most {settings.max_positions}", of_account=True))
    if settings.leverage > settings.max_leverage:
        found.append(
            Refusal("leverage", f"{settings.leverage}x, at most {settings.max_leverage}x", final=True, of_account=True)
        )
    equity = account.wallet.equity * settings.capital_share_pct / 100
    if equity <= 0:
        return found  # the gate of equity tells
    planned = settings.target_notional if candidate.notional is None else candidate.notional
    margin_pct = planned / settings.leverage / equity * 100
    if margin_pct > settings.max_position_margin_pct:
        found.append(
            Refusal(
                "share",
                f"its margin is {margin_pct:.2f} % of ${equity:.2f}, at most {settings.max_position_margin_pct} %",
                of_account=True,
            )
        )
    # An order that waits counts with all that it may still fill: beside its position, or as one that is yet to come.
    pending = planned * len(account.occupied - held - account.resting.keys())
    pending += sum(account.resting.values(), Decimal(0))
    in_symbol = sum((notional(p) for p in account.positions if p.symbol == candidate.symbol), Decimal(0))
    in_symbol += account.hidden.get(candidate.symbol, Decimal(0))
    symbol_pct = (in_symbol + planned) / equity * 100
    if symbol_pct > settings.max_symbol_exposure_pct:
        text = f"{candidate.symbol} would be {symbol_pct:.1f} % of equity, at most {settings.max_symbol_exposure_pct} %"
        found.append(Refusal("exposure", text))
    # A grid counts with all that its worse side may come to, a DCA plan with all that it may deploy.
    open_now = sum((notional(one) for one in account.positions if one.symbol not in account.owned), Decimal(0))
    open_now += sum(account.hidden.values(), Decimal(0)) + sum(account.owned.values(), Decimal(0))
    total_pct = (open_now + pending + planned) / equity * 100
    if total_pct > settings.max_total_exposure_pct:
        text = f"all would be {total_pct:.1f} % of equity, at most {settings.max_total_exposure_pct} %"
        found.append(Refusal("total exposure", text, of_account=True))
    return found
