"""The table is the standard's, and every tag of it is acted on."""

import json

import pytest

from ai.deident.profile import DEFAULT, MODIFIED_DATES, PATIENT_CHARACTERISTICS, Profile
from ai.deident.rules import Action, rules_of, table
from ai.deident.table_make import TARGET, TableError, table_text
from tests.dicom_files import shared_file

SOURCE = "../standards/dicom/confidentiality_profile_attributes.json"


def test_the_table_is_generated() -> None:
    """"De-identification by an own engine over the PS3.15 table (generated data ...)": the same source gives the same file."""
    rows = json.loads(shared_file(SOURCE).read_text(encoding="utf-8"))
    assert table_text(rows) == TARGET.read_text(encoding="utf-8")
    assert len(table()) == len(rows) == 621


@pytest.mark.parametrize("row", [
    {"id": "0010001", "basicProfile": "X"},
    {"id": "00100010", "basicProfile": "Q"},
    {"id": "00100010", "basicProfile": "X", "cleanDescOpt": "Z"},
])  # fmt: skip
def test_an_edition_that_says_something_new_is_not_taken(row) -> None:
    with pytest.raises(TableError):
        table_text([row])


@pytest.mark.parametrize("profile", [Profile(), DEFAULT])
def test_no_tag_of_the_table_stays_unless_an_option_says_so(profile) -> None:
    rules = rules_of(profile)
    for name, actions in table().items():
        if name == "private" or "x" in name:
            continue
        if rules[int(name, 16)].action in (Action.KEEP, Action.GEOMETRY, Action.AGE):
            assert "K" in (actions.get(option) for option in profile.options), name


def test_dates_go_before_devices() -> None:
    """A calibration date that stayed while all others are shifted would tell by how much."""
    assert rules_of(DEFAULT)[0x0018700C].action is Action.SHIFT


def test_a_date_that_everybody_can_look_up_is_never_shifted() -> None:
    """ContextGroupVersion is printed in PS3.16: shifted by the patient's offset it would tell the offset."""
    assert rules_of(DEFAULT)[0x00080106].action is Action.DUMMY


def test_options_are_chosen_per_platform() -> None:
    """"options chosen per platform"."""
    age = 0x00101010
    assert rules_of(Profile())[age].action is Action.REMOVE
    assert rules_of(Profile(frozenset({PATIENT_CHARACTERISTICS})))[age].action is Action.AGE
    assert rules_of(Profile())[0x00080020].action is Action.EMPTY
    assert rules_of(Profile(frozenset({MODIFIED_DATES})))[0x00080020].action is Action.SHIFT


@pytest.mark.parametrize("tag", [0x50000010, 0x501E3000, 0x60003000, 0x60FF4000, 0x00080000, 0x00085555, 0x00020016])
def test_what_the_dictionary_does_not_have_goes(tag: int) -> None:
    """Curves, overlays, group lengths, unknown tags, file meta inside a data set."""
    assert rules_of(DEFAULT)[tag].action is Action.REMOVE
