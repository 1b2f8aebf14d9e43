"""The live page in a real browser, wide and as a telephone. `make screenshots` takes its pictures here."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from trading_assets.core.errors import StorageError
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.service.dashboard.app import dashboard_server
from trading_assets.service.dashboard.reader import Reader
from trading_assets.trading.dca import control as dca_control
from trading_assets.trading.dca import status as dca_status
from trading_assets.trading.dca.control import start as start_plan
from trading_assets.trading.dca.maintain import maintain as maintain_plans
from trading_assets.trading.grid import control as grid_control
from trading_assets.trading.grid import status as grid_status
from trading_assets.trading.grid.control import start as start_grid
from trading_assets.trading.grid.maintain import maintain as maintain_grids
from trading_assets.trading.portfolio import portfolio
from trading_assets_tests.polling import until
from trading_assets_tests.trading.dca.stage import A_PLAN as A_DCA_PLAN
from trading_assets_tests.trading.fixtures import NO_PAUSES
from trading_assets_tests.trading.grid.stage import A_PLAN as A_GRID
from trading_assets_tests.ui.live_page_fixtures import ENTERED, lives, page_settings, served, trades_for_hours
from trading_assets_tests.ui.pages import Pages, chromium, open_chromium, pictures_folder, with_palette
from trading_assets_tests.wild_account.scene import Scene, open_scene

TOKEN = "a-token-of-more-than-twenty-letters"
WIDE, TELEPHONE = (1440, 1000), (390, 844)
PER_MINUTE = 60
LIMITS: dict[str, Any] = {
    "position_size": "900",
    "max_total_exposure_pct": 400,
    "max_symbol_exposure_pct": 100,
    "max_position_margin_pct": 50,
    "min_signal_interval_s": 0,
    **NO_PAUSES,
}

pytestmark = pytest.mark.slow


@pytest.fixture
def scene(sqlite: Database) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield open_scene(stack, sqlite, **LIMITS)


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    paths = chromium()
    if paths is None:
        pytest.skip("no Chromium with its driver is found; on Debian: apt-get install chromium chromium-driver")
    browser = open_chromium(paths, tmp_path / "profile")
    try:
        yield Pages(browser, "", pictures_folder())
    finally:
        browser.quit()


def sized(pages: Pages, size: tuple[int, int], *, scheme: str = "dark") -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == TELEPHONE}
    pages.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    pages.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def figure(pages: Pages, name: str) -> str:
    """The large number below a name."""
    found = pages.browser.execute_script(
        "return [...document.querySelectorAll('.figure')].find(one => one.firstChild.textContent === arguments[0])"
        "?.children[1].textContent",
        name,
    )
    return str(found)


def complaints(pages: Pages) -> list[str]:
    """What the browser has to say of the page: errors, and what the policy has refused."""
    return [one["message"] for one in pages.browser.get_log("browser") if "favicon" not in one["message"]]


def shows_the_ledger(pages: Pages, scene: Scene) -> None:
    """Wait until every figure on the page is that of the ledger now."""
    found = portfolio(scene.database, "main")
    assert found is not None
    until(lambda: figure(pages, "Equity, USD") == f"{found.equity:,.2f}", within_s=300)
    ever = found.ever
    rate = f"{ever.wins / ever.closings * 100:.0f} %" if ever.closings else "–"
    until(lambda: figure(pages, "Win rate") == rate)
    until(lambda: figure(pages, "Open positions") == str(len(found.positions)))
    assert figure(pages, "Drawdown") == f"{-found.drawdown_pct:.2f} %"
    for row in found.positions.to_dict("records"):
        card = pages.browser.find_element("css selector", f"[data-symbol='main:{row['symbol']}']").text
        pnl = f"{row['unrealised_pnl']:+,.2f}"
        assert (pnl if float(pnl) else "0.00") in card, card
        assert f"mark {row['mark_price']:.8g}" in card and f"stop {row['stop_loss']:.8g}" in card


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [WIDE, TELEPHONE], ids=["wide", "telephone"])
def test_an_hour_on_the_page_is_the_hour_of_the_ledger(
    scene: Scene, pages: Pages, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Minute by minute positions move, are opened, closed and stopped out, and the page has the ledger's numbers."""
    settings = page_settings(scene, tmp_path)
    with served(settings, scene.database) as server:
        sized(pages, size)
        pages.browser.get(server.url)
        pages.see("The books were never read.", "No open position.", "No hour was selected yet.", "view only")
        for symbol, is_long in ENTERED.items():
            scene.enter(symbol, long=is_long, distance="0.006")
        for minute in range(PER_MINUTE):
            scene.passes(1)
            if minute == 20:
                # The page looks at the trader's lease by this machine's clock, so it is taken by that, too.
                ahead_ms, scene.ahead_ms = scene.ahead_ms, 0
                scene.enter("XRPUSDT", long=False)
                scene.ahead_ms = ahead_ms
                lives(scene)
            if minute == 40 and scene.leg("XRPUSDT") is not None:
                scene.close_by_hand("XRPUSDT")
                scene.passes(1)
            if minute % 10 == 5 or minute == 41:
                shows_the_ledger(pages, scene)
        shows_the_ledger(pages, scene)
        ever = portfolio(scene.database, "main").ever  # type: ignore[union-attr]
        assert ever.closings > 0
        pages.see(f"of {ever.closings} closed, net {ever.net:+,.2f}")
        wide = pages.browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= size[0], "nothing is beyond the screen's edge"
        assert complaints(pages) == []


