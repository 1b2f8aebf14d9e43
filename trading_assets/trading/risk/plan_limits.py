"""The account's limits, asked for all that a plan with resting orders may come to: a grid, or a DCA plan."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.ledger import dca
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.risk.limits import notional

ZERO = Decimal(0)


def kept_margin(context: ExecutionContext, symbol: str) -> Decimal:
    """Margin that DCA plans of other symbols may still need for what they have not deployed yet, USD.

    The exchange holds none for it. What waits at the exchange for these plans counts twice: it is on the safe side.

    Raises:
        ExchangeError: the positions cannot be read.
    """
    plans = [one for one in dca.living(context.database, context.settings.account) if one.symbol != symbol]
    if not plans:
        return ZERO
    held = {one.symbol: one.size * one.entry_price for one in context.exchange.positions()}
    return sum((max(one.max_deployed - held.get(one.symbol, ZERO), ZERO) / one.leverage for one in plans), ZERO)


def broken_limits(context: ExecutionContext, symbol: str, worst: Decimal, *, is_running: bool) -> list[str]:
    """Return the account's limits that a plan of a symbol would break.

    Args:
        worst: value of the position that all its orders may come to, USD.
        is_running: it has its place already, and is changed.

    Raises:
        ExchangeError: the account cannot be read.
    """
    settings, now_ms = context.settings, context.exchange.now_ms()
    begun = risk_guard.AccountReads(context.exchange)
    account = risk_guard.account_snapshot(context.database, begun, settings.account, now_ms)
    equity = account.wallet.equity * settings.capital_share_pct / 100
    if equity <= 0:
        return [f"the account has ${equity:.2f}"]
    found = []
    pct = worst / equity * 100
    if pct > settings.max_symbol_exposure_pct:
        most = settings.max_symbol_exposure_pct
        found.append(f"{symbol} may come to {pct:.1f} % of equity, at most {most} % (MAX_SYMBOL_EXPOSURE_PCT)")
    others = {name: value for name, value in account.owned.items() if not is_running or name != symbol}
    open_now = sum((notional(one) for one in account.positions if one.symbol not in account.owned), ZERO)
    open_now += sum(account.hidden.values(), ZERO) + sum(others.values(), ZERO) + sum(account.resting.values(), ZERO)
    total = (open_now + worst) / equity * 100
    if total > settings.max_total_exposure_pct:
        most = settings.max_total_exposure_pct
        found.append(f"all may come to {total:.1f} % of equity, at most {most} % (MAX_TOTAL_EXPOSURE_PCT)")
    taken = {one.symbol for one in account.positions} | account.occupied | account.hidden.keys() | others.keys()
    if not is_running and len(taken) >= settings.max_positions:
        found.append(f"{len(taken)} of {settings.max_positions} places are taken (MAX_POSITIONS)")
    return found
