"""Checks of Dagster: its instance, code locations, broker, automation and web server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from trading_assets.cli.doctor.findings import opened, unless_simulated
from trading_assets.core.configuration import PREFIX, checkout
from trading_assets.core.errors import (
    ConfigurationError,
    DataError,
)
from trading_assets.core.secret_text import parts_of_url, without
from trading_assets.core.settings import Settings
from trading_assets.service.conditions import trouble_lines

LOCATION = "trading_assets"
BROKER_VARIABLE = f"{PREFIX}BROKER_URL"
_BROKER_WAIT_S = 5
_BROKER_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}


def check_dagster(settings: Settings) -> str:
    """What is trusted to the `dagster.yaml` in force: the guard, groups, and the end of dead runs."""
    named, ours = os.environ.get("DAGSTER_HOME", "").strip(), checkout()
    folder = Path(named).expanduser() if named else ours
    if folder is None:
        return unless_simulated(
            settings, "DAGSTER_HOME is not set: set it to a directory with this project's dagster.yaml"
        )
    file = folder / "dagster.yaml"
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{file} cannot be read ({str(error).splitlines()[0]}): put this project's there"
        ) from error
    missing = [what for what, (value, *names) in _TRUSTED.items() if value not in str(_at(found, *names))]
    if missing:
        raise ConfigurationError(
            f"{file} lacks {', '.join(missing)}: take them from the dagster.yaml of the checkout, or from deploy/"
        )
    if named:
        return str(file)
    return unless_simulated(
        settings, f"{file} where `dagster` is started in the checkout; everything else needs DAGSTER_HOME={folder}"
    )


_TRUSTED: Mapping[str, tuple[str, ...]] = {
    "this project's storage with the guard": ("trading_assets.", "storage", "custom", "module"),
    "its run_coordinator with groups": ("trading_assets.", "run_coordinator", "module"),
    "run_monitoring, which ends dead runs": ("True", "run_monitoring", "enabled"),
}
"""What must be in `dagster.yaml`: a text in the value, and the path to it."""


def _at(found: object, *names: str) -> object:
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def check_locations(_settings: Settings) -> str:
    """Switches of schedules and sensors belong to the name of a code location."""
    from trading_assets.defs.instance.locations import names_with_switches  # noqa: PLC0415 (imports dagster)

    try:
        names = names_with_switches()
    except Exception as error:  # an instance that cannot be opened may raise anything
        raise ConfigurationError(
            f"the Dagster instance cannot be opened ({str(error)[:200] or type(error).__name__}); see its dagster.yaml"
        ) from error
    if names is None:
        return "no Dagster instance is here: neither DAGSTER_HOME nor a dagster.yaml"
    others = sorted(names - {LOCATION})
    if others:
        raise ConfigurationError(
            f"schedules and sensors were switched in the code location {', '.join(others)}, expected {LOCATION} alone: "
            "start webserver and daemon with -w workspace.yaml, and switch them there again"
        )
    return f"every switch belongs to {LOCATION}"


def check_broker(_settings: Settings) -> str:
    """The one that Celery workers take runs from, where the environment names one: it is entered as they enter it."""
    url = os.environ.get(BROKER_VARIABLE, "")
    if not url:
        return "none is named: runs are not handed to Celery workers"
    try:
        parts = urlsplit(url)
        where = f"{parts.hostname or ''}:{parts.port or _BROKER_PORTS.get(parts.scheme, 5672)}"
    except ValueError:
        raise ConfigurationError(f"{BROKER_VARIABLE} is no URL; expected amqp://user:password@host:5672//") from None
    try:
        from kombu import Connection  # noqa: PLC0415 (of the extra `celery`)
    except ImportError:
        raise ConfigurationError(
            f"{BROKER_VARIABLE} is set, and Celery is not installed; install the extra: trading-assets[celery]"
        ) from None
    try:
        with Connection(url, connect_timeout=_BROKER_WAIT_S) as connection:
            connection.ensure_connection(max_retries=1, timeout=_BROKER_WAIT_S)
            connection.channel().close()
    except Exception as error:  # noqa: BLE001 (each transport has errors of its own)
        why = without(f"{type(error).__name__}: {error}", parts_of_url(url))
        raise ConfigurationError(
            f"the broker at {where} ({BROKER_VARIABLE}) does not take us: {why}; start it, or mend user, password and "
            "virtual host: no run begins before"
        ) from None
    return f"answers at {where}"


def check_switched(settings: Settings) -> str:
    if settings.automation_on:
        return "schedules and sensors run unless they are switched off in the UI"
    return "schedules and sensors run where they are switched on in the UI (Automation)"


def check_automation(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        found = trouble_lines(database, settings)
    if found:
        raise DataError("; ".join(found))
    return "none has met a limit of tries, a blocked hour or a stuck run"


def check_web_server(settings: Settings) -> str:
    from trading_assets.defs.instance.web_guard import guards  # noqa: PLC0415 (imports dagster)

    guarded = guards(settings.ui_url)
    if guarded is None:
        return f"none answers at {settings.ui_url}"
    if not guarded:
        raise ConfigurationError(
            f"the one at {settings.ui_url} answers to the name attacker.example, so any web page can command it; start "
            "it with `trading-assets web`, or with this project's dagster.yaml"
        )
    return f"{settings.ui_url} is guarded against foreign web pages"


def check_token(settings: Settings) -> str:
    if not settings.venue.adapter.is_real_money:
        return "not needed on this machine without real money"
    return "needed on this machine, too; trading-assets web --show-token prints it"
