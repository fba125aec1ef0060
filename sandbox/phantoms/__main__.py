"""`python -m sandbox.phantoms --out DIR`: draw a thorax CT with known answers; called by people, the demo and tests."""

import argparse
import sys
from pathlib import Path

from sandbox.phantoms.ct_series import write_series
from sandbox.phantoms.thorax import Plan, draw


def main() -> None:
    """Draw, write, and say where."""
    default = Plan()
    parser = argparse.ArgumentParser(prog="sandbox.phantoms", description="A thorax CT phantom with known answers.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files, made when missing")
    parser.add_argument("--slices", type=int, default=default.slices)
    parser.add_argument("--spacing", type=float, default=default.spacing, help="mm between slices")
    parser.add_argument("--matrix", type=int, default=default.matrix, help="rows and columns")
    parser.add_argument("--emphysema", type=float, default=default.emphysema, help="share of the lung below -950 HU")
    parser.add_argument("--seed", type=int, default=default.seed)
    given = parser.parse_args()
    if given.slices < 1 or given.spacing <= 0 or given.matrix < 64 or not 0 <= given.emphysema <= 0.9:
        parser.error("slices >= 1, spacing > 0, matrix >= 64, emphysema from 0 to 0.9")
    plan = Plan(given.slices, given.spacing, given.matrix, given.emphysema, given.seed)
    study_uid = write_series(draw(plan), plan, given.out)
    sys.stdout.write(f"{plan.slices} slices of study {study_uid} in {given.out}\n")


if __name__ == "__main__":
    main()
