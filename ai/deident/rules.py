"""What happens to each tag under a profile: PS3.15 Table E.1-1 compiled, and our answers for what the table doesn't name.

`engine` asks for a rule once a tag; the answers stay compiled for the life of the process.
"""

import json
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ai.deident.profile import (
    CLEAN_DESCRIPTORS,
    DEVICE_IDENTITY,
    FULL_DATES,
    INSTITUTION_IDENTITY,
    MODIFIED_DATES,
    PATIENT_CHARACTERISTICS,
    Profile,
)
from ai.deident.walk import is_retired, known_vr


class Action(IntEnum):
    KEEP = 0
    REMOVE = 1
    EMPTY = 2
    DUMMY = 3
    UID = 4
    SHIFT = 5
    WORDS = 6
    PATIENT = 7
    ACCESSION = 8
    STUDY_ID = 9
    NAME = 10
    AGE = 11
    ITEMS = 12
    GEOMETRY = 13


class Rule(NamedTuple):
    """`otherwise` holds when a value can't be shifted, reduced to words or trusted. `vr` is the dictionary's."""

    action: Action
    otherwise: Action
    vr: str


# A compound leaves us the choice by the type of the attribute in its IOD (PS3.15 E.1 note 2). Where it offers a dummy we write one,
# otherwise an empty value: that is valid for whatever type. References are kept with their UIDs replaced.
BASIC = {
    "X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID, "Z/D": Action.DUMMY, "X/Z": Action.EMPTY,
    "X/D": Action.DUMMY, "X/Z/D": Action.DUMMY, "X/Z/U*": Action.ITEMS, "K": Action.KEEP, "C": Action.REMOVE,
}  # fmt: skip
DATES = frozenset(("DA", "DT", "TM"))
FREE_TEXT = frozenset(("ST", "LT", "UT", "PN"))
ADDRESSES = frozenset(("AE", "UR"))
WORDED = frozenset(("LO", "SH", "UC"))
TEXT = WORDED | FREE_TEXT | ADDRESSES

# Same attribute, said more exactly than the table does.
EXACT = {
    0x00100020: Action.PATIENT,
    0x00100010: Action.NAME,
    0x00080050: Action.ACCESSION,
    0x00200010: Action.STUDY_ID,
    0x006A0003: Action.UID,  # D in the table, and a UID
    0x0040A730: Action.ITEMS,  # Content Sequence: the tree stays, its texts and names are emptied (113104)
    0x00700001: Action.REMOVE,  # Graphic Annotation Sequence: strokes can be handwriting, and the module is optional
    0x00340001: Action.ITEMS,  # Flow Identifier Sequence: everything in it has an action of its own
    0x0040A073: Action.ITEMS,  # Verifying Observer Sequence: likewise
    0x00081072: Action.REMOVE,  # Operator Identification Sequence, optional everywhere
    0x00080082: Action.EMPTY,  # Institution Code Sequence
    0x00081111: Action.EMPTY,  # Referenced Performed Procedure Step Sequence
    0x00420011: Action.DUMMY,
}
# Dates that are printed in public documents: shifting one of them by the patient's offset would tell the offset.
PUBLIC_DATES = frozenset((0x00080106, 0x00080107, 0x00686226, 0x00686270))
# Not in the table, and not to be let through.
ALSO_REMOVED = frozenset((
    0x00100033, 0x00100034,  # birth and death date in another calendar
    0x00280303,  # what we write ourselves
    0x00120062, 0x00120063, 0x00120064,
    0x00880130, 0x21000160, 0x00401008,
    0x0040E001, 0x00080056, 0x00287FE0,
))  # fmt: skip
# Labels that people type, which the table leaves alone.
LABELS = frozenset((0x00700080, 0x00620005, 0x00209453, 0x006A0006))
# Texts that name codes and never a person; everything else of free text that the table leaves alone gets a dummy.
CODE_TEXT = frozenset((0x00080114, 0x00080115, 0x00080119, 0x00080120, 0x00080108, 0x0008010E, 0x00400031, 0x00400032))
# Classes, syntaxes and registries: never mapped, private ones neither.
CLASS_UIDS = frozenset((
    0x00080016, 0x0008001A, 0x0008001B, 0x00080062, 0x00081150, 0x0008115A, 0x00041510, 0x00041512, 0x0004151A, 0x00083002,
    0x0008040E, 0x0008010C, 0x0008010D, 0x00080117, 0x00080118, 0x00340003, 0x04000010, 0x04000510, 0x30100052, 0x30100053,
))  # fmt: skip
GEOMETRY = {0x00280010: "rows", 0x00280011: "columns", 0x00280008: "frames", 0x00280030: "spacing", 0x00200037: "orientation"}


