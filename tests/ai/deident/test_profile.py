"""A profile that makes no sense can't exist."""

import pytest

from ai.deident.profile import DEFAULT, NOT_OFFERED, SCANNER_NUMBERS, Profile, ProfileError, SafePrivate


@pytest.mark.parametrize("options", [
    {"113106", "113107"}, {"113102"}, {"113104"}, {"113110"}, {"113100"}, {"4711"}, {"113111"},
])  # fmt: skip
def test_what_contradicts_itself_or_is_not_offered_is_refused(options: set[str]) -> None:
    with pytest.raises(ProfileError):
        Profile(frozenset(options))


def test_private_elements_need_their_option() -> None:
    with pytest.raises(ProfileError):
        Profile(frozenset({"113105"}), SCANNER_NUMBERS)


@pytest.mark.parametrize("entry", [
    ("", 0x19, 0x0C, "IS"), ("A\\B", 0x19, 0x0C, "IS"), (" A", 0x19, 0x0C, "IS"), ("A", 0x18, 0x0C, "IS"), ("A", 0x19, 0x100C, "IS"),
    ("A", 0x19, 0x0C, "LO"), ("A", 0x19, 0x0C, "UN"), ("A", 0x19, 0x0C, "SQ"), ("A", 0x07, 0x0C, "IS"), ("M\u00fcller", 0x19, 0x0C, "IS"),
])  # fmt: skip
def test_no_text_passes_through_a_private_element(entry) -> None:
    with pytest.raises(ProfileError):
        SafePrivate(*entry)


def test_the_default_is_section_6() -> None:
    assert DEFAULT.options == {"113103", "113105", "113107", "113108", "113109", "113111"}
    assert not DEFAULT.options & NOT_OFFERED.keys()
    assert DEFAULT.temporal_information == "MODIFIED"
    assert (Profile().temporal_information, Profile(frozenset({"113106"})).temporal_information) == ("REMOVED", "UNMODIFIED")
