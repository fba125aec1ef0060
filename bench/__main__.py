"""`python -m bench [--only ROW] [--reps N]`, called by `make bench`."""

import argparse
import fcntl
import sys

from bench import environment
from medhub.embedded import EmbeddedError
from medhub.stack import StackError

ROWS = ("ct", "tiny", "report", "ai", "demo", "fhir", "ehr", "bulk", "worklist", "stow", "orthanc", "web", "deident", "routing", "quantify")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure this house beside its goals and peers.")
    parser.add_argument("--only", action="append", choices=ROWS, default=[], metavar="ROW", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--reps", type=int, help="repetitions of every row, instead of each row's own number")
    given = parser.parse_args()
    if given.reps is not None and given.reps < 1:
        parser.error("--reps needs 1 or more")
    environment.BENCH.mkdir(parents=True, exist_ok=True)
    with (environment.BENCH / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            parser.error("another bench of this checkout is running")
        stack = environment.prepare()
        # Models can be imported only now, when Django knows whose house it is in.
        from bench.run import bench_run

        try:
            return bench_run(stack, only=given.only, reps=given.reps)
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
            return 130
        except (StackError, EmbeddedError) as error:
            parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