@lru_cache(maxsize=1)
def table() -> dict[str, dict[str, str]]:
    """Tag (lower-case hexadecimal, xx for any) -> option -> action."""
    text = Path(__file__).with_name("table.json").read_text(encoding="utf-8")
    attributes: dict[str, dict[str, str]] = json.loads(text)["attributes"]
    return attributes


class Rules(dict[int, Rule]):
    """Rule of each even-group tag under one profile, found when first asked for."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.profile = profile

    def __missing__(self, tag: int) -> Rule:
        rule = _rule(tag, self.profile)
        if len(self) < 20_000:
            self[tag] = rule
        return rule


@lru_cache(maxsize=64)
def rules_of(profile: Profile) -> Rules:
    return Rules(profile)


def _rule(tag: int, profile: Profile) -> Rule:
    vr, group = known_vr(tag), tag >> 16
    is_overlay_or_curve = group & 0xFF00 in (0x5000, 0x6000)
    if not vr or tag & 0xFFFF == 0 or group < 8 or is_overlay_or_curve or tag in ALSO_REMOVED:
        # Tags that the dictionary doesn't have may hold anything; group lengths are wrong afterwards; curves and overlays draw.
        return Rule(Action.REMOVE, Action.REMOVE, vr)
    actions = table().get(f"{tag:08x}")
    action, otherwise = _unnamed(tag, vr, profile) if actions is None else _named(tag, vr, actions, profile)
    return Rule(action, otherwise, vr)


def _named(tag: int, vr: str, actions: dict[str, str], profile: Profile) -> tuple[Action, Action]:
    basic = EXACT.get(tag, BASIC[actions["basic"]])
    if basic is Action.DUMMY and vr == "SQ" and tag not in EXACT:
        basic = Action.DUMMY if actions["basic"] == "D" else Action.EMPTY
    # Dates go first: a device's date that stays while all others are shifted would tell the offset.
    if tag in PUBLIC_DATES:
        return basic, basic
    if MODIFIED_DATES in profile.options and MODIFIED_DATES in actions:
        return (Action.SHIFT, basic) if vr in DATES else (basic, basic)
    retained = {FULL_DATES, DEVICE_IDENTITY, INSTITUTION_IDENTITY, PATIENT_CHARACTERISTICS} & profile.options
    if any(actions.get(option) == "K" for option in retained):
        return (Action.AGE if vr == "AS" else Action.ITEMS if vr == "SQ" else Action.KEEP), basic
    if CLEAN_DESCRIPTORS in profile.options and actions.get(CLEAN_DESCRIPTORS) == "C" and vr in WORDED:
        return Action.WORDS, basic
    return basic, basic


def _unnamed(tag: int, vr: str, profile: Profile) -> tuple[Action, Action]:
    """The table's authors found nothing to protect here; free text, old order numbers and dates get an action all the same."""
    if tag in GEOMETRY:
        return Action.GEOMETRY, Action.REMOVE
    if vr == "UI":
        return (Action.KEEP if tag in CLASS_UIDS else Action.UID), Action.REMOVE
    if vr in DATES:
        action = {"UNMODIFIED": Action.KEEP, "MODIFIED": Action.SHIFT}.get(profile.temporal_information, Action.DUMMY)
        return action, Action.DUMMY
    if tag in LABELS:
        return (Action.WORDS if CLEAN_DESCRIPTORS in profile.options and vr in WORDED else Action.DUMMY), Action.DUMMY
    if tag in CODE_TEXT:
        return Action.KEEP, Action.REMOVE
    if vr in ADDRESSES or (vr in TEXT and is_retired(tag)):
        return Action.REMOVE, Action.REMOVE
    if vr in FREE_TEXT:
        return Action.DUMMY, Action.DUMMY
    return (Action.ITEMS if vr == "SQ" else Action.KEEP), Action.REMOVE
