"""docs/reference/metrics.md: what each figure of backtests, selections, reports and the account means.

A new figure gets its entry here; a test finds figures that have none. Figures are computed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from trading_assets.backtesting import costs, metrics, parameter_choice, selection, significance
from trading_assets.backtesting.selection import PRESETS, Preset
from trading_assets.market import universe
from trading_assets.reference import markdown
from trading_assets.reporting import figures
from trading_assets.trading import portfolio
from trading_assets.trading.parity import compare

_OWN = "this project"
_SOURCES = "the source documents"
_COMMON = "common usage"


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: the column or attribute.
        formula: how it is computed, in names that the page explains.
        unit: unit of the value, empty for a plain number.
        source: who defined it.
        made_by: the function that computes it.
        note: what else a reader must know.
    """

    name: str
    formula: str
    unit: str
    source: str
    made_by: Callable[..., object]
    note: str = ""


@dataclass(frozen=True)
class Chapter:
    """Figures that are computed from the same data."""

    title: str
    introduction: str
    metrics: tuple[Metric, ...]


_SHARPE = "Sharpe (1994), The Sharpe Ratio"
_DEFLATED = "Bailey and Lopez de Prado (2014), The Deflated Sharpe Ratio, equations 6 and 9"

SCAN = Chapter(
    "Scan",
    "Of the 24 hourly candles that had closed by the as-of. `open` is the first one's, `close` the last one's.",
    (
        Metric("volume_24h", "sum(turnover)", "USD", _SOURCES, universe.scan),
        Metric("price_change_24h", "(close / open - 1) * 100", "percent", _SOURCES, universe.scan),
        Metric(
            "volatility_24h",
            "(max(high) - min(low)) / min(low) * 100",
            "percent",
            _SOURCES,
            universe.scan,
            "The range of the day, not a standard deviation.",
        ),
        Metric(
            "size_error_pct",
            "(notional - floor_to_step(notional / price) * price) / notional * 100",
            "percent",
            _OWN,
            universe.scan,
            "100 where no order of that size is possible.",
        ),
        Metric(
            "max_price",
            "notional / smallest quantity",
            "USDT",
            _OWN,
            universe.scan,
            "Above it a position would be smaller than the coin's smallest order; backtests enter up to it.",
        ),
    ),
)

