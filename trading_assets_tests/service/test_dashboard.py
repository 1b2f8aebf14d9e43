"""The live page's server: what it sends is what the ledger has, one reader serves all, and only who may commands."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import named_accounts
from trading_assets.ledger.database import Database
from trading_assets.ledger.named_accounts import NamedAccount
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.observability import readings
from trading_assets.service import actions
from trading_assets.service.dashboard import reader as reading
from trading_assets.service.dashboard import views
from trading_assets.service.dashboard.app import CHART_STYLE, FILES, POLICY, STATIC, dashboard_server, static_file
from trading_assets.service.dashboard.reader import Reader
from trading_assets.service.dashboard.views import Curve
from trading_assets.service.guard import LOGIN
from trading_assets.service.web_server import WebServer
from trading_assets.trading import halt_file
from trading_assets.trading.portfolio import portfolio
from trading_assets_tests.polling import until
from trading_assets_tests.research.homes import a_home
from trading_assets_tests.research.test_forward import a_signal
from trading_assets_tests.ui.live_page_fixtures import page_settings, served, trades_for_hours
from trading_assets_tests.wild_account.scene import ROOMY, Scene, open_scene

TOKEN = "a-token-of-more-than-twenty-letters"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def scene(sqlite: Database) -> Iterator[Scene]:
    with ExitStack() as stack:
        found = open_scene(stack, sqlite, **ROOMY)
        found.enter("BTCUSDT")
        found.passes(1)
        yield found


@pytest.fixture
def settings(scene: Scene, tmp_path: Path) -> Settings:
    return page_settings(scene, tmp_path / "home", dashboard_token=SecretStr(TOKEN))


@pytest.fixture
def server(scene: Scene, settings: Settings) -> Iterator[WebServer]:
    with served(settings, scene.database) as found:
        yield found


class Heard:
    """What a browser is told, by kind and account."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}
        self.events = 0

    def hear(self, answer: requests.Response) -> None:
        kind = ""
        for line in answer.iter_lines():
            word, _, rest = line.decode().partition(": ")
            if word == "event":
                kind = rest
            elif word == "data":
                told = json.loads(rest)
                self.parts[f"{kind}:{told['name']}" if "name" in told else kind] = told
                self.events += 1

    def __getitem__(self, name: str) -> Any:
        return self.parts[name]


