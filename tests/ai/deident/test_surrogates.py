"""Same key, same surrogate; another key, nothing in common."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ai.deident.surrogates import SHIFT_DAYS, Keys, date_shift, keys_derive
from imaging.header import uid_is_valid
from tests.ai.deident.objects import KEYS, OTHER_KEYS

ORIGINAL = "1.2.826.0.1.3680043.8.498.7701"


def test_uids_are_keyed() -> None:
    """"keyed reversible UIDs": 2.25 and 128 bits of HMAC, the same for retries and late images, unlinkable with another key."""
    surrogate = KEYS.uid(ORIGINAL)
    assert re.fullmatch(r"2\.25\.[1-9][0-9]{0,38}", surrogate)
    assert surrogate == Keys(KEYS.secret).uid(ORIGINAL) != OTHER_KEYS.uid(ORIGINAL)
    assert int(surrogate[5:]) < 2**128
    assert KEYS.secret.decode() not in repr(KEYS)


@given(st.text(max_size=70))
def test_whatever_is_in_a_uid_becomes_a_valid_one(text: str) -> None:
    assert uid_is_valid(KEYS.uid(text))
    assert KEYS.uid(f"1.2.840.10008.5.{text}x") != f"1.2.840.10008.5.{text}x"


def test_an_instance_under_the_root_of_dicom_is_mapped() -> None:
    assert KEYS.uid("1.2.840.10008.5.1.4.1.1.2.20260301101500.4711").startswith("2.25.")


@pytest.mark.parametrize("uid", [
    CTImageStorage, ExplicitVRLittleEndian, "1.2.840.10008.1.4.1.1", "1.2.840.10008.15.1.1", "2.16.840.1.113883.6.96",
    "1.2.840.10008.7.1.1", "1.2.840.10008.1.20.1",
])  # fmt: skip
def test_standard_uids_are_never_mapped(uid: str) -> None:
    assert KEYS.uid(uid) == uid


def test_identifiers_fit_and_do_not_meet() -> None:
    told = [KEYS.identifier(kind, "4711") for kind in ("patient", "accession", "study_id")]
    assert len(set(told)) == 3
    assert all(re.fullmatch("[A-Z2-7]{16}", one) for one in told)
    assert told[0] == KEYS.identifier("patient", "4711") != OTHER_KEYS.identifier("patient", "4711")


def test_a_connection_has_keys_of_its_own() -> None:
    keys = {keys_derive(b"master" * 8, tenant_id=t, connection_id=c).uid(ORIGINAL) for t in (1, 12) for c in (2, 1, 22)}
    assert len(keys) == 6
    with pytest.raises(ValueError, match="32 bytes"):
        Keys(b"short")


@given(st.text(max_size=64))
def test_a_patient_has_one_offset(patient: str) -> None:
    assert KEYS.shift_days(patient) in SHIFT_DAYS
    assert 1 <= SHIFT_DAYS[0] <= SHIFT_DAYS[-1] <= 3650
    assert KEYS.shift_days(patient) == Keys(KEYS.secret).shift_days(patient)


@pytest.mark.parametrize(("text", "days", "moved"), [
    ("20260301", -1, "20260228"), ("20260301", -3650, "20160303"), ("2026.03.01", -1, "20260228"),
    ("20260301101500.123456+0100", -60, "20251231101500.123456+0100"), ("2026030110", -1, "2026022810"), ("202603", -1, "202602"),
    ("2026", -1, "2025"), ("00010101", -1, None), ("99991231", 1, None), ("20261301", -1, None), ("DOE^JANE", -1, None),
    ("20260301DOE", -1, None), ("20260301-20260302", -1, None), ("", -1, None), ("20260301+0100", -1, "20260228+0100"),
])  # fmt: skip
def test_dates_move_and_times_stay(text: str, days: int, moved: str | None) -> None:
    assert date_shift(text, days) == moved


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(1, 3650))
def test_a_shift_comes_back(day: date, days: int) -> None:
    text = f"{day:%Y%m%d}"
    assert date_shift(date_shift(text, -days) or "", days) == text
