"""Pre-trade checks: the gates that a signal must pass before its order. Pure.

This module has the gates of the signal and its market. The account's limits are in `limits`, pauses after losses in
`protections`.
"""

from __future__ import annotations

from decimal import Decimal

from trading_assets.core.flags import Flag
from trading_assets.core.models import ContractStatus, Ticker, is_leaving
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import as_of_ms, iso
from trading_assets.trading.risk.limits import limits
from trading_assets.trading.risk.pre_trade import Account, Candidate, Refusal
from trading_assets.trading.risk.protections import protections


def refusals(candidate: Candidate, ticker: Ticker, account: Account, settings: Settings, now_ms: int) -> list[Refusal]:
    """Return every gate that fails, in a fixed order. With an empty list the order may be sent."""
    found: list[Refusal] = []
    if now_ms >= candidate.ttl_ms:
        found.append(Refusal("expired", f"{(now_ms - candidate.ttl_ms) / 1000:.0f} s ago", final=True))
    age_s = (now_ms - as_of_ms(candidate.hour_ms)) / 1000
    if age_s > settings.max_selection_age_s:
        found.append(Refusal("selection", f"{age_s:.0f} s old, at most {settings.max_selection_age_s} s", final=True))
    if candidate.blocked is not None:
        found.append(Refusal("checks", candidate.blocked, final=True))
    if not candidate.confidence >= settings.min_confidence:  # so that NaN is refused
        found.append(
            Refusal("confidence", f"{candidate.confidence:g}, at least {settings.min_confidence:g}", final=True)
        )
    off = settings.flags.forbidding(candidate.symbol, candidate.side)
    if off:
        found.append(Refusal("flag", off, final=True))
    found.extend(_contract(candidate, settings, now_ms))
    deviation = abs(ticker.last / candidate.entry_price - 1) * 100 if candidate.entry_price > 0 else Decimal(100)
    if deviation > settings.max_price_deviation_pct:
        found.append(
            Refusal("price", f"{deviation:.2f} % from the signal's, at most {settings.max_price_deviation_pct} %")
        )
    if ticker.spread_pct > settings.max_spread_pct:
        found.append(Refusal("spread", f"{ticker.spread_pct:.3f} %, at most {settings.max_spread_pct} %"))
    if ticker.turnover_24h <= settings.min_entry_volume:
        found.append(
            Refusal(
                "volume",
                f"{ticker.turnover_24h:.0f} USD in 24 h, more than {settings.min_entry_volume} needed",
            )
        )
    available = account.wallet.available
    if available is None:
        found.append(Refusal("margin", "the exchange does not tell the free margin", of_account=True))
    elif available < settings.min_available_margin:
        found.append(
            Refusal(
                "margin",
                f"${available:.2f} free, at least ${settings.min_available_margin}",
                of_account=True,
            )
        )
    if candidate.symbol in account.grids:
        text = f"{candidate.symbol} belongs to a grid: trading-assets grid status {candidate.symbol}"
        found.append(Refusal("grid", text, final=True))
    elif candidate.symbol in account.dca:
        text = f"{candidate.symbol} belongs to a DCA plan: trading-assets dca status {candidate.symbol}"
        found.append(Refusal("DCA plan", text, final=True))
    elif candidate.symbol in {position.symbol for position in account.positions} | account.occupied:
        found.append(Refusal("position", f"{candidate.symbol} has an open position or order", final=True))
    found.extend(limits(candidate, account, settings, now_ms))
    if settings.flags.is_on(Flag.PAUSES, candidate.symbol):
        found.extend(protections(candidate.symbol, account.closings, settings, now_ms))
    return found


def _contract(candidate: Candidate, settings: Settings, now_ms: int) -> list[Refusal]:
    """Check that the contract is traded, and is not to be delivered."""
    if candidate.status is not ContractStatus.TRADING:
        return [Refusal("contract", f"{candidate.symbol} is {candidate.status.value}, not trading")]
    ends_ms = candidate.delivery_ms
    if ends_ms is None or not is_leaving(ends_ms, now_ms, settings.min_days_to_delivery):
        return []
    return [Refusal("contract", f"{candidate.symbol} is to be delivered at {iso(ends_ms)}", final=True)]
