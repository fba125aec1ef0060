"""HL7's own examples of the types we hold, as published (see README.md beside this file)."""

import gzip
import json
from functools import cache
from pathlib import Path


@cache
def official_examples() -> dict[str, str]:
    """File name without its ending -> the text as HL7 wrote it."""
    with gzip.open(Path(__file__).with_name("examples.json.gz"), "rt", encoding="utf-8") as lines:
        found: dict[str, str] = json.load(lines)
    return found
