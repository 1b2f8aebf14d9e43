"""How much memory this process has needed, for measurements."""

from __future__ import annotations

import resource
import sys


def peak_mb() -> float:
    """The most resident memory that this process ever had, in MB (2**20 bytes)."""
    # The kernel counts in bytes on macOS, elsewhere in kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0**2 if sys.platform == "darwin" else 1024.0)
