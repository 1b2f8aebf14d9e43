"""`walk_forward_report` and `performance_report`: pages of what would have been traded, and of what was."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
from pydantic import Field

from trading_assets.core.errors import NothingYetError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, first_hour_ms, floor_ms, iso, last_hour_ms
from trading_assets.defs import metadata as md
from trading_assets.defs import pictures
from trading_assets.defs.assets.common import OWNERS, Progress
from trading_assets.defs.instance.downloads import offer
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    SettingsResource,
    require_market,
)
from trading_assets.ledger.fees import with_own_fees

if TYPE_CHECKING:
    from trading_assets.reporting.report import Report

GROUP = "reports"


class ReportRange(dg.Config):
    """Which hours a report covers; both ends belong to it. Empty: all that there are.

    An hour is written as its partition, `2026-03-02-05:00`; a day alone is all of it. With `last_days` the report
    covers so many days up to the newest hour, whatever the other two say.
    """

    first_hour: str = Field("", description="first hour, as its partition, or a day; empty: all that there are")
    last_hour: str = Field("", description="last hour, included, as its partition, or a day; empty: the newest")
    last_days: int = Field(0, description="so many days up to the newest hour, whatever the other two say; 0: not so")
    account: str = Field("", description="with the limits, and of the trades, of this account; empty: of the settings")


@dg.asset(
    deps=["strategy_selections"],
    group_name=GROUP,
    kinds={"plotly"},
    owners=OWNERS,
    code_version="2",
    output_required=False,
)
def walk_forward_report(
    context: dg.AssetExecutionContext,
    config: ReportRange,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """What each hour's selections would have traded in the hour after it, on candles they had not seen.

    One account with the engine's fills and costs and the live limits, beside holding BTC and random choices of as many
    strategies. Not partitioned: a report covers the range in its configuration, by default every hour with selections;
    for another one, open the launchpad with the arrow beside Materialize. `page` in the metadata of a materialisation
    is the report: a click on it downloads one HTML file that needs no network. The same range gives the same page,
    byte for byte.
    """
    from trading_assets.reporting.build import make_walk_forward  # noqa: PLC0415 (numba: a second)

    yield from _report(context, make_walk_forward, config, settings, database, exchange, candle_store)


@dg.asset(
    deps=["entry_signals", "strategy_selections"],
    group_name=GROUP,
    kinds={"plotly"},
    owners=OWNERS,
    code_version="2",
    output_required=False,
)
def performance_report(
    context: dg.AssetExecutionContext,
    config: ReportRange,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """What the account really traded, from the ledger, beside the walk-forward of the same hours.

    Not partitioned: by default from the first executed signal to the last reading of the exchange's books. `page` in
    the metadata of a materialisation is the report: a click on it downloads one HTML file that needs no network.
    """
    from trading_assets.reporting.build import make_performance  # noqa: PLC0415 (numba: a second)

    yield from _report(context, make_performance, config, settings, database, exchange, candle_store)


def _report(
    context: dg.AssetExecutionContext,
    make: "Callable[..., Report]",
    config: ReportRange,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """The materialisation of a report; none, and no failure, where no whole hour is over yet."""
    from trading_assets.reporting.build import Sources, write  # noqa: PLC0415
    from trading_assets.reporting.figures import DIMENSIONS, by_dimension, daily_returns  # noqa: PLC0415
    from trading_assets.reporting.page import headline  # noqa: PLC0415

    market = exchange.market_data()
    require_market(market)
    sources = Sources(
        with_own_fees(settings.get(config.account, with_keys=False), database.get()),
        database.get(),
        candle_store.get(),
        market,
    )
    first_ms, last_ms = _span(config, market.now_ms())
    try:
        report = make(sources, first_ms, last_ms, Progress(context.log, "coins and timeframes followed"))
    except NothingYetError as error:
        context.log.warning(f"no report: {error}")
        return
    written = write(report, sources.settings)
    context.log.info(headline(report))
    main, days = report.main, daily_returns(report.main.curve)
    links = {
        name: offer(context.instance, context.run.run_id, file, sources.settings.ui_url)
        for name, file in (
            ("page", written.page),
            ("trades_csv", written.trades),
            ("figures_json", written.figures),
            ("trade_charts", written.charts),
        )
        if file is not None
    }
    yield dg.MaterializeResult(
        metadata={
            "headline": headline(report),
            "answers": md.table(_answers(report)),
            **{name: dg.MetadataValue.url(link) for name, link in links.items() if link is not None},
            "live_page": dg.MetadataValue.url(sources.settings.live_page_url),
            "page_path": dg.MetadataValue.path(str(written.page)),
            "trades_path": dg.MetadataValue.path(str(written.trades)),
            "from": iso(report.start_ms),
            "to": iso(report.end_ms),
            "dagster/row_count": len(main.trades),
            **{f"return_pct/{curve.name}": round(float(curve.returns_pct[-1]), 4) for curve in report.curves},
            **{name: value for name, value in vars(main.figures).items() if not math.isnan(value)},
            "equity": pictures.lines(
                {curve.name: curve.returns_pct.tolist() for curve in report.curves},
                [iso(report.start_ms)[:10], iso(report.end_ms)[:10]],
                title="Return, percent",
            ),
            "drawdown": pictures.lines(
                {curve.name: curve.drawdown_pct.tolist() for curve in report.curves},
                [iso(report.start_ms)[:10], iso(report.end_ms)[:10]],
                title="Below the peak, percent",
            ),
            **_of_sample(report),
            "worst_day_pct": min(days.values()),
            "best_day_pct": max(days.values()),
            **{f"by_{name}": md.table(by_dimension(main.trades, name), limit=20) for name in DIMENSIONS},
            "not_taken": md.counts(report.refused, "what stood against it first"),
            "notes": "\n".join(report.notes) or "none",
        }
    )


def _answers(report: "Report") -> pd.DataFrame:
    """The first screen, a row a question."""
    from trading_assets.reporting.answers import answers  # noqa: PLC0415 (as above)

    return pd.DataFrame(
        [(one.question, one.number, one.interval, one.verdict) for one in answers(report)],
        columns=["question", "number", "interval", "verdict"],
    )


def _of_sample(report: "Report") -> dict[str, float]:
    found: dict[str, float] = {}
    if report.sample is not None:
        found |= {"random_choices": len(report.sample.ends), "random_choices_behind": report.sample.behind}
    if report.matched is not None:
        found |= {"matched_draws": report.matched.draws, "matched_p_value": report.matched.p_value}
    return found


def _span(config: ReportRange, now_ms: int) -> tuple[int | None, int | None]:
    if config.last_days:
        return floor_ms(now_ms, HOUR_MS) - config.last_days * DAY_MS, None
    return first_hour_ms(config.first_hour), last_hour_ms(config.last_hour)
