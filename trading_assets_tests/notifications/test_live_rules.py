"""Rules of channels change while everything runs: whoever delivers obeys the newest, of the message's own account."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from trading_assets.accounts import changing, effective, registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.messages import Kind, Message
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.defs.sensors import deliver_messages
from trading_assets.ledger import leases, outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ALL
from trading_assets.notifications.channels import channels_of
from trading_assets.notifications.notifier import notifying
from trading_assets.service import serve
from trading_assets.service.serve import Service
from trading_assets_tests.notifications.servers import Messenger, http_messenger
from trading_assets_tests.polling import until

ONLY_RISK = '{"*": {"kinds": ["risk"]}}'


def put(database: Database, text: str | None, account: str = ALL) -> None:
    changing.set_setting(
        database, load_settings(), "notify_rules", text, account=account, actor="a test", reason="why not"
    )


def write(database: Database, account: str, title: str, kind: Kind) -> None:
    outbox.add_all(database, account, [(Message(title, "", kind), local_ms())])


@pytest.fixture
def messenger(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Messenger]:
    """A messenger that the settings name, with a rule for it; and a second account."""
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", sqlite.url.render_as_string(hide_password=False))
    monkeypatch.setenv("TRADING_ASSETS_NOTIFY_RULES", '{"*": {"group_from": 0}}')
    registry.add(
        sqlite, load_settings(), AccountDraft("second", "simulator", None, {}, {}), actor="a test", reason="to see"
    )
    with http_messenger() as found:
        monkeypatch.setenv("TRADING_ASSETS_NOTIFY_URLS", f'["{found.url}"]')
        yield found


def test_a_process_that_tells_obeys_the_newest_rule(sqlite: Database, messenger: Messenger) -> None:
    with notifying(load_settings(), lambda: sqlite) as notifier:

        def tell(title: str, kind: Kind = Kind.RUN) -> None:
            notifier.notify(Message(title, "", kind))
            assert notifier.flush(60)

        tell("before")
        put(sqlite, ONLY_RISK)
        tell("left out")
        tell("a risk", Kind.RISK)
        put(sqlite, '{"*": {"kinds": ["run"]}}', "second")
        tell("left out, too")
        put(sqlite, None)
        tell("afterwards")
    assert messenger.titles == ["before", "a risk", "afterwards"]


def by_serve(database: Database, deliver_until: Callable[[], bool]) -> None:
    ends, settings = threading.Event(), load_settings()
    lease = leases.acquire(database, "a part", "here:1", ttl_ms=600_000, wall_ms=local_ms())
    assert lease is not None
    service = Service(settings, database, lambda _: None, ends, lambda: lease, lambda _: None)
    thread = threading.Thread(target=serve._run_outbox, args=(service,))
    thread.start()
    try:
        until(deliver_until)
        put(database, ONLY_RISK, "second")
        write_both(database, "later")
        until(lambda: is_decided(database))
    finally:
        ends.set()
        thread.join()


def _told_by_sensor() -> str:
    with dg.build_sensor_context(resources={"settings": SettingsResource(), "database": DatabaseResource()}) as context:
        return str(deliver_messages(context))


def by_sensor(database: Database, deliver_until: Callable[[], bool]) -> None:
    def tick() -> None:
        assert "0 tries failed" in _told_by_sensor()

    tick()
    assert deliver_until()
    put(database, ONLY_RISK, "second")
    write_both(database, "later")
    tick()


def write_both(database: Database, title: str) -> None:
    for account, kind in itertools.product(("main", "second"), (Kind.RUN, Kind.RISK)):
        write(database, account, f"{title} {kind.value} of {account}", kind)


def is_decided(database: Database) -> bool:
    """Whether nothing waits any more."""
    (channel,) = channels_of(load_settings())
    return not any(outbox.has_work(database, one, channel.name, wall_ms=local_ms()) for one in ("main", "second"))


@pytest.mark.slow
@pytest.mark.parametrize("deliver", [by_serve, by_sensor])
def test_who_delivers_for_all_obeys_the_rule_of_each_account(
    sqlite: Database, messenger: Messenger, deliver: Callable[[Database, Callable[[], bool]], None]
) -> None:
    write_both(sqlite, "first")
    deliver(sqlite, lambda: len(messenger.titles) == 4)
    assert sorted(messenger.titles[4:]) == ["later risk of main", "later risk of second", "later run of main"]


@pytest.mark.slow
def test_an_account_whose_place_is_refused_keeps_no_message_back(
    sqlite: Database, messenger: Messenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TRADING_ASSETS_ALLOW_MAINNET", "true")
        wanted = AccountDraft("a-real-one", "mainnet", "env:SOME_KEY,SOME_SECRET", {}, {})
        patch.setenv("SOME_KEY", "k"), patch.setenv("SOME_SECRET", "s")
        registry.add(sqlite, load_settings(), wanted, actor="a test", reason="to see")
    with pytest.raises(ConfigurationError):
        effective.settings_of(sqlite, load_settings(), "a-real-one", with_keys=False)
    write(sqlite, "second", "a risk", Kind.RISK)
    write(sqlite, "a-real-one", "another", Kind.RISK)
    _told_by_sensor()
    assert sorted(messenger.titles) == ["a risk", "another"]


def test_what_is_shown_of_the_rules_can_be_set_and_nonsense_is_refused(sqlite: Database) -> None:
    text = '{"*": {"quiet": "22:00-07:00 Europe/Berlin"}, "tgram": {"kinds": ["risk"], "min_severity": "warning"}}'
    put(sqlite, text)
    held = effective.settings_of(sqlite, load_settings())
    shown = changing.text_of(held.notify_rules)
    assert json.loads(shown) == json.loads(text)
    put(sqlite, shown)
    assert effective.settings_of(sqlite, load_settings()).notify_rules == held.notify_rules
    for wrong in ("silence", '{"*": {"kinds": ["gossip"]}}', '{"*": {"quiet": "late"}}', '{"*": {"loud": 1}}'):
        with pytest.raises(ConfigurationError, match=r"(?i)notify_rules"):
            put(sqlite, wrong)
