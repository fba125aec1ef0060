"""Writes `table.json` from a JSON rendering of PS3.15 Table E.1-1. Run by hand: `python -m ai.deident.table_make SOURCE`."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

TARGET = Path(__file__).with_name("table.json")
HEAD = {
    "about": "DICOM PS3.15 Table E.1-1, Application Level Confidentiality Profile Attributes: tag -> action of the Basic "
    "Profile and of each option that names it",
    "version": "the edition of DICOM current on 2025-01-28",
    "source": "github.com/innolitics/dicom-standard, confidentiality_profile_attributes.json at 7f4749d (2025-01-28)",
    "licence": "MIT, Copyright (c) 2017 Innolitics",
}
# Their names of the columns -> CID 7050.
OPTIONS = {
    "rtnSafePrivOpt": "113111",
    "rtnUIDsOpt": "113110",
    "rtnDevIdOpt": "113109",
    "rtnInstIdOpt": "113112",
    "rtnPatCharsOpt": "113108",
    "rtnLongFullDatesOpt": "113106",
    "rtnLongModifDatesOpt": "113107",
    "cleanDescOpt": "113105",
    "cleanStructContOpt": "113104",
    "cleanGraphOpt": "113103",
}
BASIC_ACTIONS = frozenset(("D", "Z", "X", "K", "C", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"))
PRIVATE = "private"
_TAG = re.compile(r"[0-9a-f]{2}(?:[0-9a-f]{2}|xx)(?:[0-9a-f]{4}|xxxx)")


class TableError(Exception):
    """The source says something that the engine doesn't know."""


def table_text(rows: Iterable[Mapping[str, str]]) -> str:
    """`table.json`: one attribute a line, so that a new edition of the standard reads as a diff. Raises TableError."""
    lines = [f"{json.dumps(key)}: {json.dumps(_actions(row))}" for key, row in sorted((_key(row), row) for row in rows)]
    head = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in HEAD.items())
    return "{\n" + head + ',\n"attributes": {\n' + ",\n".join(lines) + "\n}\n}\n"


def _key(row: Mapping[str, str]) -> str:
    tag = row["id"].lower()
    if tag.startswith("gggg"):
        return PRIVATE
    if not _TAG.fullmatch(tag):
        raise TableError(f"not a tag: {tag}")
    return tag


def _actions(row: Mapping[str, str]) -> dict[str, str]:
    actions = {"basic": row["basicProfile"]} | {code: row[name] for name, code in OPTIONS.items() if name in row}
    if actions["basic"] not in BASIC_ACTIONS or not set(actions.values()) - {actions["basic"]} <= {"K", "C"}:
        raise TableError(f"unknown action for {row['id']}")
    return actions


if __name__ == "__main__":
    TARGET.write_text(table_text(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), encoding="utf-8")
