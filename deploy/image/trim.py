"""Takes out of a virtual environment what no role of the image imports: `python3 trim.py /opt/venv`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEPT_TESTS = {"numba", "numpy"}
"""Packages that import a part of their own tests: numba.testing, numpy.testing."""
UNUSED_OF_ARROW = ("include", "src", "tests", "libarrow_flight.so*", "_flight*", "libarrow_python_flight.so*")


def trim(environment: Path) -> int:
    """Remove tests of libraries, Arrow's headers and Flight.

    Returns:
        Bytes that were removed.

    Raises:
        SystemExit: the environment has no packages.
    """
    found = sorted(environment.glob("lib/python3*/site-packages"))
    if not found:
        raise SystemExit(f"{environment} has no lib/python3*/site-packages; expected a virtual environment")
    packages = found[0]
    unused = [
        folder
        for folder in packages.rglob("tests")
        if folder.is_dir() and folder.relative_to(packages).parts[0] not in KEPT_TESTS
    ]
    unused += [one for pattern in UNUSED_OF_ARROW for one in packages.glob(f"pyarrow/{pattern}")]
    removed = 0
    for one in unused:
        if not one.exists():
            continue
        files = [file for file in one.rglob("*") if file.is_file()] if one.is_dir() else [one]
        removed += sum(file.stat().st_size for file in files)
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    return removed


if __name__ == "__main__":
    print(f"{trim(Path(sys.argv[1])) / 1e6:.0f} MB removed")
