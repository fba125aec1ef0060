"""The child process that touches hostile bytes: `python -m quantify.worker`, started by quantify.runner for one job.

It limits itself before it reads, and ends when its standard input closes, so it never outlives a killed server.
"""

import argparse
import json
import mmap
import os
import resource
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantify.algorithms import ALGORITHMS
from quantify.findings import UnreadableInputError
from quantify.outcome import failure, finding

MAX_OUTCOME_BYTES = 64 * 1024**2
NICENESS = 5


class PartsFile(Sequence[bytes]):
    """The parts of a job as a sequence; only the one asked for is in memory."""

    def __init__(self, path: Path, places: Sequence[tuple[int, int]]) -> None:
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        offset, length = self._places[index]
        return self._bytes[offset : offset + length]


def findings_of(algorithm: str, parts: Sequence[bytes], *, is_masked: bool = False) -> dict[str, Any]:
    """The part of the job's JSON that the algorithm decides; every exception ends as a failed job with its kind."""
    try:
        return finding(ALGORITHMS[algorithm].load()(parts), is_masked=is_masked)
    except UnreadableInputError as error:
        return failure(len(parts), error.remark.code, error.remark.text)
    except MemoryError:
        return failure(len(parts), "memory_limit", "the input needs more memory than one job may use")
    except Exception as error:  # noqa: BLE001 - unforeseen: the job fails; only the kind is told, a text may hold data
        return failure(len(parts), "internal", f"unexpected {type(error).__name__}")


def _limit(seconds: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTCOME_BYTES, MAX_OUTCOME_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    os.nice(NICENESS)


def _end_with_the_server() -> None:
    # The server holds the other end of this pipe; a SIGKILL closes it, and the restarted server does the job again.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main() -> None:
    """One job: arguments name its folder and limits, the findings go to the file named by --out."""
    parser = argparse.ArgumentParser(prog="quantify.worker")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True)
    given = parser.parse_args()
    _limit(given.seconds, given.memory)
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    accepted = json.loads((given.folder / "accepted.json").read_bytes())
    places = [(part["offset"], part["length"]) for part in accepted["parts"]]
    parts = PartsFile(given.folder / "parts.bin", places)
    findings = findings_of(accepted["algorithm"], parts, is_masked=accepted.get("is_masked", False))
    (given.folder / given.out).write_text(json.dumps(findings), encoding="utf-8")


if __name__ == "__main__":
    main()
