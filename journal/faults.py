"""Named fault points. Inert unless MEDHUB_FAULT_DIR is set; then a file of the point's name there kills the process once.

Tests read the list of points from the source and kill at each (tests/journeys/test_faults.py).
"""

import os
import signal
from pathlib import Path

_FOLDER = os.environ.get("MEDHUB_FAULT_DIR", "")


def fault(name: str) -> None:
    """Die here by SIGKILL if a test armed this point. The file goes first, so the process that takes over lives."""
    if not _FOLDER:
        return
    try:
        (Path(_FOLDER) / name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
