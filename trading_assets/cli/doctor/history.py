"""Checks of a home of real history, in place of those of an exchange and its account."""

from __future__ import annotations

from contextlib import closing

from trading_assets.cli.doctor.findings import Advice, opened
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import iso
from trading_assets.history.library import FOLDER, Library
from trading_assets.history.market import HistoryMarket
from trading_assets.ledger import books
from trading_assets.trading.binding import require_market


def check_library(settings: Settings) -> str:
    library = Library(settings.home / FOLDER)
    market = HistoryMarket(library)
    lives = market.lives().values()
    ended = sum(life.ended_ms is not None for life in lives)
    text = f"{len(lives)} coins, {ended} of them ended, of {len(library.files())} files; its clock says "
    text += iso(market.now_ms())
    if any(one.contradicts for one in library.files()):
        return Advice(f"{text}; some files contradict each other: trading-assets history status --symbol SYMBOL")
    return text


def check_market(settings: Settings) -> str:
    market = HistoryMarket(Library(settings.home / FOLDER))
    with closing(opened(settings)) as database:
        if books.market_of(database) is None:  # looking binds nothing
            return f"no research yet; it will be of {market.market()}"
        return f"of {require_market(database, market)}, and never traded"
