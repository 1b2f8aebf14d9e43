"""Brings a source's prices into the live market: its stream, REST beside it, and REST where the stream had gaps."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from trading_assets.core.errors import ExchangeError, ExchangeUnavailableError, StorageError, TradingAssetsError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.timeframes import MINUTE_MS, iso
from trading_assets.exchange.quote_stream import BybitQuoteStream, Trade
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.live import CLOSED, LiveMarket
from trading_assets.simulator.market.quotes import Quote
from trading_assets.simulator.venue import Venue
from trading_assets.venues.paper.source import PublicRows, Source, SourceTime, ticker_of

POLL_S = 2.0
LISTED_EVERY_S = 60.0
REMEMBERED_EVERY_S = 15.0
SILENCE_S = 10.0
MISSING_AFTER = 3
"""A contract with a position is taken for delisted when so many listings in a row do not name it."""

LEAST_LISTED = 0.5
"""A listing with fewer contracts than this share of those that are known is an odd answer."""

RATE_GIVEN_UP_AFTER_MS = 10 * MINUTE_MS
"""A payment whose rate is not told for so long is taken at the rate that was foreseen last."""

CONTRACTS, QUOTES = "contracts", "quotes"
_CONTRACTS = TypeAdapter(list[Contract])
_QUOTES = TypeAdapter(dict[str, tuple[int, Quote]])

logger = get_logger(__name__)


class PaperFeed:
    """Runs in threads of its own from `start` to `stop`. A pass that fails is told once, and tried again."""

    def __init__(
        self, source: Source, rows: PublicRows, clock: SourceTime, market: LiveMarket, *, poll_s: float = POLL_S
    ) -> None:
        self._source, self._rows, self._clock, self._market = source, rows, clock, market
        self._poll_s = poll_s
        self._venue: Venue | None = None
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._stream = BybitQuoteStream(lambda: source.stream, self, silence_s=SILENCE_S)
        self._thread = threading.Thread(target=self._run, name="paper-feed", daemon=True)
        self._since_listed_s, self._since_remembered_s = LISTED_EVERY_S, 0.0
        self._missing: dict[str, int] = {}
        self._is_up = False
        self._told = ""
        self._stored = ""

    # Before it runs

    def restore(self, contracts: str | None, quotes: str | None) -> None:
        """What is listed, as it was stored, and the prices of before a restart; on a first start, ask.

        Raises:
            ExchangeError: the source does not answer, and nothing is stored.
        """
        stored: list[Contract] = []
        known: dict[str, tuple[int, Quote]] = {}
        try:
            stored = _CONTRACTS.validate_json(contracts) if contracts else []
            known = _QUOTES.validate_json(quotes) if quotes else {}
        except ValueError as error:
            logger.warning("what was stored of the market cannot be read, and is asked for anew: %s", error)
        self._market.list_contracts(stored, 0)
        self._market.recall(known)
        if not stored:  # else the first pass asks: a start does not wait for a source that is away
            self._clock.tell(self._rows.now_ms())
            self._list()
            self._look_at_quotes()

    def take_up(self, venue: Venue) -> None:
        """The account goes on where it was: what it has is followed from there."""
        self._venue = venue
        self._clock.go_on(venue.engine.state.header.settled_ms)
        for symbol in venue.followed():
            self._market.follow(symbol, venue.engine.state.header.settled_ms)
        self._store_contracts()

    def start(self) -> None:
        """Begin to bring prices."""
        self._thread.start()
        self._stream.start()

    def stop(self) -> None:
        """End; what is needed for the next start is stored."""
        self._stopping.set()
        self._wake.set()
        self._stream.stop()
        if self._thread.is_alive():
            self._thread.join(2 * self._poll_s + 10)
        self._remember()

    # REST

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def look(self) -> None:
        """One pass: prices, what is listed, gaps, payments; and the account lives on."""
        try:
            self._look_at_quotes()
            self._since_listed_s += self._poll_s
            if self._since_listed_s >= LISTED_EVERY_S:
                self._list()
                self._since_listed_s = 0.0
            self._told = ""
        except TradingAssetsError as error:
            self._tell_once(error)
        self._stream.follow(self._market.stream_wanted())
        self._fill()
        self._pay()
        self._live()
        self._since_remembered_s += self._poll_s
        if self._since_remembered_s >= REMEMBERED_EVERY_S:
            self._remember()
            self._since_remembered_s = 0.0

    def _look_at_quotes(self) -> None:
        quotes, told_ms = self._rows.quotes()
        self._clock.tell(told_ms)
        for symbol, quote, day in quotes:
            self._market.tell(symbol, told_ms, quote, day, stream=False)

    def _list(self) -> None:
        listed, faults = self._rows.contracts()
        if faults:
            logger.warning("%d contracts cannot be read, the first: %s", len(faults), faults[0])
        known = {symbol: one for symbol, one in self._market.contracts.items() if one.status != CLOSED}
        if len(listed) < LEAST_LISTED * len(known):
            raise ExchangeUnavailableError(f"the source lists {len(listed)} contracts, {len(known)} a while ago")
        found = {contract.symbol: contract for contract in listed}
        for symbol in self._market.followed():
            if symbol not in found:
                self._look_for(symbol, known, found)
            else:
                self._missing.pop(symbol, None)
        self._market.list_contracts(found.values(), self._clock.now_ms())
        self._store_contracts()

    def _look_for(self, symbol: str, known: Mapping[str, Contract], found: dict[str, Contract]) -> None:
        """A contract with a position is not in the list: ask for it by its name, and only then believe it."""
        try:
            contract = self._rows.contract(symbol)
        except ExchangeError as error:
            logger.warning("%s is not listed, and cannot be asked for: %s", symbol, error)
            contract = None
        if contract is not None:
            found[symbol] = contract
            self._missing.pop(symbol, None)
            return
        self._missing[symbol] = self._missing.get(symbol, 0) + 1
        if self._missing[symbol] < MISSING_AFTER and symbol in known:
            found[symbol] = known[symbol]
        else:
            logger.warning("%s is listed no more: what is open in it is closed at its last price", symbol)

    def _fill(self) -> None:
        """Where the stream missed something, or is not there, candles tell it."""
        gaps = self._market.gaps()
        if not self._is_up:
            gaps |= self._market.followed()
        for symbol, since_ms in gaps.items():
            if self._stopping.is_set():
                return
            try:
                candles, told_ms = self._rows.missed(symbol, since_ms)
            except TradingAssetsError as error:
                self._tell_once(error)
                continue
            self._clock.tell(told_ms)  # the account's time is never before that of the candles it lives through
            self._market.fill(symbol, candles, told_ms)

    def _pay(self) -> None:
        for symbol, due_ms in self._market.unpaid().items():
            try:
                rate = self._rows.paid(symbol, due_ms)
            except TradingAssetsError as error:
                self._tell_once(error)
                continue
            if rate is None and self._clock.now_ms() - due_ms > RATE_GIVEN_UP_AFTER_MS:
                rate = self._market.funding_rate(symbol, due_ms)
                logger.warning("nobody tells the funding of %s at %s: taken as %g", symbol, iso(due_ms), rate)
            if rate is not None:
                self._market.pay(symbol, due_ms, rate)

    def _live(self) -> None:
        if self._venue is None:
            return
        try:
            self._venue.transact(lambda now: None)
        except TradingAssetsError as error:
            self._tell_once(error)

    def _store_contracts(self) -> None:
        self._store(CONTRACTS, _CONTRACTS.dump_json(list(self._market.contracts.values())).decode())

    def _remember(self) -> None:
        self._store(QUOTES, _QUOTES.dump_json(self._market.remembered()).decode())

    def _store(self, name: str, text: str) -> None:
        if self._venue is None or (name == CONTRACTS and text == self._stored):
            return
        try:
            self._venue.note(name, text)
        except StorageError as error:
            self._tell_once(error)
            return
        if name == CONTRACTS:
            self._stored = text

    def _tell_once(self, error: Exception) -> None:
        """One line an episode: passes follow each other every two seconds."""
        kind = type(error).__name__
        if kind != self._told:
            self._told = kind
            logger.warning("prices are not heard: %s", error)

    # The stream's thread

    def on_begin(self, symbol: str) -> None:
        """See `QuoteListener`."""
        self._is_up = True
        self._market.lose([symbol])
        self._wake.set()

    def on_ticker(self, symbol: str, time_ms: int, row: Mapping[str, Any]) -> None:
        """See `QuoteListener`."""
        told, quote, day = ticker_of({**row, "symbol": symbol})
        self._market.tell(told, time_ms, quote, day, stream=True)

    def on_trades(self, symbol: str, trades: Sequence[Trade]) -> None:
        """See `QuoteListener`."""
        for trade in trades:
            self._market.trade(symbol, trade.time_ms, trade.price, trade.qty)

    def on_alive(self, symbols: Iterable[str], time_ms: int) -> None:
        """See `QuoteListener`."""
        self._market.unchanged(symbols, time_ms)

    def on_down(self, reason: str) -> None:
        """See `QuoteListener`."""
        self._is_up = False
        logger.warning("the stream of prices is down (%s): candles fill the gap", reason)
        self._market.lose(self._market.followed())
        self._wake.set()
