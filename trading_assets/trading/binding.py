"""Whether the ledger in front of us is that of the account behind the key, and of the market whose prices we see.

One function for who acts on or reads money, one for research. An empty ledger binds itself to whom it meets first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trading_assets.core.errors import StorageError, WrongBooksError
from trading_assets.core.ports import Exchange, MarketData
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import books
from trading_assets.ledger.books import Binding, Owner
from trading_assets.ledger.database import Database, shown

FIRST_USE = "first use of an empty ledger"
MARKET_FILE = "market"
"""In a directory of candles: the name of the market that they are of."""

ELSEWHERE = "use a home (TRADING_ASSETS_HOME) or a database (TRADING_ASSETS_DATABASE_URL) of its own"


class BooksGuard:
    """Compares the key's account with the ledger's. It asks the venue once: a key does not change its account."""

    def __init__(self) -> None:
        self._owner: Owner | None = None

    def require(
        self, database: Database, exchange: Exchange, settings: Settings, wall_ms: Callable[[], int] = local_ms
    ) -> Owner:
        """Return whose the books are: the key's account.

        Raises:
            WrongBooksError: they are another account's, or nobody has said yet whose. Nothing was changed.
            ExchangeError: the venue cannot be asked.
        """
        if self._owner is None:
            self._owner = owner_at(exchange, settings)
        held = books.read(database, settings.account)
        if held.owner is None or held.market is None:
            refusal = _refusal(settings, database, held, self._owner)
            if refusal:
                raise WrongBooksError(refusal)
            held = books.bind(database, settings.account, self._owner, by=FIRST_USE, wall_ms=wall_ms())
        refusal = _refusal(settings, database, held, self._owner)
        if refusal:
            raise WrongBooksError(refusal)
        return self._owner


def require_bound(database: Database, exchange: Exchange, settings: Settings) -> Owner:
    """See `BooksGuard.require`, for who asks once."""
    return BooksGuard().require(database, exchange, settings)


def owner_at(exchange: Exchange, settings: Settings) -> Owner:
    """Ask the venue whose the key is.

    Raises:
        ExchangeError: it cannot be asked.
    """
    number = exchange.account_shape(settings.symbols.btc).user_id
    return Owner(settings.venue.value, number, exchange.market())


def bind_by_hand(database: Database, exchange: Exchange, settings: Settings, *, by: str) -> Owner:
    """A person says that the rows of an older version are those of the key's account. Repeating it changes nothing.

    Raises:
        WrongBooksError: the ledger is bound to another account or market already.
        ExchangeError: the venue cannot be asked.
    """
    owner = owner_at(exchange, settings)
    held = books.bind(database, settings.account, owner, by=by, wall_ms=local_ms(), replace=True)
    refusal = _refusal(settings, database, held, owner)
    if refusal:
        raise WrongBooksError(refusal)
    return owner


def require_market(database: Database, source: MarketData, candles: Path | None = None, former: str = "") -> str:
    """Return the market of the source: the ledger's research and the candles on disk are of the same.

    Args:
        candles: directory of the candle store.
        former: name that the directory had in an older version, when each venue had one of its own.

    Raises:
        WrongBooksError: the ledger or the directory is of another market, or nobody has said yet of which.
        StorageError: the directory cannot be written.
        ExchangeError: the embedded exchange does not tell its market.
    """
    market = source.market()
    held = books.market_of(database)
    if held is None:
        held = books.bind_market(database, market, by=FIRST_USE, wall_ms=local_ms())
    refusal = _market_refusal(database, held, market)
    if refusal:
        raise WrongBooksError(refusal)
    if candles is not None:
        _claim(candles, market, former)
    return market


def describe(database: Database, account: str) -> str:
    """Say whose the account's rows are."""
    owner = books.read(database, account).owner
    if owner is None:
        return f"the books of {account!r} are empty and belong to nobody yet"
    if not owner.is_bound:
        return f"nobody has said yet whose the books of {account!r} are: trading-assets ledger bind --venue ..."
    return f"the books of {account!r} are those of {owner}"


def _refusal(settings: Settings, database: Database, held: Binding, found: Owner) -> str:
    """Why the key's account may not be traded on these books; empty where it may."""
    where = shown(database.url)
    owner = held.owner
    if owner is not None and not owner.is_bound:
        return (
            f"the ledger {where} has rows of account {settings.account!r} from a version that did not record whose "
            f"they are, and the key is of {found}. If they are the same, say so once: trading-assets ledger bind "
            f"--venue {found.venue}; else {ELSEWHERE}"
        )
    if owner is not None:
        is_same = owner.user_id == found.user_id or owner.user_id is None or found.user_id is None
        if owner.venue != found.venue or not is_same or owner.market != found.market:
            return (
                f"the books of {settings.account!r} in {where} are those of {owner}, and the key is of {found}. "
                f"Nothing was done: put back the settings and key of the former; for the latter {ELSEWHERE}"
            )
    return _market_refusal(database, held.market, found.market) if held.market is not None else ""


def _market_refusal(database: Database, held: str, found: str) -> str:
    where = shown(database.url)
    if not held:
        return (
            f"the ledger {where} has research from a version that did not record of which market, and these settings "
            f"see {found!r}. If it is that one's, say so once: trading-assets ledger bind --venue ...; else {ELSEWHERE}"
        )
    if held != found:
        return (
            f"the research in {where} is of the market {held!r}, and these settings see {found!r}: selections of one "
            f"are never traded on the other. Put back the former settings; for the latter {ELSEWHERE}"
        )
    return ""


def _claim(candles: Path, market: str, former: str) -> None:
    """The directory is of this market, from its first use on."""
    mark = candles / MARKET_FILE
    try:
        older = candles.with_name(former) if former else candles
        if not candles.exists() and older.is_dir():
            older.rename(candles)
        private_folder(candles)
        if not mark.exists():
            write_private(mark, market + "\n")
        held = mark.read_text().strip()
    except OSError as error:
        raise StorageError(
            f"the candles in {candles} cannot be used: {error.strerror}; check its permissions"
        ) from error
    if held != market:
        raise WrongBooksError(
            f"the candles in {candles} are of the market {held!r}, and these settings see {market!r}: {ELSEWHERE}"
        )
