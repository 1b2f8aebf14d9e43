"""A hash of all of some candles or payments, to compare them by."""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.market.fingerprint import window_hashes


def content_hash(rows: Candles | Funding) -> str:
    """16 hexadecimal digits for all rows; see `window_hashes`."""
    return window_hashes(rows, np.array([0]), np.array([len(rows)]))[0]
