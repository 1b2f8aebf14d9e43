"""Files that the UI serves: a browser opens no `file://` link of an http page.

Dagster's webserver serves the directory of captured logs below `/logs`. A file is linked there beside the logs of its
run. The link works wherever the UI does, also through a tunnel or a proxy, and retention deletes the file with the run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import quote, urlsplit

import dagster as dg

from trading_assets.core.private_files import private_folder
from trading_assets.defs.instance.dagster_private import LocalComputeLogManager


def offer(instance: dg.DagsterInstance, run_id: str, file: Path, ui_url: str) -> str | None:
    """Let the UI serve a file of a run as a download.

    Args:
        file: its content must not change in place afterwards; replacing or deleting it leaves the offered one alone.
        ui_url: where the UI is; of it only the path counts, so that the link works at whatever address the UI is seen.

    Returns:
        Where the UI's own server sends it to be saved, as a path of that server; None where captured logs are not in a
        directory.

    Raises:
        OSError: the directory of captured logs cannot be written.
    """
    manager = instance.compute_log_manager
    if not isinstance(manager, LocalComputeLogManager):
        return None
    extension = file.suffix.removeprefix(".")
    target = Path(manager.get_captured_local_path([run_id, file.stem], extension))
    private_folder(target.parent)
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)  # the report's bytes are on the disk once
    except OSError:
        shutil.copyfile(file, target)  # another file system
    return f"{urlsplit(ui_url).path.rstrip('/')}/logs/{quote(run_id)}/{quote(file.stem)}/{quote(extension)}"
