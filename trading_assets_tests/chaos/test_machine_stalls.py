"""A process that was held up knows for how long."""

import ctypes

from trading_assets.chaos.machine_stalls import Stalls


def test_the_longest_hold_up_is_known() -> None:
    stalls = Stalls()
    with stalls.watched():
        ctypes.PyDLL(None).usleep(400_000)  # no thread of this process runs meanwhile
        ctypes.CDLL(None).usleep(200_000)
    assert stalls.longest_s > 0.3
