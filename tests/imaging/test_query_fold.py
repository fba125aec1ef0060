"""How text, times and wildcards are compared, without a database."""

import re
import time
from pathlib import Path

import pytest
from pydicom.charset import decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import PN_DELIMS

from imaging.describe import WANTED
from imaging.query import attributes, fold, moments
from imaging.query.answers import UnfitError, character_set_make
from imaging.query.keys import Key, QueryError
from imaging.query.match import glob_match, key_test, like_pattern


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MÜLLER", "muller"),
        ("Müller", "muller"),
        ("Łukasz", "LUKASZ"),
        ("Ångström", "angstrom"),
        ("Weiß", "WEISS"),
        ("Sørensen", "sorensen"),
        ("ЁЖ", "еж"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),
        ("  doe ", "DOE"),
    ],
)
def test_case_accents_and_forms_do_not_count(one, other) -> None:
    """"case- and accent-insensitive"."""
    assert fold.text_fold(one) == fold.text_fold(other)


@pytest.mark.parametrize(("one", "other"), [("やまた", "やまだ"), ("山田", "山口"), ("홍길동", "홍길둥"), ("A B", "AB")])
def test_other_letters_stay_other_letters(one, other) -> None:
    """A kana with its voicing mark is another letter, not an accented one."""
    assert fold.text_fold(one) != fold.text_fold(other)


def test_empty_components_at_the_end_of_a_name_do_not_count() -> None:
    """PS3.5 6.2.1: trailing delimiters may be left out; a key with ^* also finds who has no given name."""
    assert fold.name_fold("DOE^JANE^^^") == fold.name_fold("Doe ^ Jane") == ("doe^jane^", "", "")
    assert glob_match(fold.group_fold("DOE^*"), fold.name_fold("DOE")[0])
    assert not glob_match(fold.group_fold("DOE^*"), fold.name_fold("DOERING^ANN")[0])
    assert fold.name_fold("A^B=山^田=や^ま") == ("a^b^", "山^田^", "や^ま^")
    assert fold.name_fold("^^") == ("", "", "")


def test_a_folded_value_fits_an_index_entry() -> None:
    """A ligature of eighteen letters, a hundred times: still below what a btree entry holds."""
    assert len(fold.text_fold("\ufdfa" * 108).encode()) < 2600


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("20260301", "20260301", "20260301"),
        ("2026.03.01", "20260301", "20260301"),
        ("20260301-", "20260301", ""),
        ("-20260301", "", "20260301"),
        ("20260301-20260402", "20260301", "20260402"),
    ],
)
def test_dates(value, low, high) -> None:
    """PS3.4 C.2.2.2.5.1."""
    span = moments.date_span(value)
    assert (span.low, span.high) == (low, high)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("10", "100000000000", "105959999999"),
        ("1015", "101500000000", "101559999999"),
        ("101530", "101530000000", "101530999999"),
        ("10:15:30.5", "101530500000", "101530599999"[:7] + "99999"),
        ("08-1015", "080000000000", "101559999999"),
        ("-235960", "", "235960999999"),
    ],
)
def test_times(value, low, high) -> None:
    """PS3.4 C.2.2.2.5.2; a time without seconds means the whole minute."""
    span = moments.time_span(value)
    assert (span.low, span.high) == (low, high)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("2026", "20260101000000000000", "20261231235959999999"),
        ("202602", "20260201000000000000", "20260228235959999999"),
        ("20260301101530+0100", "20260301091530000000", "20260301091530999999"),
        ("2026030110-2026030112", "20260301100000000000", "20260301125959999999"),
        ("-2025", "", "20251231235959999999"),
        ("20260301000000-0500-", "20260301050000000000", ""),
    ],
)
def test_date_times(value, low, high) -> None:
    """PS3.4 C.2.2.2.5.3: the offset from UTC counts."""
    span = moments.datetime_span(value)
    assert (span.low, span.high) == (low, high)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (moments.date_span, "20261301"), (moments.date_span, "20260230"), (moments.date_span, "yesterday"),
        (moments.date_span, "-"), (moments.date_span, "20260101-20250101"), (moments.date_span, "1-2-3"),
        (moments.date_span, "2026*"), (moments.time_span, "25"), (moments.time_span, "1"), (moments.time_span, "1061"),
        (moments.time_span, "12-11"), (moments.datetime_span, "202613"), (moments.datetime_span, "20260301.5"),
        (moments.datetime_span, "x-y"), (moments.datetime_span, "2026030"),
    ],
)  # fmt: skip
def test_what_is_no_moment_says_so_without_the_value(read, value) -> None:
    """D6: "anything else unparsable: A900 with comment"; the comment holds nothing from the peer."""
    with pytest.raises(moments.MomentError) as refused:
        read(value)
    assert value not in str(refused.value) or value == "-"


