"""README.md: what it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_make_target_and_picture_that_it_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z]+)", text)) - {"sense"} <= targets
    for picture in re.findall(r"\]\((docs/[^)]+\.png)\)", text):
        assert (ROOT / picture).is_file(), picture
