"""A person answers for an intent: with name and reason in its history, and with a way back."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import order_events
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.saga import questions
from trading_assets.trading.saga.questions import ANSWERS, NoSuchIntentError
from trading_assets.trading.saga.transitions import STATES, IllegalTransitionError
from trading_assets_tests.fakes import order_link_id
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on


def opened(database: Database) -> tuple[Harness, str]:
    harness = harness_on(database)
    identity = add_signal(database)
    submit_orders(harness.context)
    harness.later()
    reconcile(harness.context)
    return harness, order_link_id(identity)


def asked(harness: Harness) -> list[questions.Question]:
    return questions.questions(harness.database, "main", tell_unseen_after_ms=harness.settings.unseen_tell_s * 1000)


def answer(harness: Harness, link: str, state: str) -> None:
    intent = questions.find(harness.database, "main", link)
    now_ms, wall_ms = harness.exchange.time_ms, harness.wall
    questions.resolve(
        harness.database, intent, state, reason="I have looked", actor="ann", now_ms=now_ms, wall_ms=wall_ms
    )


def history(database: Database, link: str) -> list[tuple[str, str | None]]:
    statement = sa.select(order_events.c.status, order_events.c.detail).where(order_events.c.order_link_id == link)
    with database.read() as connection:
        return [(row.status, row.detail) for row in connection.execute(statement.order_by(order_events.c.event_id))]


def test_a_position_that_is_not_seen_is_asked_for_and_a_person_ends_it_and_takes_it_back(database: Database) -> None:
    harness, link = opened(database)
    assert asked(harness) == []
    held = harness.exchange.open.pop("BTCUSDT")
    since_ms = harness.exchange.time_ms + 60_000
    for overdue in (False, True):
        harness.later(60 if not overdue else 700)
        reconcile(harness.context)
        (question,) = asked(harness)
        assert (question.intent.order_link_id, question.since_ms, question.is_overdue) == (link, since_ms, overdue)
    answer(harness, link, "closed")
    assert orders.occupying(database, "main") == asked(harness) == []
    harness.exchange.open["BTCUSDT"] = held
    harness.exchange.lose_stops("BTCUSDT")
    harness.later()
    reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"].stop_loss is None, "a person has said that it is not ours"
    answer(harness, link, "confirmed")
    harness.later()
    reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"].stop_loss == held.stop_loss
    assert [intent.order_link_id for intent in orders.occupying(database, "main")] == [link]
    assert history(database, link)[-2:] == [("closed", "ann: I have looked"), ("confirmed", "ann: I have looked")]


def test_an_answer_that_says_what_the_ledger_has_is_kept_and_has_it_looked_for_anew(sqlite: Database) -> None:
    harness, link = opened(sqlite)
    harness.exchange.open.pop("BTCUSDT")
    harness.later()
    reconcile(harness.context)
    answer(harness, link, "confirmed")
    assert asked(harness) == [] and history(sqlite, link)[-1] == ("confirmed", "ann: I have looked")


def test_what_the_table_lacks_is_refused_and_says_what_may_be_said(sqlite: Database) -> None:
    harness, link = opened(sqlite)
    with pytest.raises(IllegalTransitionError, match="may say: closed"):
        answer(harness, link, "abandoned")
    with pytest.raises(NoSuchIntentError, match="intents list"):
        answer(harness, "no such thing", "closed")


def test_every_unsettled_state_has_an_answer() -> None:
    for state in (*orders.UNRESOLVED, orders.CONFIRMED, orders.CLOSED):
        assert set(ANSWERS) & set(STATES[state].following), state


def test_the_command_in_the_difference_is_one_that_exists(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    harness, link = opened(sqlite)
    harness.exchange.open.pop("BTCUSDT")
    for _ in range(2):
        harness.later(700)
        report = reconcile(harness.context)
    text = next(text for symbol, text in report.differences if symbol == "BTCUSDT")
    words = re.search(r"trading-assets (intents resolve \S+ \S+)", text)
    assert words is not None and link in words[1]
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", sqlite.url.render_as_string(hide_password=False))
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:1")
    listed = CliRunner().invoke(cli, ["intents", "list"], env={"COLUMNS": "300"})
    assert link in listed.output and "BTCUSDT" in listed.output
    result = CliRunner().invoke(cli, [*words[1].split(), "looked", "--yes"])
    assert result.exit_code == 0, result.output
    assert orders.occupying(sqlite, "main") == []
    assert history(sqlite, link)[-1][1] == f"{questions_actor()}: looked"


def questions_actor() -> str:
    from trading_assets.cli.opening import who

    return who()
