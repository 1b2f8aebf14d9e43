"""Checks of the exchange: its answer, its clock, the key, the account."""

from __future__ import annotations

from contextlib import closing

from trading_assets.cli.doctor.findings import Advice
from trading_assets.core.errors import (
    AccountShapeError,
    ClockSkewError,
)
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import iso
from trading_assets.venues import open_exchange
from trading_assets.venues.accounts import examine_account, settle_coins_held
from trading_assets.venues.differences import told_differences
from trading_assets.venues.keys import require_trading_key


def check_exchange(settings: Settings) -> str:
    with closing(open_exchange(settings)) as exchange:
        now = exchange.now_ms()
        wallet = exchange.wallet()
    return f"answers, its clock says {iso(now)}, equity {wallet.equity:.2f} USD"


def check_clock(settings: Settings) -> str:
    with closing(open_exchange(settings)) as exchange:
        offset = exchange.clock_offset_ms()
    if settings.venue.adapter.is_simulated:
        text = "the exchange's own is used"
        if abs(offset) > settings.max_clock_offset_ms:
            return Advice(f"{text}; this machine's is {offset:+d} ms away: with a key no order would be sent (NTP)")
        return text
    text = f"{offset:+d} ms between the exchange's and this machine's, {settings.max_clock_offset_ms} are allowed"
    if abs(offset) > settings.max_clock_offset_ms:
        raise ClockSkewError(f"{text}: no order is sent; let the system set its clock (NTP, such as chrony)")
    return text


def check_api_key(settings: Settings) -> str:
    with closing(open_exchange(settings)) as exchange:
        verdict = require_trading_key(exchange)
    if settings.venue.adapter.is_simulated:
        return "the embedded exchange's own, it guards nothing"
    text = "; ".join((verdict.summary, *verdict.warnings))
    return Advice(text) if verdict.warnings else text


def check_differences(settings: Settings) -> str:
    """What Bybit's other venues do not have is as the table says."""
    text, odd = told_differences(settings)
    return Advice(text) if odd else text


def check_account(settings: Settings) -> str:
    with closing(open_exchange(settings)) as exchange:
        verdict = examine_account(exchange, settings.symbols)
    found = "; ".join((verdict.summary, *verdict.faults, *verdict.warnings))
    if verdict.faults:
        raise AccountShapeError(found)
    return Advice(found) if verdict.warnings else found


def check_settle_coins(settings: Settings) -> str:
    with closing(open_exchange(settings)) as exchange:
        held = settle_coins_held(exchange)
    traded = settings.symbols.settle_coin
    parts = [f"positions in {coin}: {', '.join(symbols)}" for coin, symbols in held.items()] or ["no position is open"]
    if set(held) - {traded}:
        parts.append(f"only contracts in {traded} are traded; the exposure of the others counts")
    return "; ".join(parts)