def test_wildcards_take_no_more_than_linear_time() -> None:
    """`*a*a*a*...b` against a long run of a: what makes a backtracking regular expression hang."""
    before = time.monotonic()
    assert not glob_match("*a" * 60 + "b", "a" * 5000)
    assert time.monotonic() - before < 1


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [("a*c", "abc", True), ("a?c", "ac", False), ("*", "", True), ("?", "", False), ("a**", "a", True), ("*b", "ab c", False)],
)
def test_wildcards(pattern, text, is_match) -> None:
    """PS3.4 C.2.2.2.4."""
    assert glob_match(pattern, text) is is_match


def test_like_takes_the_peers_signs_as_letters() -> None:
    r"""% and _ and \ are letters to a peer."""
    assert like_pattern("10%_a\\*b?") == "10\\%\\_a\\\\%b_"


@pytest.mark.parametrize(("vr", "value"), [("IS", "x"), ("DS", "1A"), ("UI", "1.2.*"), ("DA", "202"), ("US", "1.5")])
def test_values_that_the_vr_does_not_have_are_refused(vr, value) -> None:
    """"Malformed values -> 0xA900 with a comment without PHI"."""
    with pytest.raises(QueryError):
        key_test(vr, Key(0, vr, value))


@pytest.mark.parametrize("terms", ["", "utf_7", "ISO_IR 999", "rot13", "ISO 2022 IR 999\\ISO 2022 IR 87"])
def test_unknown_character_sets_are_not_looked_up(terms) -> None:
    """A term of the peer never reaches Python's codec registry, and one we don't know means: choose yourself."""
    assert character_set_make(terms) is None


def test_no_character_set_loses_a_letter() -> None:
    """"answers in the character set asked for": only when it holds the text; read back it is the same text."""
    latin = character_set_make("ISO_IR 100")
    assert latin is not None
    assert latin.encode("Müller", "PN") == "Müller".encode("latin-1")
    japanese = character_set_make("\\ISO 2022 IR 87")
    assert japanese is not None
    assert japanese.encode("Yamada^Tarou=山田^太郎=やまだ^たろう", "PN") == (
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    )
    for charset, text in ((latin, "山田"), (japanese, "Müller"), (japanese, "홍길동")):
        with pytest.raises(UnfitError):
            charset.encode(text, "PN")
    both = character_set_make("\\ISO 2022 IR 100\\ISO 2022 IR 87")
    assert both is not None
    for text in ("Müller^山田", "山田=Müller^é"):
        assert decode_bytes(both.encode(text, "PN"), ["iso8859", "latin_1", "iso2022_jp"], PN_DELIMS) == text


def test_the_conformance_statement_lists_every_key() -> None:
    """"`docs/conformance/dicom.md`: ... tested against" the code: each level's keys are those of the engine."""
    page = (Path(__file__).resolve().parents[2] / "docs/conformance/dicom.md").read_text(encoding="utf-8")
    for level in attributes.Level:
        row = next(line for line in page.splitlines() if line.startswith(f"| {level.name} |"))  # C-FIND's table comes first
        listed = {int(group + element, 16) for group, element in re.findall(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", row)}
        assert listed == {a.tag for a in attributes.ATTRIBUTES.values() if a.level == level}


def test_attributes_are_those_of_the_dictionary() -> None:
    """VRs as PS3.6 has them, and nothing that would make the header walk go through a document of 100 MB."""
    for attribute in attributes.ATTRIBUTES.values():
        for tag, vr in ((attribute.tag, attribute.vr), *attribute.items):
            assert dictionary_VR(tag) == vr
    assert max(WANTED) < 0x00420000