BACKTEST = Chapter(
    "Backtests and selections",
    "Of one backtest over its window. `pnl` is the list of the closed trades' results, each net of both fees and of "
    "funding; `capital` is the notional of each trade too, that of a live position unless "
    "`TRADING_ASSETS_BACKTEST_CAPITAL` says otherwise; `equity` is capital, realised and open PnL at each bar's close; "
    "`change` its change from bar to bar, divided by `capital`. A trade that is open at the end counts in `equity` "
    "only.",
    (
        Metric("total_trades", "count(pnl)", "", _COMMON, metrics.metrics),
        Metric("win_rate", "count(pnl > 0) / count(pnl) * 100", "percent", _COMMON, metrics.win_rate),
        Metric(
            "profit_factor",
            "sum(pnl where pnl > 0) / -sum(pnl where pnl < 0)",
            "",
            _COMMON,
            metrics.profit_factor,
            f"At most {metrics.PROFIT_FACTOR_CAP:g}; 0 without profit.",
        ),
        Metric("total_pnl", "sum(pnl)", "USD", _COMMON, metrics.metrics),
        Metric(
            "total_return",
            "sum(pnl) / capital * 100",
            "percent",
            _COMMON,
            metrics.metrics,
            "Not compounded: every trade has the same notional.",
        ),
        Metric(
            "max_drawdown",
            "min(equity / highest(capital, equity so far) - 1) * 100",
            "percent, <= 0",
            _COMMON,
            metrics.metrics,
            "Marked at closes, the open position included.",
        ),
        Metric(
            "sharpe_ratio",
            "mean(change) / std(change) * sqrt(bars of a year)",
            "a year",
            _SHARPE,
            metrics.metrics,
            "Riskless rate 0; standard deviation of the population; a year has 365 days.",
        ),
        Metric(
            "confidence_avg", "mean(confidence of the closed trades' signals)", "percent", _SOURCES, metrics.metrics
        ),
        Metric("fees_paid", "sum(taker fees of both fills)", "USD", _COMMON, metrics.metrics, "Contained in `pnl`."),
        Metric(
            "funding_paid",
            "sum(direction * size * close * funding rate)",
            "USD, negative is received",
            "Bybit's funding fee",
            metrics.metrics,
            "At each funding time while the position is held, at the last close before it. Contained in `pnl`.",
        ),
        Metric("exposure_pct", "bars in a position / bars * 100", "percent", _COMMON, metrics.metrics),
        Metric("skewness", "mean((change - mean)^3) / std^3", "", "moment of the population", metrics.moments),
        Metric(
            "kurtosis",
            "mean((change - mean)^4) / std^4",
            "",
            "moment of the population",
            metrics.moments,
            "3 is normal.",
        ),
        Metric("score", "win_rate * profit_factor * ln(total_trades + 1)", "", _SOURCES, metrics.score),
        Metric(
            "in_sample_trades",
            "count(pnl of trades that ended before the split)",
            "",
            _OWN,
            metrics.metrics,
            "The split keeps the newest `TRADING_ASSETS_OUT_OF_SAMPLE_PCT` percent of the bars out of the sample.",
        ),
        Metric(
            "in_sample_score",
            "score of these trades",
            "",
            _OWN,
            parameter_choice.choose_parameters,
            f"Decides the parameter set, of those with {significance.MIN_TRADES} such trades if there are any.",
        ),
        Metric("in_sample_pnl", "sum(pnl of these trades)", "USD", _OWN, metrics.metrics),
        Metric("out_of_sample_trades", "count(pnl of trades that began after the split)", "", _OWN, metrics.metrics),
        Metric("out_of_sample_pnl", "sum(pnl of these trades)", "USD", _OWN, metrics.metrics),
        Metric(
            "mean_r",
            "mean(pnl / risk)",
            "R",
            "common usage",
            metrics.mean_r,
            "`risk` is the loss of a trade at its stop, before costs. Of closed trades, net of costs.",
        ),
        Metric(
            "mean_bps",
            "total_return * 100 / total_trades",
            "basis points",
            "common usage",
            selection.mean_bps,
            "Of a position's value.",
        ),
        Metric(
            "history_pct",
            "bars / bars of the timeframe's window * 100",
            "percent",
            _OWN,
            selection.history_pct,
            "A young listing has less than all of it. `MIN_HISTORY_PCT` filters by it.",
        ),
        Metric(
            "configurations",
            "count(parameter sets tried of the strategy)",
            "",
            _OWN,
            parameter_choice.trials_from,
            "On one coin and timeframe. `configurations_traded` counts those whose equity ever changed.",
        ),
        Metric(
            "searched",
            "count(parameter sets that a search proposed)",
            "",
            _OWN,
            selection.with_significance,
            "None where a grid was tried. Each counts as an independent try in the deflated Sharpe ratio and in the "
            "corrected p-values.",
        ),
        Metric(
            "taker_fee",
            "the setting or the account's own when the row was made",
            "fraction",
            _OWN,
            costs.cost_columns,
            "Checks compute a row again with what it was made with, whatever the settings are by then. Rows of older "
            "versions do not tell and are computed with the settings.",
        ),
        Metric(
            "maker_fee",
            "the setting or the account's own when the row was made",
            "fraction",
            _OWN,
            costs.cost_columns,
            "Of entries that waited (`entry_order`); none where entries are at the market.",
        ),
        Metric("entry_offset_pct", "the setting when the row was made", "percent", _OWN, costs.cost_columns),
        Metric("entry_bars", "the setting when the row was made", "bars", _OWN, costs.cost_columns),
        Metric(
            "entry_deviation_pct", "max_price_deviation_pct when the row was made", "percent", _OWN, costs.cost_columns
        ),
        Metric("slippage_bps", "the setting when the row was made", "basis points", _OWN, costs.cost_columns),
        Metric("notional", "size of a trade when the row was made", "USD", _OWN, costs.cost_columns),
        Metric(
            "liquidation_distance",
            "1 / leverage - maintenance margin when the row was made",
            "fraction",
            _OWN,
            costs.cost_columns,
        ),
        Metric(
            "held_back_pct",
            "the share of the window held back when the row was made",
            "percent",
            _OWN,
            costs.cost_columns,
        ),
        Metric("configurations_traded", "count(sets with sharpe_ratio <> 0)", "", _OWN, parameter_choice.trials_from),
        Metric(
            "sharpe_mean", "mean(sharpe_ratio of the sets that traded)", "a year", _OWN, parameter_choice.trials_from
        ),
        Metric(
            "sharpe_spread", "std(sharpe_ratio of the sets that traded)", "a year", _OWN, parameter_choice.trials_from
        ),
        Metric(
            "p_value",
            "P(sum(E_i r_i) <= 0) with E_i exponential, i = 0..n, r_0 = -worst",
            "0 to 1",
            "Gaffke (2005), Mathematical Methods of Statistics 14(4)",
            significance.mean_p_value,
            "`r_i` is the PnL of a trade by its risk (its loss at the stop before costs); `worst` the largest loss, "
            f"at least {significance.GAP_R:g} plus the costs of both fills by the smallest risk. Computed by the "
            f"inversion of Gil-Pelaez (1951). None below {significance.MIN_TRADES} trades, or without profit.",
        ),
        Metric(
            "break_even",
            "worst / (worst + max(r_i))",
            "0 to 1",
            _OWN,
            significance.trades_p_value,
            "n trades that all won as the best one have the p-value break_even^n.",
        ),
        Metric(
            "configurations_tried", "sum(configurations of the coin in the hour)", "", _OWN, selection.with_significance
        ),
        Metric(
            "configurations_effective",
            "sum(r + (1 - r) * configurations_traded), r = 1 - min(1, variance of their t statistics)",
            "",
            "Lopez de Prado and Lewis (2019), Quantitative Finance 19(9)",
            significance.effective_trials,
            "Over the strategies and timeframes of the coin. Parameter sets that differ by less than luck are one try.",
        ),
        Metric(
            "deflated_sharpe",
            "Phi((SR - SR0) * sqrt((bars - 1) / (1 - skewness * SR + (kurtosis - 1) / 4 * SR^2)))",
            "0 to 1",
            _DEFLATED,
            significance.deflated_sharpe,
            "`SR` is the Sharpe ratio per bar, `Phi` the normal distribution function, `SR0` the best that luck alone "
            "would give: the expected maximum of `configurations_effective` normal values by 1 / sqrt(bars). 0.5 is a "
            f"coin toss. None below {significance.MIN_TRADES_OF_SHARPE} trades, or below `least_trades`.",
        ),
        Metric(
            "p_value_corrected",
            "1 - (1 - p_value)^configurations_effective",
            "0 to 1",
            "Sidak (1967), Journal of the American Statistical Association 62",
            significance.corrected,
        ),
        Metric(
            "p_value_hour",
            "1 - (1 - p_value)^sum(configurations_effective)",
            "0 to 1",
            "as above",
            significance.corrected,
            "The sum is over all coins that were tried in the hour.",
        ),
        Metric(
            "least_trades",
            f"ceil(log(1 - (1 - {significance.SIGNIFICANT:g})^(1 / configurations_effective)) / log(break_even))",
            "",
            _OWN,
            significance.least_trades,
            "So many wins in a row could pass; with fewer trades nothing can.",
        ),
    ),
)

