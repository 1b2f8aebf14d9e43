"""The process beside Dagster: parts that live as long as it does, each by one process at a time.

A part is a function that goes on until it is to end; another one is a line in `PARTS`. What a part raises ends the
part, not the process: it begins again after a rest. A second process waits for the leases of the first, and takes over.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trading_assets.accounts import effective
from trading_assets.core.errors import LeaseLostError, MirrorUnavailableError, TradingAssetsError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.messages import Notify
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases, mirror
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.mirror.dynamodb import DynamoDb
from trading_assets.mirror.sender import Sender, begin
from trading_assets.notifications.channels import channels_of, with_rules_of_now
from trading_assets.notifications.delivery import deliver
from trading_assets.notifications.notifier import notifying
from trading_assets.observability import readings
from trading_assets.observability.alarms import Watch
from trading_assets.service import occasions
from trading_assets.service.bot import Bot, bot_name
from trading_assets.service.monitor import monitor_server

_log = get_logger(__name__)

LEASE_MS = 20_000
RENEW_EVERY_S = 4.0
REST_S, LONGEST_REST_S = 1.0, 60.0
LOOK_EVERY_S = 1.0
DELIVER_WITHIN_S = 20.0
OCCASIONS_EVERY_S = 30.0
WATCH_EVERY_S = 10.0
END_WITHIN_S = 300.0
"""A command that is being done is finished first: closing positions may take minutes."""


@dataclass(frozen=True)
class Service:
    """What a part works with.

    Attributes:
        lease: the part's lease now; raises LeaseLostError where another process has it.
        say: tells who started the process.
        ends: set when the part is to end.
    """

    settings: Settings
    database: Database
    tell: Notify
    ends: threading.Event
    lease: Callable[[], Lease]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A part of the process.

    Attributes:
        is_wanted: whether the settings name something for it to do.
        lock: what only one process does at a time.
    """

    what: str
    is_wanted: Callable[[Settings], bool]
    lock: Callable[[Settings], str]
    run: Callable[[Service], None]


def _run_outbox(service: Service) -> None:
    settings, since_s = service.settings, OCCASIONS_EVERY_S
    channels = channels_of(settings)
    while not service.ends.wait(LOOK_EVERY_S):
        since_s += LOOK_EVERY_S
        names = effective.names(service.database, settings)
        if since_s >= OCCASIONS_EVERY_S:
            for name in names:
                occasions.keep_due(service.database, name, local_ms())
            since_s = 0.0
        for name in names:
            now, max_age_s = with_rules_of_now(channels, service.database, settings, name)
            deliver(service.database, name, now, max_age_s=max_age_s, within_s=DELIVER_WITHIN_S / len(names))


def _run_bot(service: Service) -> None:
    Bot(service.settings, service.database, service.tell, service.ends, service.lease).run()


def _run_monitor(service: Service) -> None:
    server = monitor_server(service.settings, lambda: service.database)
    _log.info("metrics are at %s/metrics", server.url)
    server.serve(service.ends)


def _run_dashboard(service: Service) -> None:
    # Imported here: it takes a second, and few parts need it.
    from trading_assets.service.dashboard.app import dashboard_server  # noqa: PLC0415
    from trading_assets.service.dashboard.reader import Reader, own_ledger  # noqa: PLC0415

    own = own_ledger(service.settings)
    reader = Reader(service.settings, own)
    server = dashboard_server(service.settings, lambda: service.database, reader, service.tell)
    reader.start()
    try:
        service.say(f"the live page is at {server.url}")
        server.serve(service.ends, reader.stop)
    finally:
        reader.stop()


def _run_alarms(service: Service) -> None:
    watch = Watch()
    while not service.ends.wait(WATCH_EVERY_S):
        watch.look(service.database, readings.read(service.database, service.settings))


def _run_mirror(service: Service) -> None:
    account, store = service.settings.account, DynamoDb.from_settings(service.settings)
    sender = Sender(service.database, store, account, service.lease, service.ends.wait, local_ms)
    begin(service.database, account, local_ms())
    while not service.ends.is_set():
        try:
            sent = sender.round()
        except MirrorUnavailableError as error:
            mirror.mark_failed(service.database, str(error))
            raise
        if not sent:
            service.ends.wait(LOOK_EVERY_S)


def _is_watched(settings: Settings) -> bool:
    return bool(channels_of(settings)) or settings.monitor_port is not None or settings.dashboard_port is not None