PAUSES = 10
LOOKS_FOR_PLANS = """
window.stayed = true;
window.seen = [];
new MutationObserver(() => {
  const [at, text] = [Date.now(), document.getElementById("plans").textContent];
  for (const [, number] of text.matchAll(/lunch no (\\d+)\\./g)) window.seen[number] ??= at;
}).observe(document.getElementById("plans"), { childList: true, subtree: true, characterData: true });
"""
"""Notes when a reason that a plan was paused for is on the page, by the machine's clock, which the test has, too."""


@pytest.mark.timeout(1800)
def test_grids_and_dca_plans_are_on_the_page_and_change_there_by_themselves(
    scene: Scene, pages: Pages, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    context, database = scene.context, scene.database
    price, step = scene.last_price("BTCUSDT"), 100 * scene.tick("BTCUSDT")
    low, high = ((price * Decimal(part) // step) * step for part in ("0.96", "1.04"))
    start_grid(context, replace(A_GRID, low=low, high=high, stop_low=low - 10 * step, stop_high=high + 10 * step))
    start_plan(context, replace(A_DCA_PLAN, symbol="ETHUSDT", anchor_ms=scene.now_ms()))
    lives(scene)
    with served(page_settings(scene, tmp_path), database) as server:
        sized(pages, WIDE)
        pages.browser.get(server.url)
        pages.see("Grids and plans", "arithmetic, 10 levels", "every 1m", "0.00 of 5,000.00 USD deployed")
        maintain_grids(context)
        maintain_plans(context)
        (grid,) = grid_status.status_of(database, "main", all_of_them=False)
        (plan,) = dca_status.status_of(database, "main", ended=False)
        waiting, deployed = grid.as_row()["waiting_orders"], plan.as_row()["deployed"]
        assert waiting and deployed
        pages.see(
            f"0 round trips, {waiting} orders wait, 0 levels blocked", f"{deployed:,.2f} of 5,000.00 USD deployed"
        )

        pages.browser.execute_script(LOOKS_FOR_PLANS)
        after_s = []
        for number in range(PAUSES):
            control = (grid_control, dca_control)[number % 2]
            symbol = ("BTCUSDT", "ETHUSDT")[number % 2]
            scene.later(1)
            control.pause(database, "main", symbol, f"lunch no {number}.", scene.now_ms())
            paused = time.time()
            shown = f"return window.seen[{number}]"
            seen = pages.until(lambda shown=shown: pages.browser.execute_script(shown), f"pause {number}")
            after_s.append(seen / 1000 - paused)
            control.resume(database, "main", symbol, scene.now_ms())
        record_property("on_the_page_after_s", [round(one, 2) for one in sorted(after_s)])
        assert pages.browser.execute_script("return window.stayed"), "the page was never loaded again"
        assert complaints(pages) == []


@pytest.mark.timeout(1800)
def test_every_part_of_the_page_is_there(scene: Scene, pages: Pages, tmp_path: Path) -> None:
    trades_for_hours(scene)
    with served(page_settings(scene, tmp_path), scene.database) as server:
        each_part_is_there(pages, server.url, WIDE, "dark")
        picture(pages, "dashboard", WIDE)
        each_part_is_there(pages, server.url, WIDE, "light")
        picture(pages, "dashboard_light", WIDE)
        each_part_is_there(pages, server.url, TELEPHONE, "dark")
        picture(pages, "dashboard_phone", TELEPHONE)
        assert complaints(pages) == []
        sized(pages, WIDE)
        pages.find("//article//a[text()='explain']").click()
        pages.see("bollinger_rsi", "evidence", "candles", "entry fills")
        assert complaints(pages) == []
        picture(pages, "dashboard_explain", WIDE)


def each_part_is_there(pages: Pages, url: str, size: tuple[int, int], scheme: str) -> None:
    sized(pages, size, scheme=scheme)
    pages.browser.get(url)
    pages.see("ACTIVE", "disk_low", "BTCUSDT", "target", "R ", "explain", "LINKUSDT", "spread: 0.31 %")
    pages.see("bollinger_rsi", "hour 2026-03-02-12:00: 6 coins", "deflated Sharpe", "drawdown", "of 20 %")
    pages.until(lambda: pages.all("//article//canvas"), "a chart of candles")
    assert pages.all("//a[@id='tv-attr-logo'][contains(@href, 'tradingview.com')]")
    runs = pages.all("//a[contains(@href, '/runs/466323ab-0000-4000-8000-000000000000')]")
    assert runs and pages.all("//a[contains(@href, '/assets/strategy_selections?view=partitions&partition=')]")


def picture(pages: Pages, name: str, size: tuple[int, int]) -> None:
    """Of the page from its upper end to its lower one, where pictures are wanted; of a telephone two screens."""
    folder = pictures_folder()
    if folder is None:
        return
    height = int(pages.browser.execute_script("return document.documentElement.scrollHeight"))
    if size == TELEPHONE:
        height = min(height, 2 * TELEPHONE[1])
    sized_height = {"width": size[0], "height": height, "deviceScaleFactor": 1, "mobile": size == TELEPHONE}
    pages.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sized_height)
    time.sleep(3)
    shot = pages.browser.execute_cdp_cmd("Page.captureScreenshot", {})
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    with_palette(image).save(folder / f"{name}.png", optimize=True)


HOSTILE = ("<script>document.title='taken'</script>", "<img src=x onerror=document.title='taken'>\x1b[31m\nmore")


def test_foreign_text_is_text(scene: Scene, pages: Pages, tmp_path: Path) -> None:
    scene.enter("BTCUSDT")
    scene.signal("ETHUSDT", status="rejected", reason=f"spread: {HOSTILE[1]}")
    scene.signal("SOLUSDT", status="active", strategy=HOSTILE[0][:64])
    scene.execute("UPDATE positions SET symbol = :symbol", symbol=HOSTILE[0])
    lives(scene)
    with served(page_settings(scene, tmp_path), scene.database) as server:
        sized(pages, WIDE)
        pages.browser.get(server.url)
        pages.see(HOSTILE[0], "<img src=x onerror=document.title='taken'>\\u001b[31m\\u000amore")
        assert "taken" not in pages.browser.title
        assert not pages.browser.execute_script("return document.querySelectorAll('main script, main img').length")
        pages.browser.get(f"{server.url}/explain?order=%3Cscript%3Ealert(1)%3C/script%3E")
        pages.see("Not explained", "<script>alert(1)</script>")
        # A request that finds nothing is told in the browser's own log.
        assert [one for one in complaints(pages) if "404" not in one] == []


def test_the_page_says_that_the_ledger_or_the_server_is_away_and_comes_back(
    scene: Scene, pages: Pages, tmp_path: Path
) -> None:
    scene.enter("BTCUSDT")
    lives(scene)
    away = threading.Event()

    def ledger() -> Database:
        if away.is_set():
            raise StorageError("the ledger is locked by another process")
        return scene.database

    settings = page_settings(scene, tmp_path)

    @contextmanager
    def running(port: int) -> Iterator[int]:
        with_port = settings.model_copy(update={"dashboard_port": port})
        reader = Reader(with_port, ledger)
        server = dashboard_server(with_port, ledger, reader, None)
        reader.start()
        server.start()
        try:
            yield server.port
        finally:
            reader.stop()
            server.stop()
            reader.join()

    sized(pages, WIDE)
    with running(0) as port:
        pages.browser.get(f"http://127.0.0.1:{port}")
        pages.see("live", "BTCUSDT", "trades now")
        away.set()
        pages.see("ledger away", "the ledger is locked by another process")
        assert "stale" in pages.browser.find_element("id", "main").get_attribute("class").split()
        away.clear()
        until(lambda: "ledger away" not in pages.text())
    pages.see("no connection", "This page tries again")
    scene.passes(1)
    with running(port):
        until(lambda: "no connection" not in pages.text(), within_s=300)
        shows_the_ledger(pages, scene)


def test_a_person_with_the_token_halts_and_another_page_cannot(scene: Scene, pages: Pages, tmp_path: Path) -> None:
    scene.enter("BTCUSDT")
    lives(scene)
    settings = page_settings(scene, tmp_path, dashboard_token=SecretStr(TOKEN))

    def state() -> RiskState:
        return in_force(read_history(scene.database, "main"), scene.now_ms()).state

    with served(settings, scene.database) as server:
        sized(pages, WIDE)
        pages.browser.get(server.url)
        pages.see("BTCUSDT")
        assert not pages.all("//button[text()='Halt' or text()='Close']")
        pages.find("//a[text()='log in to act']").click()
        field = pages.find("//input[@name='token']")
        field.send_keys("wrong\n")
        pages.see("This is not the token.")
        pages.find("//input[@name='token']").send_keys(TOKEN + "\n")
        pages.find("//article//button[text()='Close']")

        # The browser has the cookie now; a page of another origin sends what it can with it.
        with _attacker(server.url) as attacker:
            for name in ("localhost", "127.0.0.1"):
                pages.browser.get(f"http://{name}:{attacker}/")
                told = pages.until(lambda: t if (t := pages.browser.title).startswith("done") else None, "the attack")
                assert "read" not in told
        assert state() is RiskState.ACTIVE and scene.leg("BTCUSDT") is not None

        pages.browser.get(server.url)
        pages.find("//article//button[text()='Close']").click()
        pages.see("Cancel what waits in BTCUSDT and close its position at the market")
        pages.find("//button[@id='dialog-no']").click()
        assert scene.leg("BTCUSDT") is not None
        pages.find("//button[text()='Halt']").click()
        pages.find("//input[@id='dialog-input']").send_keys("a drill")
        pages.find("//dialog//button[text()='Halt']").click()
        pages.see("HALTED", "a drill")
        assert state() is RiskState.HALTED
        pages.find("//button[@id='dialog-no']").click()
        until(lambda: pages.browser.find_element("id", "state").text == "HALTED")


ATTACK = """<!DOCTYPE html><title>waits</title>
<form id=form method=post action="URL/api/command" enctype="text/plain" target=frame>
<input name='{"command":"halt","account":"main","argument":"' value='"}'></form><iframe name=frame></iframe>
<img src="URL/api/page"><script>
const text = (request) => request.then((answer) => answer.text()).catch(() => "");
const body = JSON.stringify({ command: "halt", account: "main" });
const given = { method: "POST", credentials: "include", body };
const post = (type) => text(fetch("URL/api/command", { ...given, headers: { "Content-Type": type } }));
const blind = text(fetch("URL/api/command", { ...given, mode: "no-cors" }));
const read = text(fetch("URL/api/page", { credentials: "include" }));
const source = new EventSource("URL/events", { withCredentials: true });
const heard = new Promise((resolve) => {
  source.onerror = () => resolve("");
  source.addEventListener("state", () => resolve("read"));
});
form.submit();
Promise.all([blind, post("application/json"), post("text/plain"), read, heard]).then((told) => {
  document.title = "done " + (told.some((one) => one) ? "read" : "nothing");
});
</script>"""


@contextmanager
def _attacker(url: str) -> Iterator[int]:
    page = ATTACK.replace("URL", url).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
