"""Which candle store the settings mean: that of research may be in S3, that of trading is always on this machine."""

from __future__ import annotations

from pathlib import Path

from trading_assets.core.errors import ChangedMeanwhileError, WrongBooksError
from trading_assets.core.objects import Objects, open_objects
from trading_assets.core.settings import Settings
from trading_assets.market.object_chunks import ObjectChunks
from trading_assets.market.store import CandleStore

_MARKET = "MARKET"
"""In the store: the name of the market that the candles are of."""


def open_candle_store(settings: Settings, *, folder: str | None = None) -> CandleStore:
    """The candle store of research: files in the home, or S3 where `store_url` says so.

    Args:
        folder: of another market than the venue's.

    Raises:
        ConfigurationError: the URL is none.
    """
    root, btc = settings.home / "candles" / (folder or settings.venue.adapter.candle_folder), settings.symbols.btc
    if settings.store_url is None:
        return CandleStore(root, btc=btc)
    return CandleStore(root, btc=btc, chunks=ObjectChunks(_objects(settings, root), root))


def open_local_candle_store(settings: Settings) -> CandleStore:
    """The candle store of trading: on this machine, so that no order and no exit waits for S3."""
    return CandleStore(settings.candle_store, btc=settings.symbols.btc)


def claim_candles(settings: Settings, market: str) -> None:
    """Take candles in S3 for a market from their first use on. Files in the home are taken by `trading.binding`.

    Raises:
        WrongBooksError: they are of another market.
        StorageError: S3 cannot be read or written.
    """
    if settings.store_url is None:
        return
    objects = _objects(settings, settings.candle_store)
    found = objects.read(_MARKET)
    if found is None:
        try:
            objects.write(_MARKET, f"{market}\n".encode(), replaces=None)
            return
        except ChangedMeanwhileError:
            found = objects.read(_MARKET)
    held = "" if found is None else found[0].decode(errors="replace").strip()
    if held != market:
        raise WrongBooksError(
            f"the candles in {objects.url()} are of the market {held!r}, and these settings see {market!r}; take "
            "another prefix in TRADING_ASSETS_STORE_URL"
        )


def _objects(settings: Settings, root: Path) -> Objects:
    return open_objects(settings, f"candles/{root.name}")
