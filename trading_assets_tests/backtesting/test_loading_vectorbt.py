"""vectorbt is loaded without what it only loads because it is there, and leaves that usable."""

from __future__ import annotations

import subprocess
import sys


def test_loading_the_reference_engine_loads_no_downloads_and_leaves_them_usable() -> None:
    program = (
        "import sys, types\n"
        "from trading_assets.backtesting.vectorbt_engine import _NOT_NEEDED, _vectorbt\n"
        "vbt = _vectorbt()\n"
        "assert vbt.Portfolio.from_signals\n"
        "assert _vectorbt() is vbt is sys.modules['vectorbt']\n"
        "assert not set(_NOT_NEEDED) & set(sys.modules), 'neither loaded nor barred'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
