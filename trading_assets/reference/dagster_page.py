"""docs/reference/dagster.md: assets, checks, jobs, schedules and sensors, from the definitions themselves.

Values that depend on settings (default states, intervals) are left out, so that the page is the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from trading_assets.core.schemas import ENTRY_SIGNALS
from trading_assets.core.timeframes import TRADED_TIMEFRAMES
from trading_assets.definitions import build_definitions
from trading_assets.defs.instance.concurrency_groups import GROUP_TAG
from trading_assets.defs.table_io import has_table, table_of
from trading_assets.reference import markdown

_INTRODUCTION = """
What the code location `trading_assets` gives to Dagster. Schedules and sensors are on by default on the embedded
exchange and off elsewhere (`TRADING_ASSETS_AUTOMATION`). A family has one asset for each of the timeframes
{timeframes}; it is shown once, as `candles/*`. The tables of the assets are described in [tables.md](tables.md).
"""

_GATES = "A failed blocking check stops its run, the selection of its hours, and their orders: [gates](../gates.md)."
_ALONE = "Runs of the same concurrency group wait for each other as `dagster.yaml` says."
_LAUNCHPAD = "Configuration of a run started by hand: `ops: {OP: {config: {FIELD: VALUE}}}` in the **Launchpad**."


def build() -> str:
    """The page."""
    definitions = build_definitions()
    return markdown.page(
        "Assets, checks, jobs, schedules, sensors",
        "trading_assets/definitions.py",
        _INTRODUCTION.format(timeframes=", ".join(TRADED_TIMEFRAMES)),
        [
            "## Assets",
            *_assets(definitions),
            "## Checks",
            _GATES,
            markdown.table(["check", "of", "blocking", "question"], _checks(definitions)),
            "## Jobs",
            _ALONE,
            markdown.table(["job", "concurrency group", "what it does"], map(_job, definitions.jobs or ())),
            "### Launchpad",
            _LAUNCHPAD,
            markdown.table(["job", "op", "field", "default", "meaning"], _launchpad(definitions)),
            "## Schedules",
            "Times are UTC.",
            markdown.table(["schedule", "cron", "job", "what it does"], _schedules(definitions)),
            "## Sensors",
            markdown.table(["sensor", "job", "what it does"], _sensors(definitions)),
        ],
    )


def _assets(definitions: dg.Definitions) -> Iterator[str]:
    """One part of the page for each asset or family, in the order of the pipeline."""
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    families: dict[str, dg.AssetSpec] = {}
    for given in definitions.assets or ():
        key = given.key  # type: ignore[union-attr]
        families.setdefault(_family(key), specs[key])
    return (_asset(name, spec) for name, spec in families.items())


def _family(key: dg.AssetKey) -> str:
    """The asset's name, or that of the family it belongs to."""
    return f"{key.path[0]}/*" if len(key.path) > 1 else key.path[0]


def _asset(name: str, spec: dg.AssetSpec) -> str:
    facts = [
        ("group", spec.group_name or ""),
        ("partitions", _partitions(spec.partitions_def)),
        ("made from", ", ".join(dict.fromkeys(markdown.literal(_family(dep.asset_key)) for dep in spec.deps))),
        ("table", _table(spec.key)),
        ("kinds", ", ".join(sorted(spec.kinds))),
    ]
    return "\n\n".join(
        [
            f"### {name.replace('/*', ' (family)')}",
            markdown.paragraphs(_family_description(spec)),
            markdown.table(["", ""], [fact for fact in facts if fact[1]]),
        ]
    )


def _family_description(spec: dg.AssetSpec) -> str:
    """The description of an asset, worded for all timeframes of its family."""
    text = spec.description or ""
    if len(spec.key.path) == 1:
        return text
    timeframe = spec.key.path[1]
    return re.sub(rf"\b{timeframe}\b", "its timeframe", re.sub(rf"\bthe {timeframe}\b", "its", text))


def _partitions(definition: dg.PartitionsDefinition[Any] | None) -> str:
    if definition is None:
        return "none"
    start = getattr(definition, "fmt", "")
    return "hours" if "%H" in start else "days"


def _table(key: dg.AssetKey) -> str:
    if key.path[0] == ENTRY_SIGNALS.name:
        name = ENTRY_SIGNALS.name
    elif has_table(key):
        name = table_of(key).name
    else:
        return ""
    return f"[{name}](tables.md#{name})"


def _checks(definitions: dg.Definitions) -> Iterator[Sequence[str]]:
    """One row for each check, with the assets and families that have it."""
    specs: dict[str, list[dg.AssetCheckSpec]] = {}
    for given in definitions.asset_checks or ():
        for spec in given.check_specs:
            specs.setdefault(spec.name, []).append(spec)
    for name, same in specs.items():
        first = same[0]
        text = first.description or ""
        if len(same) > 1:
            text = text.replace(table_of(first.asset_key).name, "the table")
        assets = ", ".join(dict.fromkeys(markdown.literal(_family(spec.asset_key)) for spec in same))
        yield markdown.literal(name), assets, "yes" if first.blocking else "", text


def _job(job: Any) -> Sequence[str]:
    return markdown.literal(job.name), str(job.tags.get(GROUP_TAG, "")), job.description or ""


def _launchpad(definitions: dg.Definitions) -> Iterator[Sequence[str]]:
    """Every field of an op's configuration that a person may set."""
    for job in definitions.jobs or ():
        for node in definitions.resolve_job_def(job.name).nodes:
            field = getattr(node.definition, "config_field", None)
            for name, value in getattr(getattr(field, "config_type", None), "fields", {}).items():
                given = value.default_value if value.default_provided else "(needed)"
                default = str(given).lower() if isinstance(given, bool) else given
                yield (
                    markdown.literal(job.name),
                    markdown.literal(node.name),
                    markdown.literal(name),
                    markdown.literal(str(default)),
                    value.description or "",
                )


def _schedules(definitions: dg.Definitions) -> Iterator[Sequence[str]]:
    for given in definitions.schedules or ():
        schedule = definitions.resolve_schedule_def(given.name)
        cron, job = markdown.literal(str(schedule.cron_schedule)), markdown.literal(schedule.job_name)
        yield markdown.literal(schedule.name), cron, job, schedule.description or ""


def _sensors(definitions: dg.Definitions) -> Iterator[Sequence[str]]:
    for sensor in definitions.sensors or ():
        jobs = ", ".join(markdown.literal(target.job_name) for target in sensor.targets)
        yield markdown.literal(sensor.name), jobs or "every job that failed", sensor.description or ""