REPORT = Chapter(
    "Reports",
    "Of the walk-forward and the performance report. `equity` is marked at whole hours; `opening` is its first value; "
    "`trades` are those of the range, net of fees, slippage and funding; open ones are marked at its end.",
    (
        Metric("return_pct", "(last equity / opening - 1) * 100", "percent", _COMMON, figures.figures),
        Metric(
            "max_drawdown_pct",
            "min(equity / highest equity so far - 1) * 100",
            "percent, <= 0",
            _COMMON,
            figures.figures,
        ),
        Metric(
            "sharpe_ratio",
            "mean(change) / std(change) * sqrt(365 * 24)",
            "a year",
            _SHARPE,
            figures.figures,
            "`change` is hourly, divided by `opening`. None where all changes are the same. A note warns where it is "
            "of fewer than 30 days.",
        ),
        Metric(
            "sharpe_error",
            "sqrt((1 + SR^2 / 2) / hours) * sqrt(365 * 24)",
            "a year",
            "Lo (2002), Financial Analysts Journal 58(4)",
            figures.figures,
            "`SR` is the ratio of an hour: the standard error of the annualised one, if hours were independent.",
        ),
        Metric(
            "deflated_sharpe",
            "as above, of the hourly changes",
            "0 to 1",
            _DEFLATED,
            figures.figures,
            "The tries are the pairs of strategy and timeframe among the closed trades.",
        ),
        Metric("trades", "count(closed trades)", "", _COMMON, figures.figures, "Closed and open ones are apart."),
        Metric("win_rate", "count(pnl > 0) / count(pnl) * 100", "percent", _COMMON, metrics.win_rate),
        Metric("profit_factor", "as above", "", _COMMON, metrics.profit_factor),
        Metric("pnl", "sum(pnl of closed trades)", "USD", _COMMON, figures.figures),
        Metric("mean_r", "mean(pnl / risk)", "R", _COMMON, figures.figures, "Of closed trades; `risk` as above."),
        Metric(
            "mean_bps",
            "mean(pnl / (size * entry price)) * 10000",
            "basis points",
            _COMMON,
            figures.figures,
            "Of closed trades.",
        ),
        Metric("open_trades", "count(trades open at the end)", "", _COMMON, figures.figures),
        Metric("open_pnl", "sum(pnl of open trades)", "USD", _COMMON, figures.figures, "Marked at the last close."),
        Metric("fees", "sum(fees)", "USD", _COMMON, figures.figures),
        Metric(
            "slippage",
            "sum(size * distance of the fill to the price it was made at)",
            "USD",
            _OWN,
            figures.figures,
            "Contained in `pnl`, and shown apart.",
        ),
        Metric("funding", "sum(funding paid)", "USD, negative is received", _COMMON, figures.figures),
        Metric("turnover", "sum(size * entry price) + sum(size * exit price)", "USD", _COMMON, figures.figures),
        Metric("exposure_pct", "mean(value of all positions / equity) * 100", "percent", _COMMON, figures.figures),
        Metric("mean_hours", "mean(exit time - entry time)", "hours", _COMMON, figures.figures, "Of closed trades."),
    ),
)

