"""All that must hold before an order: one pure function over a snapshot, returning every refusal. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trading_assets.exchange.models import Position, Ticker, Wallet
from trading_assets.market.timeframes import as_of_ms
from trading_assets.settings import Settings


@dataclass(frozen=True)
class Refusal:
    """A gate that is shut. A `final` one cannot open during the signal's life."""

    gate: str
    found: str
    final: bool = False

    def __str__(self) -> str:
        return f"{self.gate}: {self.found}"


@dataclass(frozen=True)
class Account:
    """The account at one moment.

    Attributes:
        occupied: symbols with an order or position of ours.
        realised_today: PnL of closings since 00:00 UTC, USD.
        peak_equity: highest equity recorded, USD.
    """

    wallet: Wallet
    positions: tuple[Position, ...]
    occupied: frozenset[str]
    realised_today: Decimal
    peak_equity: Decimal


@dataclass(frozen=True)
class Candidate:
    """What of a signal the gates ask."""

    symbol: str
    confidence: float
    entry_price: Decimal
    hour_ms: int
    ttl_ms: int


def refusals(candidate: Candidate, ticker: Ticker, account: Account, settings: Settings, now_ms: int) -> list[Refusal]:
    """Every shut gate, in a fixed order; empty means the order may go out (spec sections 8 and 9)."""
    found: list[Refusal] = []
    if now_ms >= candidate.ttl_ms:
        found.append(Refusal("expired", f"{(now_ms - candidate.ttl_ms) / 1000:.0f} s ago", final=True))
    age_s = (now_ms - as_of_ms(candidate.hour_ms)) / 1000
    if age_s > settings.max_selection_age_s:
        found.append(Refusal("selection", f"{age_s:.0f} s old, at most {settings.max_selection_age_s} s", final=True))
    if not candidate.confidence >= settings.min_confidence:  # so that NaN is refused
        found.append(
            Refusal("confidence", f"{candidate.confidence:g}, at least {settings.min_confidence:g}", final=True)
        )
    deviation = abs(ticker.last / candidate.entry_price - 1) * 100
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
    if account.wallet.available < settings.min_available_margin:
        found.append(
            Refusal("margin", f"${account.wallet.available:.2f} free, at least ${settings.min_available_margin}")
        )
    held = {position.symbol for position in account.positions}
    if candidate.symbol in held | account.occupied:
        found.append(Refusal("position", f"{candidate.symbol} has an open position or order", final=True))
    open_count = len(held | account.occupied)
    if open_count >= settings.max_positions:
        found.append(Refusal("positions", f"{open_count} open, at most {settings.max_positions}"))
    found.extend(_losses(account, settings))
    return found


def _losses(account: Account, settings: Settings) -> list[Refusal]:
    found = []
    equity = account.wallet.equity
    at_start = equity - account.realised_today
    if at_start > 0:
        lost = float(-account.realised_today / at_start * 100)
        if lost >= settings.max_daily_loss_pct:
            found.append(
                Refusal(
                    "daily loss",
                    f"{lost:.1f} % lost today, less than {settings.max_daily_loss_pct:g} % needed",
                )
            )
    peak = max(account.peak_equity, equity)
    if peak <= 0:
        return [*found, Refusal("equity", f"${equity:.2f}, expected more than zero")]
    drawdown = float((peak - equity) / peak * 100)
    if drawdown >= settings.max_drawdown_pct:
        found.append(
            Refusal(
                "drawdown",
                f"{drawdown:.1f} % below the peak, less than {settings.max_drawdown_pct:g} % needed",
            )
        )
    return found
