"""Machine code follows every source that it was compiled from, and is kept where there is room for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trading_assets.backtesting.kernel import machine_code
from trading_assets.backtesting.kernel.machine_code import digest_of, first_writable, sources

PACKAGE = Path(machine_code.__file__).parents[3]

SWEEP = """
import sys, numba
sys.path.insert(0, {root!r})
from trading_assets.backtesting.kernel.machine_code import cached, directory
from trading_assets.backtesting.metrics import PROFIT_FACTOR_CAP
import trading_assets
assert trading_assets.__file__.startswith({root!r}), trading_assets.__file__
from trading_assets.backtesting.kernel import indicators
print(PROFIT_FACTOR_CAP, directory())
"""


def written(root: Path, **files: str) -> list[Path]:
    for name, text in files.items():
        path = root / "trading_assets" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return [root / "trading_assets" / "loops.py"]


def test_what_is_imported_directly_or_not_is_a_source_and_nothing_else(tmp_path: Path) -> None:
    first = written(
        tmp_path,
        loops="from trading_assets.metrics import (\n    CAP,\n)\nfrom trading_assets.inner import numbers\n",
        metrics="import trading_assets.costs\n",
        costs="FEE = 1\n",
        inner__numbers="def f():\n    from trading_assets.lazily import ONE\n",
        lazily="ONE = 1\n",
        other="TWO = 2\n",
    )
    found = {path.name for path in sources(first, tmp_path)} - {"__init__.py"}
    assert found == {"loops.py", "metrics.py", "costs.py", "numbers.py", "lazily.py"}


@pytest.mark.parametrize("changed", ["loops", "metrics", "costs"])
def test_a_change_of_any_source_is_another_digest(tmp_path: Path, changed: str) -> None:
    first = written(
        tmp_path,
        loops="from trading_assets.metrics import CAP",
        metrics="from trading_assets.costs import FEE",
        costs="",
    )
    before = digest_of(sources(first, tmp_path))
    assert digest_of(sources(first, tmp_path)) == before
    path = tmp_path / "trading_assets" / f"{changed}.py"
    stat = path.stat()
    path.write_text(path.read_text() + "\nX = 1\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digest_of(sources(first, tmp_path)) != before


def test_the_kernels_digest_covers_the_constants_that_its_loops_take_from_other_files() -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in sources(machine_code._COMPILED)}
    assert names >= {
        "trading_assets/backtesting/metrics.py",
        "trading_assets/backtesting/engine.py",
        "trading_assets/backtesting/kernel/loops.py",
        "trading_assets/strategies/indicators.py",
    }
    assert not any("simulator" in name or "defs/" in name for name in names)


def test_a_place_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    good = tmp_path / "home" / "machine_code"
    assert first_writable([tmp_path / "file" / "cache", good]) == good
    assert good.is_dir() and list(good.iterdir()) == []


@pytest.mark.slow
def test_an_upgrade_in_place_compiles_into_another_place(tmp_path: Path) -> None:
    """A constant of another file was changed, and the old machine code ran on with the old one."""
    root = tmp_path / "installed"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE / "trading_assets", root / "trading_assets", ignore=ignored)
    metrics = root / "trading_assets" / "backtesting" / "metrics.py"

    def run() -> list[str]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", SWEEP.format(root=str(root))],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split(maxsplit=1)

    before = run()
    assert list(Path(before[1].strip()).rglob("*.nbc"))
    assert run() == before
    metrics.write_text(metrics.read_text().replace("PROFIT_FACTOR_CAP = 100.0", "PROFIT_FACTOR_CAP = 50.0"))
    after = run()
    assert (before[0], after[0]) == ("100.0", "50.0")
    assert after[1] != before[1]
