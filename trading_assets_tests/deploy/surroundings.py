"""What tests of `deploy/` share: where it is, its entry point as a module, and tools that may be absent."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


@cache
def module(name: str) -> ModuleType:
    """A file of deploy/image, as a module."""
    spec = importlib.util.spec_from_file_location(f"deploy_image_{name}", DEPLOY / "image" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


def tool(name: str, why: str) -> str:
    """Path of a program that this machine may not have; the test is skipped then."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.is_file() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: {why}")
    return path


@cache
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    return found
