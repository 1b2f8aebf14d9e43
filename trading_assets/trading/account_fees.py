"""The account's own fees: the venue is asked, and the ledger keeps the answer. No decisions."""

from __future__ import annotations

from collections import Counter

from trading_assets.core.errors import UnreadableAnswerError
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.ledger import fees
from trading_assets.ledger.database import Database
from trading_assets.trading.binding import require_bound


def ask_fees(database: Database, exchange: Exchange, settings: Settings) -> fees.AccountFees:
    """Ask the venue for the account's fees and keep those that most contracts have.

    Raises:
        WrongBooksError: the ledger is another account's.
        UnreadableAnswerError: the venue told none.
        ExchangeError: it cannot be asked.
    """
    require_bound(database, exchange, settings)
    rates = Counter((rate.taker, rate.maker) for rate in exchange.fee_rates())
    if not rates:
        raise UnreadableAnswerError("the venue told no fee of any contract, expected one of each: ask again")
    # Of two that are as frequent the dearer one.
    (taker, maker), _ = max(rates.items(), key=lambda item: (item[1], item[0]))
    found = fees.AccountFees(float(taker), float(maker), exchange.now_ms())
    fees.write(database, settings.account, found)
    return found
