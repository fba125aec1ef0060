"""What the rows share: the house, its hospitals, the series to send, and how often to repeat."""

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from bench.environment import BENCH, scratch_make
from bench.house import Hospital, hospital_make
from bench.series import Series, series_write
from medhub.stack import ROOT, Stack

CT_SLICES, CT_MATRIX = 500, 512
TINY_OBJECTS, TINY_MATRIX = 600, 32
PHANTOM_SLICES = 150
QUIET_SECONDS = 2


@dataclass
class Bench:
    """One run. Everything is made when a row first asks for it."""

    console: Console
    stack: Stack
    reps_asked: int | None = None

    def reps(self, default: int) -> int:
        return self.reps_asked or default

    @cached_property
    def scratch(self) -> Path:
        return scratch_make("scratch")

    def folder_new(self, name: str) -> Path:
        """A path that nothing has used yet; it is removed when the bench ends, not before."""
        return self.scratch / f"{name}-{len(list(self.scratch.iterdir()))}"

    @cached_property
    def ct(self) -> Series:
        return series_write(self.scratch / "ct", slices=CT_SLICES, matrix=CT_MATRIX)

    @cached_property
    def tiny(self) -> Series:
        return series_write(self.scratch / "tiny", slices=TINY_OBJECTS, matrix=TINY_MATRIX)

    @cached_property
    def phantom(self) -> Path:
        """The thorax phantom as the demo draws it; drawn once and kept."""
        folder = BENCH / "phantom"
        if not (folder / "truth.json").exists():
            command = [sys.executable, "-m", "sandbox.phantoms", "--out", str(folder), "--slices", str(PHANTOM_SLICES)]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 our own module
        return folder

    @cached_property
    def receiving(self) -> Hospital:
        """Takes images and does nothing else: its studies stay open."""
        return hospital_make("bench-receive")

    @cached_property
    def walking(self) -> Hospital:
        """Where studies become reports."""
        return hospital_make("bench-walk", quiet_seconds=QUIET_SECONDS, has_ai=True)
