"""The account as it was a while ago, which is what lists show that lag behind. It only follows the account."""

from __future__ import annotations

from collections import deque
from copy import copy

from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.state import Batch
from trading_assets.simulator.venue import Venue


class LaggingAccount:
    """Knows the account of any time since it began to follow it; asked for ever later times."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._later: deque[Batch] = deque()
        self._state, self._stop = venue.follow(self._later.append)

    def stop(self) -> None:
        """Follow the account no longer."""
        self._stop()

    def venue_at(self, time_ms: int) -> Venue:
        """The exchange with the account of `time_ms`, for handlers that only read."""
        while self._later and self._later[0].time_ms <= time_ms:
            for record in self._later.popleft().records:
                self._state.take_over(record)
        view = copy(self._venue)
        view.engine = AccountEngine(self._venue.market, self._state)
        return view
