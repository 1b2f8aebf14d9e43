"""Whether a venue's API key may trade. Pure but for the question to the venue; no key's text is read here."""

from __future__ import annotations

from dataclasses import dataclass

from trading_assets.core.errors import UnusableKeyError
from trading_assets.core.models import ApiKeyInfo
from trading_assets.core.ports import Exchange
from trading_assets.core.timeframes import DAY_MS, iso

EXPIRES_SOON_MS = 7 * DAY_MS


@dataclass(frozen=True)
class KeyVerdict:
    """What is known of a key: a line to show, what forbids to trade with it, and what should be made better."""

    summary: str
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def judge_key(info: ApiKeyInfo | None, now_ms: int) -> KeyVerdict:
    """Whether a key may do what trading needs, and no more than that."""
    if info is None:
        return KeyVerdict("accepted; this venue does not tell its permissions", (), ())
    faults, warnings = list(info.faults), []
    if info.read_only:
        faults.insert(0, "it is read-only: create one with read-write access")
    if info.expires_ms is not None and info.expires_ms <= now_ms:
        faults.append(f"it expired at {iso(info.expires_ms)}: create a new one")
    elif info.expires_ms is not None and info.expires_ms - now_ms < EXPIRES_SOON_MS:
        warnings.append(f"it expires at {iso(info.expires_ms)}: renew it, or bind it to an address")
    if not info.addresses:
        warnings.append("it may be used from any address: restrict it to yours")
    if info.may_withdraw:
        warnings.append("it may withdraw: take that permission away, trading never needs it")
    expiry = iso(info.expires_ms) if info.expires_ms is not None else "never"
    summary = (
        f"{'read-only' if info.read_only else 'read-write'}, expires {expiry}, "
        f"addresses {', '.join(info.addresses) or 'any'}"
    )
    return KeyVerdict(summary, tuple(faults), tuple(warnings))


def require_trading_key(exchange: Exchange) -> KeyVerdict:
    """What the venue says of the key. Call it before anything is traded with it.

    Raises:
        UnusableKeyError: the key may not trade; the message says why, and what to do.
        ExchangeError: the venue refuses the key, or cannot be asked.
    """
    verdict = judge_key(exchange.api_key(), exchange.now_ms())
    if verdict.faults:
        raise UnusableKeyError(f"the API key cannot be used: {'; '.join(verdict.faults)}")
    return verdict
