"""The public topics: which there are, who listens to which, and the passes that compute and tell them."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from trading_assets.core.errors import DataError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.timeframes import MINUTE_MS
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.calendar import INTERVALS
from trading_assets.simulator.stream.book import EVERY_S, BookFeed
from trading_assets.simulator.stream.connection import Connection, Outgoing
from trading_assets.simulator.stream.feeds import CandleFeed, Feed, LiquidationFeed, TickerFeed, TradeFeed
from trading_assets.simulator.stream.protocol import Rejection
from trading_assets.simulator.venue import Venue

PASS_S = 0.05
"""Real seconds from the begin of a pass over the topics to that of the next."""

SLOW_MINUTE_S = 1.0
"""A candle that closes is told at once where a minute of market lasts so long or longer."""

REST_S = 0.005
"""What a late pass leaves to others at least."""

TURN_S = 0.002
"""After so much work in one go, others get a turn: requests are answered between."""

MESSAGES_A_PASS = 600
"""Bounds the closed candles told after a leap of the clock; the rest comes with the next passes."""

_OPTIONS: dict[str, frozenset[str]] = {
    "kline": frozenset(INTERVALS),
    "orderbook": frozenset(map(str, EVERY_S)),
    "tickers": frozenset(),
    "publicTrade": frozenset(),
    "allLiquidation": frozenset(),
}
"""Kind of topic -> the intervals or depths it is offered in; none stands between kind and symbol where it is empty."""

logger = get_logger(__name__)


@dataclass
class _Channel:
    """A topic with listeners. `joining` are those who have not had their snapshot yet."""

    topic: str
    since_ms: int
    """when the topic was first asked for: candles that close from then on are told"""
    feed: Feed | None = None
    """made in the first pass: hundreds of topics may be asked for at once"""
    members: set[Connection] = field(default_factory=set)
    joining: set[Connection] = field(default_factory=set)
    due_s: float = 0.0
    """when it may have something new, by the loop's time"""
    closes_s: float = math.inf
    """when its candle closes, by the loop's time: that is told at once"""


class PublicTopics:
    """Computes each topic once however many listen; runs only while somebody does."""

    def __init__(self, venue: Venue, outgoing: Outgoing) -> None:
        self._venue, self._outgoing = venue, outgoing
        self._channels: dict[str, _Channel] = {}
        self._updates: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def check(self, topic: str) -> None:
        """
        Raises:
            Rejection: there is no such topic, or no such symbol.
        """
        self._parts(topic)

    def join(self, connection: Connection, topic: str) -> None:
        channel = self._channels.get(topic)
        if channel is None:
            channel = self._channels[topic] = _Channel(topic, self._venue.clock.now_ms())
        if connection not in channel.members:
            channel.joining.add(connection)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def leave(self, connection: Connection, topic: str) -> None:
        channel = self._channels.get(topic)
        if channel is None:
            return
        channel.members.discard(connection)
        channel.joining.discard(connection)
        if not channel.members and not channel.joining:
            del self._channels[topic]

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _parts(self, topic: str) -> tuple[str, str, Contract]:
        """Kind, interval or depth, contract."""
        kind, _, rest = topic.partition(".")
        allowed = _OPTIONS.get(kind)
        option, _, symbol = rest.partition(".") if allowed else ("", "", rest)
        if allowed is None or (allowed and option not in allowed):
            raise Rejection(f"error:handler not found,topic:{topic}")
        contract = self._venue.market.contracts.get(symbol)
        if contract is None:
            raise Rejection(f"Invalid symbol :[{topic}]")
        return kind, option, contract

    def _feed(self, topic: str, since_ms: int) -> Feed:
        kind, option, contract = self._parts(topic)
        venue, now = self._venue, self._venue.clock.now_ms()
        match kind:
            case "kline":
                return CandleFeed(venue, contract, option, since_ms)
            case "orderbook":
                return BookFeed(venue, contract, int(option), now, self._updates)
            case "tickers":
                return TickerFeed(venue, contract, now)
            case "allLiquidation":
                return LiquidationFeed(contract)
        return TradeFeed(venue, contract, now)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._channels:
            began = loop.time()
            await self._pass(loop)
            next_s = min((channel.closes_s for channel in self._channels.values()), default=began + PASS_S)
            await asyncio.sleep(max(REST_S, min(began + PASS_S, next_s) - loop.time()))

    async def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        room, turn_ends = MESSAGES_A_PASS, loop.time() + TURN_S
        # The longest overdue first: who finds no room in this pass comes early in the next.
        for channel in sorted(self._channels.values(), key=lambda channel: channel.due_s):
            now_s = loop.time()
            if now_s < channel.due_s and not channel.joining:
                continue
            left = max(room - self._tell(channel, now_s, room), 0)
            if room and channel.feed is not None:
                channel.closes_s = now_s + self._closes_in_s(channel.feed)
                channel.due_s = min(now_s + channel.feed.every_s - PASS_S / 2, channel.closes_s) if left else now_s
            room = left
            if loop.time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + TURN_S

    def _closes_in_s(self, feed: Feed) -> float:
        """Real seconds until its candle closes. Infinite where that is told in its turn: a clock in haste has many
        closes in a pass, and a candle that should have been told already could not be."""
        clock = self._venue.clock
        if feed.closes_ms is None or clock.seconds_until(clock.now_ms() + MINUTE_MS) < SLOW_MINUTE_S:
            return math.inf
        return clock.seconds_until(feed.closes_ms) or math.inf

    def _tell(self, channel: _Channel, now_s: float, room: int) -> int:
        """One topic's news to all who listen, and the snapshot to who has joined. Returns the number of messages."""
        hear = set(channel.members)
        try:
            if channel.feed is None:
                channel.feed = self._feed(channel.topic, channel.since_ms)
                hear |= channel.joining
            feed = channel.feed
            messages = feed.advance(self._venue.clock.now_ms(), now_s, room)
        except DataError as error:
            logger.warning("%s is not told: %s", channel.topic, error)
            return 0
        for text in messages:
            for connection in hear:
                self._outgoing(text, feed.topic, connection)
        if channel.joining:
            for text in feed.snapshot():
                for connection in channel.joining:
                    self._outgoing(text, feed.topic, connection)
            channel.members |= channel.joining
            channel.joining.clear()
        return len(messages)
