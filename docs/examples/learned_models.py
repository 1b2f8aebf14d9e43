"""The models of `learned_signal` as a Dagster asset: which model decided in an hour, and of which data it was made.

    dagster dev -f docs/examples/learned_models.py

It needs the candles that the home holds. The strategy does not need it: it fits the same model to the same bars. The
version of an hour's data is that of its models, so Dagster tells when they are others than before.
"""

import hashlib
import json
import sys
from pathlib import Path

import dagster as dg
from pydantic import Field

from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, Timeframe, as_of_ms, floor_ms
from trading_assets.defs.partitions import hourly, hours_of, key_of
from trading_assets.defs.resources import CandleStoreResource
from trading_assets.market.loading import load_strategy_data
from trading_assets.market.lookback import first_decided_ms

sys.path.insert(0, str(Path(__file__).parent))
from learned_signal import CODE_VERSION, LearnedSignal, features_of


class LearnedModelsConfig(dg.Config):
    """Of which coins and bars."""

    symbols: list[str] = Field(["BTCUSDT", "ETHUSDT"])
    timeframe: str = "60m"


@dg.asset(
    deps=[dg.AssetKey(["candles", "60m"])],
    partitions_def=hourly,
    code_version=CODE_VERSION,
    group_name="examples",
    kinds={"scikitlearn"},
)
def learned_models(
    context: dg.AssetExecutionContext, config: LearnedModelsConfig, candle_store: CandleStoreResource
) -> dg.MaterializeResult:
    """The model of each coin that decides at the end of the hour, fitted to what was known when its day began."""
    (hour_ms,) = hours_of(context)
    strategy, timeframe = LearnedSignal(), Timeframe(config.timeframe)
    models: dict[str, dict[str, object]] = {}
    for symbol in config.symbols:
        decided_ms = first_decided_ms(hour_ms, timeframe)
        data = load_strategy_data(
            candle_store.get(), symbol, timeframe, strategy.needs(), decided_ms, as_of_ms(hour_ms)
        )
        last_bar_ms = int(data.candles.start_ms[-1])
        model = strategy.model_of_day(data.candles, features_of(data.candles), floor_ms(last_bar_ms, DAY_MS))
        if model is not None:
            models[symbol] = dict(model.as_json())
    folder = load_settings().home / "models"
    private_folder(folder)
    path = folder / f"learned_signal_{timeframe.value}_{key_of(hour_ms).replace(':', '')}.json"
    write_private(path, json.dumps(models, indent=1, sort_keys=True))
    versions = {symbol: str(model["version"]) for symbol, model in models.items()}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:16]),
        metadata={"models": dg.MetadataValue.json(versions), "file": dg.MetadataValue.path(str(path))},
    )


defs = dg.Definitions(assets=[learned_models], resources={"candle_store": CandleStoreResource()})