ACCOUNT = Chapter(
    "Account",
    "Of the exchange's books as they were read last; `trading-assets portfolio` shows them. `peak` is the highest "
    "equity since a person last accepted a drawdown.",
    (
        Metric("exposure", "sum(size * mark price)", "USD", _COMMON, portfolio.portfolio),
        Metric("net_exposure", "longs less shorts of the same", "USD", _COMMON, portfolio.portfolio),
        Metric("exposure_pct", "exposure / equity * 100", "percent", _COMMON, portfolio.portfolio),
        Metric("drawdown_pct", "(equity / peak - 1) * 100", "percent, <= 0", _COMMON, portfolio.portfolio),
        Metric(
            "max_drawdown_pct",
            "min(equity / highest equity so far - 1) * 100",
            "percent, <= 0",
            _COMMON,
            portfolio.portfolio,
            "Since the first reading, whatever was accepted.",
        ),
        Metric("net", "pnl - funding paid", "USD", _OWN, portfolio.performance, "`pnl` of closings is net of fees."),
        Metric("share_pct", "size * mark price / equity * 100", "percent", _COMMON, portfolio.portfolio),
        Metric(
            "liquidation_pct", "|liquidation price / mark price - 1| * 100", "percent", _COMMON, portfolio.portfolio
        ),
    ),
)

