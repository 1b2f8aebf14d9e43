"""What is watched, for users without Prometheus: each look finds what is wrong now; the ledger knows since when.

The same conditions stand as Prometheus rules in `deploy/observability/rules.yml`; a test holds the names equal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from trading_assets.core import counters
from trading_assets.core.messages import Severity
from trading_assets.core.timeframes import HOUR_MS, hour_key
from trading_assets.ledger import alarms
from trading_assets.ledger.alarms import Alarm, Found
from trading_assets.ledger.database import Database
from trading_assets.ledger.process_reports import ProcessReport
from trading_assets.ledger.risk import RiskState
from trading_assets.observability.readings import AccountReading, Reading

BOOKS_AGE_S = 120.0
SELECTION_AGE_MS = 2 * HOUR_MS
DRAWDOWN_SHARE = 0.8
BACKLOG = 100
DISK_FREE = 0.05
OUTBOX_AGE_S = 600.0
MIRROR_AGE_S = 600.0
STREAM_SILENT_S = 60.0
ERROR_SHARE, ERROR_WINDOW_MS, LEAST_REQUESTS = 0.05, 300_000, 20
KEY_EXPIRES_MS = 7 * 24 * HOUR_MS
CERTIFICATE_EXPIRES_MS = 14 * 24 * HOUR_MS
"""What renews certificates does it a month before."""

_ERRORS = frozenset({"failed", "timed_out", "rate_limited"})
"""Results of requests that are errors: a refusal is an answer."""


@dataclass(frozen=True)
class Rule:
    """A condition that is watched.

    Attributes:
        lasts_s: it fires when it was there for so long.
        detail: what is found, and what to do; None where all is well.
    """

    severity: Severity
    lasts_s: float
    detail: Callable[[AccountReading, Reading], str | None]


def _books_old(account: AccountReading, _: Reading) -> str | None:
    if not account.is_traded or account.books_ms is None:
        return None
    age_s = (account.venue_now_ms - account.books_ms) / 1000
    if age_s <= BOOKS_AGE_S:
        return None
    return f"the books were read {age_s:.0f} s ago, {BOOKS_AGE_S:.0f} s are allowed; does the daemon or a session run?"


def _no_session(account: AccountReading, _: Reading) -> str | None:
    # Before the first reading of the books nobody has begun to trade.
    if not account.is_traded or account.trader or account.books_ms is None:
        return None
    return "trading is on, and no session lives; start the daemon, or switch it off: trading-assets trading off"


def _no_selection(account: AccountReading, reading: Reading) -> str | None:
    newest = reading.hours.get("selection")
    if not account.is_traded or newest is None:
        return None
    ended_ms = newest + HOUR_MS
    if account.venue_now_ms - ended_ms <= SELECTION_AGE_MS:
        return None
    return f"the newest selection is that of {hour_key(newest)}; trading-assets status says what blocks research"


def _halted(account: AccountReading, _: Reading) -> str | None:
    if not account.halted_by_file and account.state.state is not RiskState.HALTED:
        return None
    state = account.state
    by_ledger = state.state is RiskState.HALTED
    why = f"{state.cause}: {state.reason}" if by_ledger else "by the file HALTED in the home"
    return f"trading is halted: {why}; trading-assets resume ends it"


def _drawdown_near(account: AccountReading, _: Reading) -> str | None:
    limit = account.settings.max_drawdown_pct / 100
    if account.drawdown is None or account.drawdown < DRAWDOWN_SHARE * limit:
        return None
    return f"equity is {account.drawdown:.1%} below its peak; at {limit:.1%} trading halts"


def _unprotected(account: AccountReading, _: Reading) -> str | None:
    if not account.unprotected:
        return None
    return f"no stop at the exchange: {', '.join(one.symbol for one in account.unprotected)}; trading-assets portfolio"


def _backlog(account: AccountReading, _: Reading) -> str | None:
    return f"{account.waiting} signals wait, {BACKLOG} are allowed" if account.waiting > BACKLOG else None


def _outbox_stuck(account: AccountReading, reading: Reading) -> str | None:
    stuck = [
        name
        for name, held in account.channels.items()
        if held.since_wall_ms is not None and reading.wall_ms - held.since_wall_ms > OUTBOX_AGE_S * 1000
    ]
    return f"messages wait on {', '.join(stuck)}; trading-assets notify list says why" if stuck else None


def _mirror_stuck(account: AccountReading, reading: Reading) -> str | None:
    held = reading.mirror
    if held is None or held.account != account.account or not held.waiting:
        return None
    silent_ms = reading.wall_ms - (held.last_sent_wall_ms or held.since_wall_ms)
    if silent_ms <= MIRROR_AGE_S * 1000:
        return None
    why = f": {held.error}" if held.error else ""
    return f"{held.waiting} changes wait, and DynamoDB took nothing for {silent_ms / 60_000:.0f} minutes{why}"


def _stream_silent(account: AccountReading, reading: Reading) -> str | None:
    session = account.session
    heard_ms = session.gauges.get("heard_wall_ms") if session is not None and account.trader else None
    if heard_ms is None or reading.wall_ms - heard_ms <= STREAM_SILENT_S * 1000:
        return None
    silent_s = (reading.wall_ms - heard_ms) / 1000
    return f"the candle stream is silent for {silent_s:.0f} s; candles are read by REST meanwhile"


def _disk_low(_: AccountReading, reading: Reading) -> str | None:
    return f"{reading.disk_free:.1%} of the home's disk is free" if reading.disk_free < DISK_FREE else None


def _key_expires(account: AccountReading, reading: Reading) -> str | None:
    expires_ms = account.session.gauges.get("key_expires_ms") if account.session is not None else None
    if expires_ms is None or expires_ms - account.venue_now_ms > KEY_EXPIRES_MS:
        return None
    left_days = max(0.0, (expires_ms - account.venue_now_ms) / HOUR_MS / 24)
    return f"the API key expires in {left_days:.1f} days; make a new one"


def _certificate_expires(_: AccountReading, reading: Reading) -> str | None:
    expires_ms = reading.certificate_expires_ms
    if expires_ms is None or expires_ms - reading.wall_ms > CERTIFICATE_EXPIRES_MS:
        return None
    left_days = (expires_ms - reading.wall_ms) / HOUR_MS / 24
    when = f"expires in {left_days:.1f} days" if left_days > 0 else f"has expired {-left_days:.1f} days ago"
    return f"the certificate of the UI (TRADING_ASSETS_UI_URL) {when}; renew it at the proxy"


RULES: Mapping[str, Rule] = {
    "unprotected": Rule(Severity.CRITICAL, 15, _unprotected),
    "halted": Rule(Severity.CRITICAL, 0, _halted),
    "drawdown_near": Rule(Severity.WARNING, 0, _drawdown_near),
    "no_session": Rule(Severity.CRITICAL, 120, _no_session),
    "books_old": Rule(Severity.WARNING, 30, _books_old),
    "no_selection": Rule(Severity.WARNING, 0, _no_selection),
    "backlog": Rule(Severity.WARNING, 60, _backlog),
    "stream_silent": Rule(Severity.WARNING, 30, _stream_silent),
    "outbox_stuck": Rule(Severity.WARNING, 60, _outbox_stuck),
    "mirror_stuck": Rule(Severity.WARNING, 120, _mirror_stuck),
    "disk_low": Rule(Severity.WARNING, 60, _disk_low),
    "key_expires": Rule(Severity.WARNING, 0, _key_expires),
    "certificate_expires": Rule(Severity.WARNING, 0, _certificate_expires),
}
"""By name. `api_errors` is besides: it needs more than one look."""

API_ERRORS = "api_errors"


@dataclass
class _Requests:
    """How many requests there were, and how many of them failed, at each look of the last minutes."""

    looks: deque[tuple[int, float, float]] = field(default_factory=deque)

    def failing(self, reports: Sequence[ProcessReport], wall_ms: int) -> str | None:
        """What is wrong with requests lately; None where all is well."""
        asked, failed = 0.0, 0.0
        for report in reports:
            for key, value in report.counts.items():
                if key[0] == counters.API_REQUESTS:
                    asked += value
                    failed += value if key[2] in _ERRORS else 0.0
        self.looks.append((wall_ms, asked, failed))
        while len(self.looks) > 1 and wall_ms - self.looks[0][0] > ERROR_WINDOW_MS:
            self.looks.popleft()
        _, asked_before, failed_before = self.looks[0]
        asked, failed = asked - asked_before, failed - failed_before
        if asked < LEAST_REQUESTS or failed <= ERROR_SHARE * asked:
            return None
        return f"{failed:.0f} of {asked:.0f} requests to the exchange failed lately, {ERROR_SHARE:.0%} are allowed"


class Watch:
    """Looks at the accounts again and again, and remembers what one look cannot tell."""

    def __init__(self) -> None:
        self._requests: dict[str, _Requests] = {}

    def look(self, database: Database, reading: Reading, *, knows_requests: bool = True) -> list[Alarm]:
        """Look once, and keep what is found. Return the alarms that began to fire or were resolved.

        Args:
            knows_requests: whether this is one of many looks; else the alarm of failing requests stays as it is.
        """
        changed = []
        for account in reading.accounts:
            found = findings(account, reading)
            failing = self._requests.setdefault(account.account, _Requests()).failing(account.reports, reading.wall_ms)
            if failing is not None:
                found[API_ERRORS] = Found(Severity.WARNING, failing, 0)
            unknown = () if knows_requests else (API_ERRORS,)
            changed += alarms.step(database, account.account, found, reading.wall_ms, unknown=unknown)
        return changed


def findings(account: AccountReading, reading: Reading) -> dict[str, Found]:
    """What one look finds, by name of the rule."""
    found = {}
    for name, rule in RULES.items():
        detail = rule.detail(account, reading)
        if detail is not None:
            found[name] = Found(rule.severity, detail, rule.lasts_s)
    return found
