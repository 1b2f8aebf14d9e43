"""A strategy that enters often and leaves in whichever ways its parameters say: for tests of exits."""

from __future__ import annotations

from pydantic import Field

from trading_assets.core.exits import ExitPlan
from trading_assets.strategies.base import Entries, Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi, BollingerRsiParameters


class LeavingParameters(BollingerRsiParameters):
    kinds: str = Field("signal", description="names of KINDS, joined by +")


class Leaving(BollingerRsi):
    """`bollinger_rsi` with exits besides stop and target."""

    name = "leaving"
    description = "For tests: each kind of exit"
    Parameters = LeavingParameters
    parameters: LeavingParameters

    @staticmethod
    def entries(v: Values, p: LeavingParameters) -> Entries:
        found = BollingerRsi.entries(v, p)
        if "signal" not in p.kinds:
            return found
        return found._replace(exit_long=v.bb_position > 0, exit_short=v.bb_position < 0)

    def exits(self) -> ExitPlan:
        wanted = {name: value for kind in self.parameters.kinds.split("+") for name, value in KINDS[kind].items()}
        return ExitPlan(**wanted)


KINDS: dict[str, dict[str, object]] = {
    "signal": {},
    "time": {"after_bars": 3},
    "trailing": {"trail": 0.002, "trail_from": 0.001},
    "even": {"break_even_from": 0.0015, "break_even_to": 0.0005},
    "roi": {"roi": ((1, 0.004), (4, -0.05))},
    "parts": {"parts": ((0.3, 0.4), (0.6, 0.3))},
}
"""What each kind adds to the plan."""