PARITY = Chapter(
    "Live against the backtest",
    "Of one decision, see [parity](../parity.md). `side` is 1 for a purchase and -1 for a sale.",
    (
        Metric(
            "slippage_bps",
            "(live's fill / close of the signal's bar - 1) * 10000 * side",
            "basis points",
            _OWN,
            compare.behind_bps,
            "Positive costs money.",
        ),
        Metric(
            "exit_difference_bps",
            "(live's exit / the backtest's exit - 1) * 10000 * side",
            "basis points",
            _OWN,
            compare.behind_bps,
            "Positive costs money.",
        ),
    ),
)

CHAPTERS = (SCAN, BACKTEST, REPORT, ACCOUNT, PARITY)

_INTRODUCTION = """
Percentages are in percent and money in USD. The source tells who defined the figure. *Common usage*: the formula is
what traders mean by the name. *The source documents*: the documents that describe the system asked for it
([choices](../choices.md)). *This project*: it was defined here. The last column names the function that computes it.
"""

_FILTERS = """
A backtest takes part in a selection when it reaches each of these values. `TRADING_ASSETS_SELECTION_PRESET` chooses
the row; `TRADING_ASSETS_MIN_TRADES`, `_MIN_WIN_RATE`, `_MIN_PROFIT_FACTOR`, `_MAX_BACKTEST_DRAWDOWN_PCT` and `_MIN_PNL`
replace one value each. The PnL of a row is meant for trades of 1,000 USD and is scaled to the size of the backtests'
trades: with trades of 100 USD, as live, `volume` asks for 10 USD. `MIN_PNL` is taken as it is given.
`TRADING_ASSETS_MIN_DEFLATED_SHARPE` and `TRADING_ASSETS_MAX_P_VALUE` add two more filters. Of each coin's backtests
that pass, the one with the best score is selected.
"""


def build() -> str:
    """The page."""
    return markdown.page(
        "Metrics",
        "trading_assets/reference/metric_definitions.py",
        _INTRODUCTION,
        [*map(_chapter, CHAPTERS), "## Filters of a selection", _FILTERS, _presets()],
    )


def _chapter(chapter: Chapter) -> str:
    header = ["figure", "formula", "unit", "source", "made by"]
    return "\n\n".join(
        [f"## {chapter.title}", chapter.introduction, markdown.table(header, map(_row, chapter.metrics))]
    )


def _row(metric: Metric) -> tuple[str, ...]:
    module = metric.made_by.__module__
    path = f"../../{module.replace('.', '/')}.py"
    name = f"{module.removeprefix('trading_assets.')}.{metric.made_by.__name__}"
    formula = "<br>".join(filter(None, [markdown.literal(metric.formula), metric.note]))
    return markdown.literal(metric.name), formula, metric.unit, metric.source, f"[{name}]({path})"


def _presets() -> str:
    names = [field.name for field in fields(Preset)]
    rows = [
        (
            markdown.literal(preset),
            *("" if (value := getattr(limits, name)) is None else f"{value:g}" for name in names),
        )
        for preset, limits in PRESETS.items()
    ]
    return markdown.table(["preset", *(f"least {name.replace('_', ' ')}" for name in names)], rows)
