"""Private names of Dagster: each is where it is imported from, has its reason, and is imported in one place alone.

Here and not below `defs`, and without an import of the package: where Dagster has moved a name, this still runs.
"""

import ast
import importlib.util
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "trading_assets"
INSTANCE = PACKAGE / "defs" / "instance"
PLACES = (INSTANCE / "dagster_private.py", INSTANCE / "workers" / "dagster_celery_private.py")


def is_private(module: str) -> bool:
    """Whether a module is none that Dagster publishes: has an underscore, or is inside an integration."""
    top, *inside = module.split(".")
    if top in ("dagster", "dagster_shared"):
        return any(part.startswith("_") for part in inside) or top == "dagster_shared"
    return top.startswith("dagster_") and bool(inside)


def private_imports(path: Path) -> list[tuple[int, str, list[str]]]:
    """Line, module and names of each import of private names in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [alias.name for alias in node.names]
            if is_private(node.module) or (node.module == "dagster" and any(name.startswith("_") for name in names)):
                found.append((node.lineno, node.module, names))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, []) for alias in node.names if is_private(alias.name)]
    return found


NAMES = [(module, name) for place in PLACES for _, module, names in private_imports(place) for name in names]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(one) for one in NAMES])
def test_a_private_name_is_where_it_is_imported_from(module: str, name: str) -> None:
    is_module = importlib.util.find_spec(f"{module}.{name}") is not None if module == "dagster" else False
    assert is_module or hasattr(import_module(module), name), f"Dagster has moved {module}.{name}"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.stem)
def test_each_private_import_says_why_and_what_would_replace_it(place: Path) -> None:
    lines = place.read_text().splitlines()
    for number, module, _ in private_imports(place):
        above = number - 2
        while lines[above].startswith("from "):
            above -= 1  # of imports without a line between, the first has the reason
        comment = []
        while lines[above].startswith("# "):
            comment.append(lines[above].removeprefix("# "))
            above -= 1
        reason = " ".join(reversed(comment))
        assert "Until: " in reason or reason.startswith("See "), f"{module}: {reason!r}"


def test_no_other_module_imports_private_names_of_dagster() -> None:
    elsewhere = {
        str(path.relative_to(PACKAGE)): private_imports(path)
        for path in PACKAGE.rglob("*.py")
        if path not in PLACES and private_imports(path)
    }
    assert elsewhere == {}
    assert len(NAMES) < 36, "each more is a risk at the next version of Dagster"


def test_private_is_what_the_rule_says() -> None:
    private = ("dagster._core.events", "dagster_postgres.utils", "dagster_celery.tags", "dagster_shared.check")
    public = ("dagster", "dagster_postgres", "dagster.components", "dagsterish.x", "trading_assets.x._y")
    assert all(map(is_private, private)) and not any(map(is_private, public))
