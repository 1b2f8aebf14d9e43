"""The way back from a rehearsal. A file in the home says what may be open before it is opened, so that the next call
closes what a killed one has left.

Orders of a rehearsal have names of their own: no session takes them for its.
"""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

from trading_assets.core.errors import ConfigurationError, ExchangeError
from trading_assets.core.models import Order, OrderRequest, Side
from trading_assets.core.ports import Exchange
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms

NOTE = "rehearsal.json"
"""In the home, while something of a rehearsal may be open."""

PREFIX = "rehearse"
IN_FLIGHT_MS = 10_000
"""An order that the venue does not know may come so long after it was sent."""

CLEAN_WITHIN_S = 120.0


def take_note(settings: Settings, symbol: str, run: str, leverage: Decimal | None, *, order: bool) -> None:
    """Write down what is about to be changed.

    Args:
        leverage: what was set before.
        order: an order is about to be sent; else the leverage is about to be changed.

    Raises:
        OSError: the home cannot be written.
    """
    private_folder(settings.home)
    text = {
        "venue": settings.venue.value,
        "account": settings.account,
        "symbol": symbol,
        "run": run,
        "sent_ms": local_ms() if order else 0,
        "leverage": None if leverage is None else f"{leverage:f}",
    }
    write_private(settings.home / NOTE, json.dumps(text) + "\n")


def leftover(settings: Settings) -> dict[str, Any] | None:
    """What an earlier rehearsal of this home may have left open."""
    try:
        found = json.loads((settings.home / NOTE).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{settings.home / NOTE} cannot be read ({error}): look at the venue for a position or an order named "
            f"{PREFIX}-..., close it, then delete the file"
        ) from error
    return found if isinstance(found, dict) else None


def clean(exchange: Exchange, settings: Settings, *, within_s: float = CLEAN_WITHIN_S) -> str:
    """Take back what a rehearsal has left: its resting orders, what it has bought and not sold, then the leverage.

    Returns: what is left all the same; empty when nothing is.

    Raises:
        ConfigurationError: it was made at another venue, or on another account.
    """
    note = leftover(settings)
    if note is None:
        return ""
    if note.get("venue") != settings.venue.value:
        raise ConfigurationError(
            f"a rehearsal at {note.get('venue')} was not ended: run it there again with --clean before another"
        )
    account = note.get("account", settings.account)
    if account != settings.account:
        raise ConfigurationError(
            f"a rehearsal on account {account} was not ended: run it again with --account {account} --clean first"
        )
    deadline, why = time.monotonic() + within_s, ""
    while True:
        try:
            if _take_back(exchange, note):
                (settings.home / NOTE).unlink(missing_ok=True)
                return ""
            why = "an order is still being filled"
        except ExchangeError as error:
            why = str(error)
        if time.monotonic() > deadline:
            return f"{note['symbol']}: {why}; close it by hand, or run it again with --clean"
        time.sleep(0.5)


def _take_back(exchange: Exchange, note: dict[str, Any]) -> bool:
    """One try. Never more is closed than this rehearsal has opened."""
    symbol, run = str(note["symbol"]), str(note["run"])
    for order in exchange.open_orders(symbol):
        if order.order_link_id.startswith(f"{PREFIX}-{run}-"):
            exchange.cancel_order(symbol, order.order_link_id)
    opened = exchange.find_order(symbol, link(run, "open"))
    if opened is None and 0 <= local_ms() - int(note.get("sent_ms", 0)) < IN_FLIGHT_MS:
        return False  # it may be under way
    bought = _filled(opened)
    sold = sum((_filled(exchange.find_order(symbol, link(run, kind))) for kind in _CLOSINGS), Decimal(0))
    position = exchange.position(symbol)
    held = position.size if position is not None and position.side is Side.BUY else Decimal(0)
    if min(bought - sold, held) <= 0:
        if note.get("leverage"):
            exchange.set_leverage(symbol, Decimal(str(note["leverage"])))
        return True
    unused = next((kind for kind in _CLOSINGS if exchange.find_order(symbol, link(run, kind)) is None), None)
    if unused is None:
        raise ExchangeError("each of its closings was sent, and something is open")
    exchange.place_order(
        OrderRequest(
            symbol=symbol,
            side=Side.SELL,
            qty=min(bought - sold, held),
            order_link_id=link(run, unused),
            reduce_only=True,
        )
    )
    return False


_CLOSINGS = ("close", *(f"close{number}" for number in range(2, 20)))


def link(run: str, kind: str) -> str:
    return f"{PREFIX}-{run}-{kind}"


def _filled(order: Order | None) -> Decimal:
    return order.filled_qty if order is not None else Decimal(0)
