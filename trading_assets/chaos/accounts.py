"""`trading-assets chaos accounts`: two accounts on one ledger, whose traders are killed at the same time.

Each account has an embedded exchange, limits and a size of its own, and a driver in a process of its own: the trial of
`chaos orders`, whose laws hold ledger and exchange against each other for one account. What one account reads of the
other's would break them: both trade the same coins. One is halted half-way, and opens nothing more.

The ledger is the usual file of SQLite, or on a PostgreSQL server of the trial's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa

from trading_assets.accounts import effective, registry
from trading_assets.chaos import planned_exits
from trading_assets.chaos.faults import WILD
from trading_assets.chaos.orders import SPEED, Trial
from trading_assets.chaos.orders_report import ChaosReport
from trading_assets.chaos.own_postgres import OwnPostgres
from trading_assets.chaos.trial_settings import settings_of
from trading_assets.chaos.worker import WorkerSite
from trading_assets.core.configuration import trial
from trading_assets.core.settings import Settings, Venue
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import entry_signals, fills
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.launcher import ensure_running
from trading_assets.trading.risk import guard

SECOND = "second"
LIMITS = {"max_positions": "4", "position_size": "40"}
"""Of the second account; the first one may open as many as it likes, of the usual size."""


@dataclass
class AccountsReport:
    """What happened on each account, and what was found broken; `broken` has a sentence for each finding.

    Attributes:
        halted: the account that was halted half-way.
        accounts: the figures of `chaos orders`, by account; so are those that follow.
        most_open: most symbols that orders and positions of ours occupied at the end of a round.
        sizes: values that signals were to have, USD.
        second_half: orders that were reserved after half of the deaths.
        rejected: signals that a gate refused.
    """

    seed: int
    halted: str
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    most_open: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, list[float]] = field(default_factory=dict)
    second_half: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def run_accounts(
    kills: int, seed: int, say: Callable[[str], None] = lambda _text: None, *, on_postgres: bool = False
) -> AccountsReport:
    """Kill traders of both accounts until `kills` of each have died.

    Raises:
        ConfigurationError: PostgreSQL is asked for, and its programs are not installed.
        ExchangeUnavailableError: an embedded exchange does not start.
        WorkerBrokeError: a trader ended by an error of its own.
    """
    with (
        tempfile.TemporaryDirectory(prefix="trading-assets-chaos-") as folder,
        trial(Path(folder)),
        ExitStack() as stack,
    ):
        url = None
        if on_postgres:
            Path(folder).chmod(0o711)  # PostgreSQL is another user, and has its own directory in it
            server = OwnPostgres(Path(folder) / "postgres")
            stack.callback(server.stop)
            url = server.url
        base = settings_of(Path(folder), seed, database_url=url)
        database, urls = Database(base.resolved_database_url), dict[str, str]()
        seed_registry(database)
        wanted = registry.AccountDraft(SECOND, Venue.SIMULATOR.value, None, {}, LIMITS)
        registry.add(database, base, wanted, actor="chaos", reason="a trial")
        both = {name: effective.settings_of(database, base, name) for name in (base.account, SECOND)}
        database.close()
        report = AccountsReport(seed, halted=base.account)
        try:
            for name, settings in both.items():
                urls[name] = ensure_running(settings, clock=ClockSpec(ClockMode.ACCELERATED, speed=SPEED))
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
                begun = {
                    name: processes.submit(
                        _drive, base, name, urls[name], kills, seed + number, is_halted=name == report.halted
                    )
                    for number, name in enumerate(both)
                }
                for name, driver in begun.items():
                    _add(report, name, *driver.result())
                    say(f"account {name}: {report.accounts[name]['kills']} killed")
        finally:
            for url in urls.values():
                with suppress(requests.RequestException):
                    requests.post(f"{url}/admin/stop", timeout=5, proxies={"http": ""})
        _compare_accounts(Database(base.resolved_database_url), report)
        return report


@dataclass(frozen=True)
class _Seen:
    """What a driver has seen besides the laws of `chaos orders`."""

    most_open: int
    second_half: int


class _AccountTrial(Trial):
    """The trial on one account; half-way its account may be halted by a person."""

    def __init__(self, place: WorkerSite, kills: int, seed: int, *, is_halted: bool) -> None:
        super().__init__(place, kills, seed, WILD)
        self._is_halted, self._before_half, self.most_open = is_halted, set[str](), 0

    @property
    def second_half(self) -> int:
        """Orders that were reserved after half of the deaths."""
        return len(self._two.reserved() - self._before_half)

    def _is_enough(self) -> bool:
        """Enough deaths, and what both accounts are compared by: orders after the other's halt."""
        return super()._is_enough() and bool(self._before_half) and (self._is_halted or self.second_half > 0)

    def _round(self) -> None:
        super()._round()
        settings = self._site.settings
        self.most_open = max(self.most_open, len(orders.occupying(self._database, settings.account)))
        is_half = self._report.kills * 2 >= self._wanted
        if not self._before_half and is_half and self._entries and self._booked_closings():
            # not before a signal's order was executed: a grid or a plan may have closed first, and a halt opens no more
            self._before_half = self._two.reserved()
            if self._is_halted:
                now_ms = self._exchange.now_ms()
                guard.command(
                    self._database, settings.account, RiskState.HALTED, reason="half-way", actor="chaos", now_ms=now_ms
                )


