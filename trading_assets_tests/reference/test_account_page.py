"""What the page about the account quotes is what the reconciler tells."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "account.md").read_text(encoding="utf-8")
MODULES = [ROOT / "trading_assets" / "trading" / "reconcile" / f"{name}.py" for name in ("comparison", "reconciler")]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z]+", " ", text.lower()).strip()


def _quoted() -> list[list[str]]:
    """Of each quoted difference of the page its parts between the ellipses, as plain words."""
    table = PAGE.split("## What the differences mean")[1]
    return [
        [_plain(part) for part in quote.split("...") if _plain(part)]
        for line in table.splitlines()
        if line.startswith("| `")
        for quote in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    ]


def _texts() -> list[str]:
    """Literal texts of the modules, formatted values left out; docstrings are none."""
    found = []
    for module in MODULES:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        documented |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
            id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        }
        for node in ast.walk(tree):
            if id(node) in documented or id(node) in inside:
                continue
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.mark.parametrize("parts", _quoted(), ids=" ".join)
def test_what_the_page_quotes_is_what_the_code_says(parts: list[str]) -> None:
    texts = [_plain(text) for text in _texts()]
    assert all(any(part in text for text in texts) for part in parts), parts
