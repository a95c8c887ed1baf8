"""Where a report may go; needs nothing that takes long to import."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from specframe.errors import UsageError

PAGE = "index.html"
_NEEDED = ("matplotlib", "jinja2")
_OURS = {".png", ".html"}


def check_report_directory(directory: Path) -> None:
    """Check what can be known before a run about writing its report to ``directory``.

    Raises:
        UsageError: a library is missing, or the directory cannot be written or holds something else.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"a report needs {' and '.join(missing)}; install with: pip install 'specframe[report]'"
        )
    if directory.exists():
        if not directory.is_dir():
            raise UsageError(f"{directory} is a file; allowed: a directory for the report")
        others = [path.name for path in directory.iterdir() if path.suffix not in _OURS]
        if others or (any(directory.iterdir()) and not (directory / PAGE).exists()):
            raise UsageError(
                f"{directory} holds something that is no report; allowed: a new or empty directory"
            )
    above = directory.absolute().parent
    while not above.exists():
        above = above.parent
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be written: {above} is not writable")