def _drive(base: Settings, name: str, url: str, kills: int, seed: int, *, is_halted: bool) -> tuple[ChaosReport, _Seen]:
    """One account's trial, in a process of its own."""
    database = Database(base.resolved_database_url)
    settings = effective.settings_of(database, base, name)
    place = WorkerSite(settings, url, base.home / f"worker-{name}.log", database)
    with planned_exits.known():
        one = _AccountTrial(place, kills, seed, is_halted=is_halted)
        return one.run(lambda _done: None, until_broken=False), _Seen(one.most_open, one.second_half)


def _add(report: AccountsReport, name: str, found: ChaosReport, seen: _Seen) -> None:
    report.accounts[name] = {key: value for key, value in vars(found).items() if key != "broken"}
    report.broken += [f"account {name}, {text}" for text in found.broken]
    report.most_open[name], report.second_half[name] = seen.most_open, seen.second_half


def _compare_accounts(database: Database, report: AccountsReport) -> None:
    """What one account's driver cannot see: whether limits, halt and rows are each account's own."""
    account, count = entry_signals.c.account, sa.func.count()
    with database.read() as connection:
        for name in report.accounts:
            sizes = sa.select(entry_signals.c.position_size).where(account == name).distinct()
            report.sizes[name] = sorted(map(float, connection.execute(sizes).scalars()))
            refused = sa.select(count).where(account == name, entry_signals.c.status == "rejected")
            report.rejected[name] = connection.execute(refused).scalar_one()
        twice = (
            sa.select(fills.c.exec_id).group_by(fills.c.exec_id).having(sa.func.count(fills.c.account.distinct()) > 1)
        )
        shared = connection.execute(twice).scalars().all()
    database.close()
    report.broken += [f"execution {one} is in the books of both accounts" for one in shared]
    if report.second_half[report.halted]:
        report.broken.append(f"{report.second_half[report.halted]} orders of {report.halted} after it was halted")
    if not report.second_half[SECOND]:
        report.broken.append(f"account {SECOND} opened nothing after {report.halted} was halted")
    most = int(LIMITS["max_positions"])
    if report.most_open[SECOND] > most:
        report.broken.append(f"account {SECOND} had {report.most_open[SECOND]} positions, its limit is {most}")
    if report.sizes[SECOND] != [float(LIMITS["position_size"])] or report.sizes[SECOND] == report.sizes[report.halted]:
        report.broken.append(f"sizes of both accounts: {report.sizes}")
