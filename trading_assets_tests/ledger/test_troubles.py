"""What keeps automation from going on is there while it lasts, and is told when it begins."""

from __future__ import annotations

from trading_assets.core.messages import Kind, Message
from trading_assets.ledger import outbox, troubles
from trading_assets.ledger.database import Database

TOLD = Message("it does not go on", "why", Kind.RUN)


def test_a_trouble_is_told_once_when_it_begins_and_is_gone_when_it_ends(database: Database) -> None:
    found = [
        troubles.note(database, "main", "research", text, wall, message=TOLD)
        for wall, text in enumerate(["", "blocked", "blocked", "blocked still", "", "blocked"])
    ]
    assert found == [False, True, False, False, False, True]
    assert [str(one) for one in troubles.current(database, "main")] == ["research: blocked"]
    assert len(outbox.newest(database, "main", 9)) == 2


def test_a_trouble_keeps_its_beginning_and_its_account(sqlite: Database) -> None:
    troubles.note(sqlite, "main", "research", "first", 1)
    troubles.note(sqlite, "main", "research", "second", 2)
    troubles.note(sqlite, "other", "research", "theirs", 3)
    (one,) = troubles.current(sqlite, "main")
    assert (one.text, one.since_wall_ms) == ("second", 1)
