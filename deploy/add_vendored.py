"""Add what the package holds of other projects, and no lock knows, to `sbom.json`: add_vendored.py FILE."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parents[1] / "trading_assets" / "reporting" / "static" / "lightweight-charts.js"


def lightweight_charts() -> dict[str, Any]:
    """The component of CycloneDX, with the version that the file itself names.

    Raises:
        ValueError: it names none.
    """
    content = LIBRARY.read_bytes()
    found = re.search(rb"TradingView Lightweight Charts\S* v(\d+\.\d+\.\d+)", content[:400])
    if found is None:
        raise ValueError(f"{LIBRARY} does not begin with the name and version of its project")
    version = found[1].decode()
    purl = f"pkg:npm/lightweight-charts@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": "lightweight-charts",
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "externalReferences": [{"type": "website", "url": "https://www.tradingview.com/lightweight-charts/"}],
    }


def main(path: Path) -> None:
    """Add the components to a file of CycloneDX."""
    bill, component = json.loads(path.read_text(encoding="utf-8")), lightweight_charts()
    bill["components"] = [*bill.get("components", []), component]
    bill.setdefault("dependencies", []).append({"ref": component["bom-ref"]})
    path.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
