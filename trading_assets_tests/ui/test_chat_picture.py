"""A conversation with the real bot, on an embedded exchange and a Bot API of our own, as a page: docs/chat.md."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.chaos.signal_source import give_signal
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import MINUTE_MS, local_ms
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import set_active
from trading_assets.notifications.channels import channels_of
from trading_assets.notifications.delivery import deliver
from trading_assets.service.bot import Bot, bot_name
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.venues import open_exchange
from trading_assets_tests.polling import until
from trading_assets_tests.service.bot_api import TOKEN, BotApi, bot_api
from trading_assets_tests.trading.fixtures import STRATEGY, start_strategy
from trading_assets_tests.ui.chat_page import ChatMessage, page_of
from trading_assets_tests.ui.pages import Pages, chromium, open_chromium, pictures_folder

START = 1_772_427_640_000
"""2026-03-02 05:00:40 UTC."""

ENTERED = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
NAME = "chat"


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    market = ServeConfig(symbols=14, clock=ClockSpec(ClockMode.MANUAL, start_ms=START))
    with serve_in_thread(market) as found:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", found.url)
        monkeypatch.setenv("TRADING_ASSETS_POSITION_SIZE", "500")
        monkeypatch.setenv("TRADING_ASSETS_MIN_SIGNAL_INTERVAL_S", "0")
        yield found


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[BotApi]:
    with bot_api() as found:
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_TOKEN", TOKEN)
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_USERS", '{"1": "admin"}')
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_API_URL", found.url)
        yield found


class Conversation:
    """What an admin and the bot say, in order."""

    def __init__(self, api: BotApi) -> None:
        self._api, self.said = api, list[ChatMessage]()
        self._seen = 0

    def take(self, *, has_title: bool = False) -> None:
        """What the bot has sent meanwhile."""
        for one in self._api.sent[self._seen :]:
            rows = one.get("reply_markup", {}).get("inline_keyboard", [])
            words = tuple(button["text"] for row in rows for button in row)
            self.said.append(ChatMessage(str(one["text"]), buttons=words, has_title=has_title))
            self._seen += 1

    def ask(self, text: str) -> str:
        self.said.append(ChatMessage(text, by_bot=False))
        self._api.write(text)
        return self._answer()

    def press_first(self) -> str:
        button = self._api.sent[-1]["reply_markup"]["inline_keyboard"][0][0]
        self.said.append(ChatMessage(button["text"], by_bot=False))
        self._api.press(button["callback_data"])
        return self._answer()

    def _answer(self) -> str:
        until(lambda: len(self._api.sent) > self._seen)
        self.take()
        return self.said[-1].text


def talk(exchange: RunningExchange, api: BotApi) -> dict[str, list[ChatMessage]]:
    """Positions are opened, and told; then an admin looks, closes one, halts and resumes."""
    settings = load_settings()
    database, venue, chance = Database(settings.resolved_database_url), open_exchange(settings), random.Random(4)
    start_strategy(database)
    set_active(database, STRATEGY, True)
    context = ExecutionContext(database, venue, settings)
    instruments = {row.symbol: row for row in venue.instruments()}
    channels = channels_of(settings)
    lease = leases.acquire(database, bot_name(settings), leases.this_holder(), ttl_ms=600_000, wall_ms=local_ms())
    assert lease is not None
    ends = threading.Event()
    bot = threading.Thread(target=Bot(settings, database, lambda _: None, ends, lambda: lease, poll_s=2).run)
    try:
        deliver(database, settings.account, channels, max_age_s=3600, within_s=30)  # from here on they are told
        for symbol in ENTERED:
            give_signal(database, venue, instruments[symbol], settings, chance)
        submit_orders(context)
        reconcile(context)
        looking = Conversation(api)
        deliver(database, settings.account, channels, max_age_s=3600, within_s=30)
        looking.take(has_title=True)
        exchange.advance(25 * MINUTE_MS)
        reconcile(context)
        deliver(database, settings.account, channels, max_age_s=3600, within_s=30)
        looking.take(has_title=True)
        bot.start()
        for command in ("/status", "/positions"):
            looking.ask(command)
        acting = Conversation(api)
        acting._seen = looking._seen
        acting.ask("/close ETHUSDT")
        acting.press_first()
        acting.ask("/trades")
        acting.ask("/halt news at noon")
        acting.ask("/resume")
        acting.press_first()
    finally:
        ends.set()
        if bot.is_alive():
            bot.join()
        database.close()
        venue.close()
    return {"It tells, and you look": looking.said, "You command": acting.said}


@pytest.mark.slow
def test_a_conversation_is_a_page_as_it_was_held(exchange: RunningExchange, api: BotApi, tmp_path: Path) -> None:
    columns = talk(exchange, api)
    looking, acting = (list(said) for said in columns.values())
    told = [one.text for one in looking if one.has_title]
    assert len([text for text in told if "BTCUSDT" in text]) >= 1
    assert "3 open" in looking[-3].text and all(symbol in looking[-1].text for symbol in ENTERED)
    assert acting[1].buttons and "ETHUSDT" in acting[1].text and "1 closed (ETHUSDT)" in acting[3].text
    assert "LONG ETHUSDT, by an order: " in acting[5].text
    assert "is HALTED" in acting[7].text and "is ACTIVE" in acting[-1].text
    paths = chromium()
    if paths is None:
        pytest.skip("no Chromium with its driver is found; on Debian: apt-get install chromium chromium-driver")
    page = tmp_path / "chat.html"
    page.write_text(page_of(columns))
    browser = open_chromium(paths, tmp_path / "profile")
    try:
        pages = Pages(browser, page.as_uri(), pictures_folder())
        browser.set_window_size(932, 600)
        pages.open("")
        for one in (*looking, *acting):
            pages.see(*(line.strip() for line in one.text.splitlines()), *one.buttons)
        frame = browser.execute_script("return window.outerHeight - window.innerHeight + document.body.scrollHeight")
        browser.set_window_size(932, frame)
        pages.picture(NAME)
    finally:
        browser.quit()


def test_what_is_said_is_shown_as_text() -> None:
    page = page_of(
        {"a < b": [ChatMessage("<script>x</script>\nbody & more", has_title=True), ChatMessage("/halt", by_bot=False)]}
    )
    assert "<script" not in page and "<b>&lt;script&gt;x&lt;/script&gt;</b>body &amp; more" in page
    assert '<li class="you">/halt</li>' in page and "<h2>a &lt; b</h2>" in page
