"""The local clock. The venue's time, and how far the two may differ, is the connector's business."""

from __future__ import annotations

import time


def local_ms() -> int:
    """The local clock, UTC ms."""
    return time.time_ns() // 1_000_000
