"""A ledger on SQLite alone, for laws that do not depend on the engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.ledger.database import Database


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield database
    database.close()
