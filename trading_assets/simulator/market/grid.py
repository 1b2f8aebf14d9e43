"""Whole ticks and quantity steps to the floats that print as their decimals, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from trading_assets.simulator.market.base import Contract

Numbers = npt.NDArray[np.integer] | npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]

TURNOVER_UNIT = 10_000
"""Turnover is counted in ten-thousandths of the quote coin."""


@dataclass(frozen=True)
class Grid:
    """A tick is `tick_units / price_scale`, a step `step_units / step_scale`; scales are powers of ten.

    One correctly rounded division of whole numbers gives the float nearest to the decimal, so that its shortest
    text is the decimal itself; a product with a binary tick would not.
    """

    tick_units: int
    price_scale: float
    step_units: int
    step_scale: float

    @classmethod
    def of(cls, contract: Contract) -> Grid:
        return cls(*_units(contract.tick_size), *_units(contract.qty_step))

    @property
    def tick(self) -> float:
        return self.tick_units / self.price_scale

    @property
    def step(self) -> float:
        return self.step_units / self.step_scale

    def price(self, ticks: int) -> float:
        return ticks * self.tick_units / self.price_scale

    def prices(self, ticks: Numbers) -> Floats:
        return np.multiply(ticks, float(self.tick_units), dtype=np.float64) / self.price_scale

    def quantity(self, steps: int) -> float:
        return steps * self.step_units / self.step_scale

    def quantities(self, steps: Numbers) -> Floats:
        return np.multiply(steps, float(self.step_units), dtype=np.float64) / self.step_scale


def _units(step: Decimal) -> tuple[int, float]:
    places = max(-int(step.as_tuple().exponent), 0)
    return int(step.scaleb(places)), float(10**places)
