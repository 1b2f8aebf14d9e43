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
from trading_assets.core.errors import ConfigurationError

PACKAGE = Path(trading_assets.__file__).resolve().parent
SEED = 1
WITHIN_S = 1800
"""So long may a trial or a test take that is to find one."""


@dataclass(frozen=True)
class Mutant:
    """A deliberate fault.

    Attributes:
        path: of the module, below the package.
        before, after: the text, which must be there exactly once, and what takes its place.
        kills: so many kills of `chaos orders` at most find it; 0 where a test finds it.
        test: node id below the tests' package that finds it; empty where chaos does.
    """

    name: str
    path: str
    before: str
    after: str
    kills: int = 0
    test: str = ""


STEPS, SUBMIT = "trading/saga/steps.py", "trading/execute/submit.py"
PROTECTION, RECOVERY = "trading/saga/protection.py", "trading/saga/recovery.py"
RECONCILER, COMPARISON = "trading/reconcile/reconciler.py", "trading/reconcile/comparison.py"
ATTRIBUTION, ACCOUNT, ORDERS = "trading/ownership/attribution.py", "ledger/account.py", "ledger/orders.py"
BYBIT, FIELDS, ACCOUNT_ROWS = "exchange/bybit.py", "exchange/fields.py", "exchange/account_rows.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "wrong stop level",
        STEPS,
        "order_link_id=intent.order_link_id,\n        stop_loss=intent.stop_loss,",
        "order_link_id=intent.order_link_id,\n        stop_loss=2 * intent.stop_loss - intent.take_profit,",
        20,
    ),
    Mutant("triple quantity", SUBMIT, "qty=size.qty,", "qty=size.qty * 3,", 20),
    Mutant(
        "triple quantity sent",
        STEPS,
        "qty=intent.qty,\n        order_link_id=intent.order_link_id,\n        stop_loss",
        "qty=intent.qty * 3,\n        order_link_id=intent.order_link_id,\n        stop_loss",
        20,
    ),
    Mutant(
        "wrong side",
        SUBMIT,
        'Side.BUY if row["position_type"] == "LONG"',
        'Side.BUY if row["position_type"] != "LONG"',
        20,
    ),
    Mutant(
        "no fence",
        ORDERS,
        "if lease is not None:\n                leases",
        "if lease is None:\n                leases",
        80,
    ),
    Mutant("no send deadline", STEPS, "if context.wall_ms() > send_by_wall_ms:", "if False:", 100),
    Mutant(
        "lease ignored",
        SUBMIT,
        "        yield lease\n    finally",
        "        yield lease or leases.holder_of(context.database, name, wall_ms=context.wall_ms())\n    finally",
        80,
    ),
    Mutant(
        "a failed read is an empty one",
        BYBIT,
        "    def positions(self) -> Rows[Position]:\n",
        "    def positions(self) -> Rows[Position]:\n        try:\n            return self._held()\n"
        "        except Exception:\n            return Rows()\n\n    def _held(self) -> Rows[Position]:\n",
        0,
        "chaos/test_failed_lists.py::test_a_list_that_fails_is_not_an_empty_one",
    ),
    Mutant(
        "absence is evidence",
        COMPARISON,
        "(found.seen if is_seen else found.unseen).append(intent)",
        "(found.seen if is_seen else found.ended).append(intent)",
        60,
    ),
    Mutant(
        "attribution by symbol only", ATTRIBUTION, "if holding.entry.side is side and left > 0:", "if left > 0:", 200
    ),
    Mutant(
        "a person's closing takes ours first",
        ATTRIBUTION,
        "    if closer is Closer.OTHERS:\n        left = take_foreign(left)\n",
        "",
        80,
    ),
    Mutant(
        "no second look-up",
        BYBIT,
        '("get_open_orders", "get_order_history")',
        '("get_open_orders",)',
        0,
        "exchange/test_requests.py::test_an_order_is_looked_for_among_open_ones_then_in_the_history",
    ),
    Mutant(
        "exit on any refusal",
        PROTECTION,
        "        except PriceRefusedError:\n            raise\n",
        "        except OrderRejectedError as error:\n            raise PriceRefusedError(str(error)) from error\n",
        0,
        "wild_account/test_unknown_refusals.py::test_another_parameter_error_on_the_stop_closes_nothing_at_once",
    ),
    Mutant(
        "empty equity is zero",
        ACCOUNT_ROWS,
        'equity=required(row, "totalEquity")',
        'equity=amount(row, "totalEquity") or Decimal(0)',
        0,
        "wild_account/test_empty_is_not_zero.py::test_an_equity_that_is_empty_once_halts_nothing",
    ),
    Mutant(
        "told only once ever",
        ACCOUNT,
        "    end_risk_events(connection, account, kind, set(texts), time_ms)\n",
        "",
        60,
    ),
    Mutant(
        "differences are not told",
        RECONCILER,
        "differences(found, held, compared, failed,",
        "{} and differences(found, held, compared, failed,",
        20,
    ),
    Mutant(
        "unlimited resend",
        STEPS,
        "except NotSentError:\n            if attempt == SEND_ATTEMPTS - 1:",
        "except ExchangeError:\n            if attempt == SEND_ATTEMPTS - 1:",
        0,
        "trading/execute/test_submit.py::test_an_unclear_answer_of_an_order_that_was_not_placed_is_never_sent_again",
    ),
    Mutant(
        "stop is not verified",
        STEPS,
        "    protect(context, intent, order.filled_qty)\n",
        "",
        0,
        "trading/execute/test_submit.py::test_a_missing_stop_is_attached",
    ),
    Mutant(
        "lost stops stay lost",
        RECONCILER,
        "unprotected = {position.symbol for position in found.positions if position.stop_loss is None}",
        "unprotected = set[str]()",
        60,
    ),
    Mutant(
        "target missing",
        STEPS,
        "take_profit=intent.take_profit,\n    )\n    for",
        "take_profit=None,\n    )\n    for",
        20,
    ),
    Mutant(
        "target not restored",
        PROTECTION,
        "set_stops(intent.symbol, intent.stop_loss, target)",
        "set_stops(intent.symbol, intent.stop_loss, None)",
        60,
    ),
    Mutant("leverage not set", STEPS, "context.exchange.set_leverage(intent.symbol, intent.leverage)", "pass", 20),
    Mutant(
        "a signal that does not wait is reserved",
        ORDERS,
        "                return False\n            if connection.execute(again)",
        "                pass\n            if connection.execute(again)",
        0,
        "ledger/test_orders.py::test_a_signal_that_does_not_wait_is_not_reserved",
    ),
    Mutant(
        "closing rows do not grow",
        COMPARISON,
        "    if not missing and not pnl and not fees:\n",
        "    if recorded:\n        return []\n    if not missing and not pnl and not fees:\n",
        80,
    ),
    Mutant(
        "a person's looser stop stays",
        COMPARISON,
        "return stop < intent.stop_loss if",
        "return stop > intent.stop_loss if",
        80,
    ),
    Mutant(
        "a stop on a person's position",
        COMPARISON,
        "    if intent.unseen_since_ms is None:\n        return position.size > foreign\n",
        "    return True\n",
        0,
        "trading/reconcile/test_whose_position.py::"
        "test_a_position_that_a_person_opened_after_ours_gets_no_stop_and_is_not_taken_for_ours",
    ),
    Mutant(
        "an unreadable row fails the list",
        FIELDS,
        "            unreadable.append(",
        "            raise\n            unreadable.append(",
        0,
        "wild_account/test_bad_rows.py::test_an_odd_row_of_another_coin_stops_nothing",
    ),
    Mutant(
        "an unknown code is a rejection",
        "exchange/error_mapping.py",
        "CODES.get(code, ErrorKind.AMBIGUOUS)",
        "CODES.get(code, ErrorKind.REJECTED)",
        0,
        "wild_account/test_unknown_refusals.py::test_the_table_says_of_an_unknown_code_that_it_is_ambiguous",
    ),
    Mutant(
        "an outcome left open is a rejection",
        STEPS,
        'return move(context, intent, orders.UNKNOWN, reason=f"outcome unknown: {error}")',
        "return _refused(context, intent, str(error), error)",
        0,
        "trading/execute/test_submit.py::test_an_outcome_stays_unknown_while_the_exchange_does_not_answer",
    ),
    Mutant(
        "no adoption",
        RECONCILER,
        " | _adopt(context, found, report)",
        "",
        0,
        "trading/reconcile/test_whose_position.py::"
        "test_an_order_that_was_given_up_and_filled_all_the_same_is_ours_again",
    ),
    Mutant(
        "an order not found was never sent",
        RECOVERY,
        "        elif position is None:",
        "        elif True:",
        0,
        "trading/saga/test_recovery.py::test_an_order_that_no_list_shows_is_not_given_up_while_its_position_is_open",
    ),
    Mutant(
        "the transaction log is not kept",
        ACCOUNT,
        "    if values:\n        connection.execute(sa.insert(account_transactions), values)",
        "    if not values:\n        connection.execute(sa.insert(account_transactions), values)",
        20,
    ),
    Mutant("a fee is forgotten", ACCOUNT, '"fee": execution.fee - fee,', '"fee": execution.fee * 0,', 20),
)
"""Every one is found."""

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