PARTS: Mapping[str, Part] = {
    "outbox": Part(
        "delivers messages to people",
        lambda settings: bool(channels_of(settings)),
        lambda settings: f"serve:outbox:{settings.account}",
        _run_outbox,
    ),
    "bot": Part(
        "takes commands by chat",
        lambda settings: settings.telegram_token is not None,
        bot_name,
        _run_bot,
    ),
    "alarms": Part(
        "watches for what is wrong",
        _is_watched,
        lambda settings: f"serve:alarms:{settings.account}",
        _run_alarms,
    ),
    "dashboard": Part(
        "shows the live page",
        lambda settings: settings.dashboard_port is not None,
        lambda settings: f"serve:dashboard:{socket.gethostname()[:40]}:{settings.dashboard_port}",
        _run_dashboard,
    ),
    "monitor": Part(
        "shows metrics",
        lambda settings: settings.monitor_port is not None,
        lambda settings: f"serve:monitor:{socket.gethostname()[:40]}:{settings.monitor_port}",
        _run_monitor,
    ),
    "mirror": Part(
        "mirrors to DynamoDB",
        lambda settings: settings.dynamodb_mirror,
        lambda _settings: "serve:mirror",
        _run_mirror,
    ),
}


def wanted_parts(settings: Settings) -> list[str]:
    """The parts that the settings name something for."""
    return [name for name, part in PARTS.items() if part.is_wanted(settings)]


def serve(
    settings: Settings, database: Database, names: Sequence[str], say: Callable[[str], None], ends: threading.Event
) -> None:
    """Run parts until `ends` is set, then let each finish what it does.

    Args:
        say: told when a part begins, waits or fails.
    """
    with notifying(settings, lambda: database) as notifier:
        keepers = [_Keeper(name, settings, database, notifier.notify, say, ends) for name in names]
        for keeper in keepers:
            keeper.start()
        ends.wait()
        say("ending")
        for keeper in keepers:
            keeper.end_part()
        for keeper in keepers:
            keeper.join(END_WITHIN_S)


def end_on_signals(ends: threading.Event) -> None:
    """SIGTERM and SIGINT let the process finish what it does; a second one ends it at once."""

    def handle(number: int, _frame: object) -> None:
        if ends.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        ends.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


class _Keeper(threading.Thread):
    """Holds a part's lease, runs the part while it has it, and begins anew after a failure."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        database: Database,
        tell: Notify,
        say: Callable[[str], None],
        ends: threading.Event,
    ) -> None:
        super().__init__(name=f"part-{name}", daemon=True)
        self._part_name, self._part = name, PARTS[name]
        self._settings, self._database, self._tell, self._say, self._ends = settings, database, tell, say, ends
        self._lock = self._part.lock(settings)
        self._lease: Lease | None = None
        self._part_ends = threading.Event()

    def end_part(self) -> None:
        """Have the part end that runs now; what starts later sees that the process ends."""
        self._part_ends.set()

    def run(self) -> None:
        """See threading's."""
        rest_s, is_waiting = REST_S, False
        while not self._ends.is_set():
            try:
                found = leases.acquire(
                    self._database, self._lock, leases.this_holder(), ttl_ms=LEASE_MS, wall_ms=local_ms()
                )
                if found is None:
                    if not is_waiting:
                        self._say(f"{self._part_name}: another process does it; this one waits to take over")
                    is_waiting = True
                    self._ends.wait(RENEW_EVERY_S)
                    continue
                is_waiting, self._lease = False, found
                self._say(f"{self._part_name}: {self._part.what}")
                self._hold(found)
                rest_s = REST_S
            except TradingAssetsError as error:
                self._say(f"{self._part_name}: begins again in {rest_s:.0f} s: {error}")
            except Exception:  # noqa: BLE001 (a part that breaks is begun again, and the others go on)
                _log.exception("the part %s broke; it begins again in %.0f s", self._part_name, rest_s)
            self._ends.wait(rest_s)
            rest_s = min(rest_s * 2, LONGEST_REST_S)

    def _hold(self, lease: Lease) -> None:
        """Run the part in this thread, and renew its lease in another."""
        part_ends, done = threading.Event(), threading.Event()
        self._part_ends = part_ends
        if self._ends.is_set():
            part_ends.set()

        def renew() -> None:
            while not done.wait(RENEW_EVERY_S):
                try:
                    self._lease = leases.renew(self._database, self._current(), ttl_ms=LEASE_MS, wall_ms=local_ms())
                except LeaseLostError:
                    self._lease = None
                    part_ends.set()
                except TradingAssetsError as error:
                    _log.warning("the lease of %s was not renewed: %s", self._part_name, error)

        thread = threading.Thread(target=renew, name=f"lease-{self._part_name}", daemon=True)
        thread.start()
        try:
            self._part.run(Service(self._settings, self._database, self._tell, part_ends, self._current, self._say))
        finally:
            done.set()
            thread.join()
            if self._lease is not None:
                leases.release(self._database, self._lease)

    def _current(self) -> Lease:
        if self._lease is None:
            raise LeaseLostError(f"another process has {self._lock}")
        return self._lease
