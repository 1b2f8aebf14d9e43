"""`trading-assets chaos mutants`: faults are put into a copy of the program, and each must be found.

A fault is a text of one module and what stands there instead. It is found by `chaos orders` on the copy, or by a test
that is run with the copy in place of the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import trading_assets
from trading_assets.chaos.mutant_list import MUTANTS, Mutant
from trading_assets.core.errors import ConfigurationError

PACKAGE = Path(trading_assets.__file__).resolve().parent
SEED = 1
WITHIN_S = 1800
"""So long may a trial or a test take that is to find one."""


FAST = ("triple quantity", "target missing", "differences are not told")
"""Found in the first seconds."""


@dataclass(frozen=True)
class Found:
    """What became of a mutant.

    Attributes:
        by: "chaos" or the test; empty where it survived.
        kills: that it took, where chaos found it.
        says: the first finding.
        code: the program that it was tried on, by `fingerprint`.
    """

    name: str
    by: str
    kills: int
    seconds: float
    says: str
    code: str = ""


def select(names: Sequence[str]) -> list[Mutant]:
    """Return the mutants of these names, all for none.

    Raises:
        ConfigurationError: there is no such mutant.
    """
    known = {mutant.name: mutant for mutant in MUTANTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"there is no mutant {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names] or list(MUTANTS)


def check(mutants: Sequence[Mutant]) -> None:
    """
    Raises:
        ConfigurationError: the text of a mutant is not there, or more than once; all such are named.
    """
    wrong = []
    for mutant in mutants:
        count = (PACKAGE / mutant.path).read_text().count(mutant.before)
        if count != 1:
            wrong.append(f"{mutant.name}: its text is {count} times in {mutant.path}: {mutant.before.strip()!r}")
    if wrong:
        raise ConfigurationError("mutants no longer fit the code, change them in chaos/mutants.py: " + "; ".join(wrong))


def fingerprint() -> str:
    """Return a short hash of every module of the program."""
    told = hashlib.sha256()
    for module in sorted(PACKAGE.rglob("*.py")):
        told.update(module.relative_to(PACKAGE).as_posix().encode() + b"\0" + module.read_bytes())
    return told.hexdigest()[:16]


def run_mutants(
    mutants: Sequence[Mutant],
    tell: Callable[[Found], None],
    *,
    seed: int = SEED,
    jobs: int = 1,
    results: Path | None = None,
) -> list[Found]:
    """Try each mutant on a copy of the program in a temporary folder; `tell` takes each result as it comes.

    Args:
        jobs: so many are tried at once.
        results: a file that gets a line of JSON for each result. Mutants that it says were found in this very program
            are not tried again, so a run that was stopped goes on where it was.

    Raises:
        ConfigurationError: a mutant does not fit the code, or its test cannot be run.
    """
    check(mutants)
    code = fingerprint()
    known = {one.name: one for one in _read(results) if one.code == code and one.by} if results is not None else {}
    lock = threading.Lock()

    def attempt(mutant: Mutant) -> Found:
        if mutant.name in known:
            return known[mutant.name]
        found = _try(mutant, seed, code)
        with lock:
            if results is not None:
                with results.open("a") as file:
                    file.write(json.dumps(asdict(found)) + "\n")
            tell(found)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(attempt, mutants))


def _read(results: Path) -> list[Found]:
    if not results.exists():
        return []
    return [Found(**json.loads(line)) for line in results.read_text().splitlines()]


def as_markdown(found: Sequence[Found]) -> str:
    """Return the results as the table of the page."""
    limits = {mutant.name: mutant.kills for mutant in MUTANTS}
    lines = ["| mutant | found by | kills (at most) | seconds |", "|---|---|---|---|"]
    for one in found:
        by = f"`{one.by.partition('::')[2] or one.by}`" if one.by != "chaos" else "chaos"
        kills = f"{one.kills} ({limits[one.name]})" if limits.get(one.name) else ""
        lines.append(f"| {one.name} | {by if one.by else '**nothing**'} | {kills} | {one.seconds:.0f} |")
    return "\n".join(lines)


def _try(mutant: Mutant, seed: int, code: str) -> Found:
    with tempfile.TemporaryDirectory(prefix="trading-assets-mutant-") as folder:
        copy = Path(folder)
        shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        module = copy / PACKAGE.name / mutant.path
        module.write_text(module.read_text().replace(mutant.before, mutant.after))
        began = time.monotonic()
        by, kills, says = _by_test(mutant, copy) if mutant.test else _by_chaos(mutant, copy, seed)
        return Found(mutant.name, by, kills, round(time.monotonic() - began, 1), says, code)


def _by_chaos(mutant: Mutant, copy: Path, seed: int) -> tuple[str, int, str]:
    options = ["--kills", str(mutant.kills), "--seed", str(seed), "--until-broken", "--json"]
    run = _python(copy, "-m", "trading_assets.cli.main", "chaos", "orders", *options)
    lines = run.stdout.splitlines()
    if not lines:  # a trader or the driver broke: seen as well
        return "chaos", 0, (run.stderr.strip().splitlines() or ["no report"])[-1]
    report = json.loads(lines[-1])
    return ("chaos", report["kills"], report["broken"][0]) if report["broken"] else ("", report["kills"], "")


def _by_test(mutant: Mutant, copy: Path) -> tuple[str, int, str]:
    checkout = PACKAGE.parent
    for name in ("trading_assets_tests", "pyproject.toml", "docs"):
        (copy / name).symlink_to(checkout / name)
    if (checkout.parent / "shared").exists():
        (copy / "shared").symlink_to(checkout.parent / "shared")
    run = _python(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"trading_assets_tests/{mutant.test}")
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    if run.returncode == 0:
        return "", 0, ""
    if not failed:
        tail = (run.stdout + run.stderr).strip().splitlines()[-1:]
        raise ConfigurationError(f"the test {mutant.test} of the mutant {mutant.name} could not be run: {tail}")
    test = failed[0].removeprefix("FAILED ").partition(" - ")[0]
    shutil.copyfile(PACKAGE / mutant.path, copy / PACKAGE.name / mutant.path)
    if _python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", test).returncode != 0:
        raise ConfigurationError(f"{test} fails without the mutant {mutant.name}, too: it says nothing of it")
    return mutant.test, 0, test.removeprefix("trading_assets_tests/")


def _python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    try:
        return subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{' '.join(arguments)} did not end within {WITHIN_S} s") from error