@contextmanager
def listening(url: str) -> Iterator[Heard]:
    """A browser that listens, in a thread."""
    heard = Heard()
    answer = requests.get(f"{url}/events", stream=True, timeout=60)
    assert answer.ok and answer.headers["content-type"].startswith("text/event-stream")

    def hear() -> None:
        with suppress(requests.RequestException, AttributeError, ValueError):  # it was closed
            heard.hear(answer)

    thread = threading.Thread(target=hear, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        answer.raw._fp.fp.raw._sock.shutdown(2)
        thread.join()
        answer.close()


@pytest.mark.slow
def test_what_is_sent_is_what_the_ledger_has(database: Database, tmp_path: Path) -> None:
    with ExitStack() as stack:
        scene = open_scene(stack, database, **ROOMY)
        trades_for_hours(scene, hours=2)
        with served(page_settings(scene, tmp_path), database) as server, listening(server.url) as heard:
            until(lambda: "state" in heard.parts)
        told, results, found = heard["account:main"], heard["results:main"], portfolio(database, "main")
        assert found is not None
        assert (told["equity"], told["available"]) == (found.equity, found.available)
        assert told["drawdown_pct"] == pytest.approx(-found.drawdown_pct)
        assert told["realised_today"] == pytest.approx(found.today.net)
        held = {row["symbol"]: row for row in found.positions.to_dict("records")}
        assert {row["symbol"] for row in told["positions"]} == set(held) and len(held) == 4
        for row in told["positions"]:
            same = held[row["symbol"]]
            assert (row["mark"], row["entry"]) == (same["mark_price"], same["entry_price"])
            assert (row["stop"], row["pnl"]) == (same["stop_loss"], same["unrealised_pnl"])
            assert row["share_pct"] == pytest.approx(same["share_pct"])
        assert results["ever"] == json.loads(json.dumps(found.ever.plain()))
        assert results["today"] == json.loads(json.dumps(found.today.plain()))
        equities = scene.equities()
        assert heard["curve:main"]["change"] == pytest.approx(float(equities[-1] - equities[0]))
        assert heard["curve:main"]["points"][-1][1] == pytest.approx(found.equity)
        assert [row["symbol"] for row in told["waiting"]] == ["LINKUSDT"]
        assert {row["reason"] for row in told["refused"] if row["reason"]} >= {"spread: 0.31 %, at most 0.1 %"}
        assert [row["name"] for row in told["alarms"]] == ["disk_low"]
        assert heard["market"]["count"] == 6
        assert heard["market"]["links"]["run"].endswith("/runs/466323ab-0000-4000-8000-000000000000")


@pytest.mark.slow
def test_distances_are_those_of_the_side(scene: Scene) -> None:
    """`along` goes from the stop (0) to the target (1) for longs and shorts, and never beyond."""
    links = views.Links("http://127.0.0.1:3000")

    def view(side: str, stop: float | None, target: float | None, mark: float = 100.0) -> dict[str, Any]:
        held = {"signal_stop": 96.0 if side == "LONG" else 104.0, "hour_ms": 0, "timeframe": "5m", "run_id": None}
        one = views.OpenPosition("XUSDT", side, 2.0, 98.0, mark, stop, target, None, 4.0, 1)
        return views.position_view(one, held, 1000.0, links)

    long, short = view("LONG", 96, 106), view("SHORT", 104, 94)
    assert (long["stop_pct"], long["target_pct"]) == (pytest.approx(-4.0), pytest.approx(6.0))
    assert (short["stop_pct"], short["target_pct"]) == (pytest.approx(-4.0), pytest.approx(6.0))
    assert long["along"] == short["along"] == pytest.approx(0.4)
    assert long["risk_multiple"] == pytest.approx(1.0) and short["risk_multiple"] == pytest.approx(-2 / 6)
    assert view("LONG", 96, 106, mark=120)["along"] == 1.0 and view("SHORT", 104, 94, mark=120)["along"] == 0.0
    assert view("LONG", None, 106)["along"] is None and view("LONG", None, 106)["stop_pct"] is None


@pytest.mark.slow
def test_a_curve_is_read_once_and_money_paid_in_is_no_result(scene: Scene) -> None:
    curve = Curve()
    curve.update(scene.database, "main")
    before = curve.change
    scene.money_by_hand("USDT", 500)
    scene.passes(1)
    curve.update(scene.database, "main")
    assert curve.paid_in == pytest.approx(500) and curve.change == pytest.approx(before, abs=5)
    again = Curve()
    again.update(scene.database, "main")
    assert again.points() == curve.points() and again.change == curve.change


@pytest.mark.slow
def test_a_change_is_told_to_everybody_by_one_look(scene: Scene, server: WebServer, monkeypatch: Any) -> None:
    looks = list[str]()
    real = views.account_view
    monkeypatch.setattr(views, "account_view", lambda *given: looks.append("") or real(*given))
    monkeypatch.setattr(reading, "ANEW_EVERY_S", 1e9)
    with ExitStack() as stack:
        browsers = [stack.enter_context(listening(server.url)) for _ in range(20)]
        until(lambda: all("account:main" in one.parts for one in browsers))
        assert len(looks) == 1
        scene.passes(1)
        seen = scene.equities()[-1]
        until(lambda: all(one["account:main"]["equity"] == float(seen) for one in browsers))
        until(lambda: all(one["curve:main"]["points"][-1][1] == float(seen) for one in browsers))
        assert len(looks) == 2


@pytest.mark.slow
def test_nobody_looks_at_the_ledger_for_nobody(scene: Scene, settings: Settings) -> None:
    asked = list[str]()
    reader = Reader(settings, lambda: asked.append("") or scene.database)  # type: ignore[func-returns-value]
    server = dashboard_server(settings, lambda: scene.database, reader, None)
    reader.start()
    server.start()
    try:
        with listening(server.url) as heard:
            until(lambda: "state" in heard.parts)
        until(lambda: not reader._wanted.is_set())
        held = len(asked)
        assert held and not threading.Event().wait(1.5)
        assert len(asked) <= held + 1
    finally:
        reader.stop()
        server.stop()


@pytest.mark.slow
def test_a_ledger_that_is_away_is_told_and_comes_back(scene: Scene, settings: Settings) -> None:
    away = threading.Event()

    def ledger() -> Database:
        if away.is_set():
            raise StorageError("the ledger is locked\x1b[31m")
        return scene.database

    reader = Reader(settings, ledger)
    server = dashboard_server(settings, ledger, reader, None)
    reader.start()
    server.start()
    try:
        with listening(server.url) as heard:
            until(lambda: "account:main" in heard.parts and heard["state"]["error"] is None)
            away.set()
            until(lambda: heard["state"]["error"] is not None)
            assert heard["state"]["error"] == "the ledger is locked\\x1b[31m"
            refused = requests.get(f"{server.url}/api/explain?order=x", timeout=30)
            assert refused.status_code == 503 and "locked" in refused.json()["text"]
            away.clear()
            until(lambda: heard["state"]["error"] is None)
    finally:
        reader.stop()
        server.stop()


@pytest.mark.slow
def test_every_file_is_there_and_none_has_a_script_in_it_or_asks_elsewhere(server: WebServer) -> None:
    for path, (name, kind) in FILES.items():
        answer = requests.get(server.url + path, timeout=30)
        assert answer.ok and answer.headers["content-type"].startswith(kind), path
        policies = answer.headers["content-security-policy"]
        assert POLICY in policies and "unsafe" not in policies
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        text = static_file(name).read_text()
        if name.endswith(".html"):
            assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|<style|javascript:", text), path
            links = set(re.findall(r"""(?:src|href)=["']([^"']+)""", text))
            assert {one for one in links if "//" in one} <= {"https://www.tradingview.com/"}
        if name in ("page.js", "draw.js", "explain.js"):
            assert "innerHTML" not in text and "eval(" not in text and "insertAdjacentHTML" not in text
    assert {one.name for one in STATIC.iterdir()} <= {name for name, _ in FILES.values()}


@pytest.mark.slow
def test_a_signal_is_drawn_on_its_candles_with_the_policy_of_its_own_scripts(sqlite: Database, tmp_path: Path) -> None:
    home = a_home(sqlite, tmp_path / "home", 1, fetch=False)
    signal_id = a_signal(sqlite, home)
    settings = home.settings.model_copy(update={"dashboard_port": 0})
    reader = Reader(settings, lambda: sqlite)
    server = dashboard_server(settings, lambda: sqlite, reader, None)
    server.start()
    try:
        drawn = requests.get(f"{server.url}/chart", params={"what": signal_id}, timeout=120)
        assert drawn.ok and drawn.headers["content-type"].startswith("text/html")
        policy = drawn.headers["content-security-policy"]
        for script in re.findall(r"<script>(.*?)</script>", drawn.text, re.S):
            assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
        refused = requests.get(f"{server.url}/chart", params={"what": "<b>no"}, timeout=120)
        assert refused.status_code == 404 and refused.headers["content-type"].startswith("text/plain")
        assert "no order and no signal" in refused.text
    finally:
        server.stop()


def test_the_licence_and_the_style_of_the_charts_are_those_of_the_library() -> None:
    library = static_file("lightweight-charts.js").read_text()
    style = re.search(r'createElement\("style"\),this\.\w+\.innerText="([^"]*)"', library)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" == CHART_STYLE
    assert "v5.2.1" in library[:300] and "Apache License" in static_file("lightweight-charts.LICENSE").read_text()
    assert "TradingView, Inc." in static_file("lightweight-charts.NOTICE").read_text()
    assert "attributionLogo: true" in (STATIC / "draw.js").read_text()


Ask = Callable[..., requests.Response]


@pytest.fixture
def command(scene: Scene, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Ask:
    # The scene's connector names its market otherwise than the venue's own: whose the books are is compared.
    monkeypatch.setattr(actions, "open_exchange", lambda _: scene._connect(True, 5.0))

    def ask(body: dict[str, str], **headers: str) -> requests.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Content-Type": "application/json", **names}
        return requests.post(f"{server.url}/api/command", data=json.dumps(body), headers=given, timeout=120)

    return ask


HALT = {"command": "halt", "account": "main", "argument": "a drill"}


def state(scene: Scene) -> RiskState:
    return in_force(read_history(scene.database, "main"), scene.now_ms()).state


@pytest.mark.slow
def test_who_has_no_token_or_is_another_page_commands_nothing(
    scene: Scene, settings: Settings, server: WebServer, command: Ask
) -> None:
    own = server.url
    assert command(HALT).status_code == 403
    assert command(HALT, Origin=own).status_code == 401
    assert command(HALT, Authorization="Bearer wrong").status_code == 401
    assert command(HALT, **BEARER, Origin="https://attacker.example").status_code == 403
    assert command(HALT, **BEARER, Origin="null").status_code == 403
    assert command(HALT, **BEARER, Sec_Fetch_Site="cross-site").status_code == 403
    assert command(HALT, **BEARER, Host="attacker.example").status_code == 421
    assert command(HALT, **BEARER, Content_Type="text/plain").status_code == 415
    assert requests.get(f"{own}/api/command", headers=BEARER, timeout=30).status_code == 405
    assert requests.put(f"{own}/api/command", headers=BEARER, timeout=30).status_code == 405
    assert requests.get(f"{own}/events", headers={"Host": "attacker.example"}, timeout=30).status_code == 421
    assert requests.get(f"{own}/events", headers={"Origin": "https://attacker.example"}, timeout=30).status_code == 403
    assert state(scene) is RiskState.ACTIVE and halt_file.found(settings) is None


@pytest.mark.slow
def test_a_halt_needs_the_token_alone_and_is_told_who_did_it(
    scene: Scene, settings: Settings, server: WebServer, command: Ask
) -> None:
    browser = requests.Session()
    entered = browser.post(
        server.url + LOGIN, data={"token": TOKEN}, headers={"Origin": server.url}, allow_redirects=False, timeout=30
    )
    cookie = entered.headers["set-cookie"]
    assert entered.status_code == 303 and "HttpOnly; SameSite=Strict" in cookie and TOKEN not in cookie
    assert browser.get(f"{server.url}/api/page", timeout=30).json()["has_token"]
    done = browser.post(f"{server.url}/api/command", json=HALT, headers={"Origin": server.url}, timeout=120)
    assert done.ok and done.json()["did"] and "HALTED" in done.json()["text"]
    held = in_force(read_history(scene.database, "main"), scene.now_ms())
    assert (held.state, held.reason) == (RiskState.HALTED, "a drill") and "live page, from 127.0.0.1" in held.actor
    assert halt_file.found(settings) is not None


@pytest.mark.slow
def test_a_position_is_closed_once_it_was_confirmed(scene: Scene, command: Ask) -> None:
    asked = command({"command": "close", "account": "main", "argument": "BTCUSDT"}, **BEARER).json()
    assert "Cancel what waits in BTCUSDT" in asked["text"] and asked["confirm"].startswith("close:BTCUSDT:")
    assert scene.leg("BTCUSDT") is not None, "asking closes nothing"
    invented = {"confirm": "close:BTCUSDT:AAAA-BBBB-CCCC:main"}
    assert "used already" in command(invented, **BEARER).json()["text"]
    for other in ("flatten::AAAA-BBBB-CCCC:main", "resume::AAAA-BBBB-CCCC:main"):
        assert command({"confirm": other}, **BEARER).status_code == 404
    assert command({"command": "flatten"}, **BEARER).status_code == 404
    done = command({"confirm": asked["confirm"]}, **BEARER).json()
    assert done["did"], done
    assert scene.leg("BTCUSDT") is None
    assert "used already" in command({"confirm": asked["confirm"]}, **BEARER).json()["text"]


@pytest.mark.slow
@pytest.mark.parametrize("body", ["[]", "{", '{"command": 1}', '{"command": "' + "x" * 3000 + '"}'])
def test_what_is_no_command_is_refused(server: WebServer, body: str) -> None:
    headers = {**BEARER, "Content-Type": "application/json"}
    assert requests.post(f"{server.url}/api/command", data=body, headers=headers, timeout=30).status_code == 400


@pytest.mark.slow
def test_without_a_token_in_the_settings_it_only_shows(scene: Scene, tmp_path: Path) -> None:
    settings = page_settings(scene, tmp_path)
    with served(settings, scene.database) as server:
        assert requests.get(f"{server.url}/api/page", timeout=30).json() == {
            "ui": settings.ui_url,
            "may_act": False,
            "has_token": False,
        }
        headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
        assert requests.post(f"{server.url}/api/command", json=HALT, headers=headers, timeout=30).status_code == 401
    assert state(scene) is RiskState.ACTIVE


@pytest.mark.slow
def test_other_machines_need_the_token_to_read(scene: Scene, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="DASHBOARD_TOKEN"),
        served(page_settings(scene, tmp_path, dashboard_host="0.0.0.0"), scene.database),
    ):
        pass
    settings = page_settings(scene, tmp_path, dashboard_host="0.0.0.0", dashboard_token=SecretStr(TOKEN))
    with served(settings, scene.database) as server:
        elsewhere = {"Host": f"192.0.2.7:{server.port}"}  # an address that only another machine's browser uses
        assert requests.get(server.url, headers=elsewhere, timeout=30).status_code == 401
        assert requests.get(server.url, headers={**elsewhere, **BEARER}, timeout=30).ok
        named = {"Host": "desk.example"}
        assert requests.get(server.url, headers={**named, **BEARER}, timeout=30).status_code == 421


@pytest.mark.slow
def test_a_chart_is_of_an_open_position_alone(scene: Scene, server: WebServer) -> None:
    with listening(server.url) as heard:
        until(lambda: "account:main" in heard.parts)

        def chart(symbol: str) -> requests.Response:
            return requests.get(f"{server.url}/api/chart", {"account": "main", "symbol": symbol}, timeout=60)

        assert chart("ETHUSDT").status_code == 404 and chart("../../etc").status_code == 404
        assert chart("BTCUSDT").json()["timeframe"] == "5m"


@pytest.mark.slow
def test_an_order_is_explained(scene: Scene, server: WebServer) -> None:
    (order,) = scene.rows("SELECT order_link_id FROM order_intents")
    told = requests.get(f"{server.url}/api/explain", {"order": order["order_link_id"]}, timeout=30).json()
    assert told["title"] == "LONG BTCUSDT 5m by bollinger_rsi" and told["steps"][0]["what"] == "result"
    assert requests.get(f"{server.url}/api/explain", {"order": "nothing"}, timeout=30).status_code == 404


@pytest.mark.slow
def test_twenty_charts_at_once_ask_the_venue_once(scene: Scene, settings: Settings, monkeypatch: Any) -> None:
    from trading_assets.service.dashboard import charts

    asked = list[str]()
    real = charts.open_market_data

    class Counted:
        def __init__(self, source: Any) -> None:
            self._source = source

        def candles(self, *given: Any) -> Any:
            asked.append(given[0])
            return self._source.candles(*given)

    monkeypatch.setattr(charts, "open_market_data", lambda given: Counted(real(given)))
    monkeypatch.setattr(charts, "KEPT_S", 1e9)
    one = charts.Charts(settings)
    with ThreadPoolExecutor(20) as pool:
        found = list(
            pool.map(lambda _: one.candles("BTCUSDT", charts.Timeframe.M5, scene.now_ms(), asks=True), range(20))
        )
    assert asked == ["BTCUSDT"] and len(found[0]) == charts.BARS and all(rows == found[0] for rows in found)
    starts = [row[0] for row in found[0]]
    assert starts == sorted(set(starts)) and starts[-1] + 300 <= scene.now_ms() // 1000


@pytest.mark.slow
def test_what_trades_by_a_plan_of_its_own_is_shown_beside_the_others(scene: Scene, monkeypatch: Any) -> None:
    """A kind of plans is one line of `PLANS`; what there is of grids and DCA plans has the same fields."""
    plan = {"kind": "other", "id": "1", "symbol": "XUSDT"}
    monkeypatch.setattr(views, "PLANS", {**views.PLANS, "other": lambda *_: [plan]})
    account = readings.read_account(scene.database, scene.settings, (), scene.now_ms())
    assert views.account_view(scene.database, account)["plans"] == [plan]


@pytest.mark.slow
def test_another_account_is_another_part(scene: Scene, server: WebServer) -> None:
    """Accounts come and go while the page is open; none is mixed with another one."""
    with listening(server.url) as heard:
        until(lambda: "account:main" in heard.parts)
        row = NamedAccount("second", "simulator", {}, "none", "", None, None, 1)
        added = named_accounts.told("second", "add", "", actor="me", reason="a drill", wall_ms=local_ms())
        with scene.database.write() as connection:
            named_accounts.add(connection, row, added)
        until(lambda: "account:second" in heard.parts and "results:second" in heard.parts)
        assert heard["account:second"]["equity"] is None and heard["account:second"]["positions"] == []
        assert heard["account:main"]["equity"] is not None
        gone = named_accounts.told("second", "remove", "", actor="me", reason="a drill", wall_ms=local_ms())
        with scene.database.write() as connection:
            named_accounts.remove(connection, "second", gone)
        until(lambda: heard["state"]["accounts"] == ["main"])
