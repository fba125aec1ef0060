"""Names, ages, times: the words of portal.words that pages put beside each other. No browser is needed for these."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from ai.selectors import AiState
from portal import words
from portal.templatetags import portal_words
from portal.timeline import Hop

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def study(**facts: Any) -> Any:
    patient = {"patient_id": "", "birth_date": "", "sex": ""}
    given = {"study_date": "", "study_time": "", "patient_age": "", "utc_offset": "", **facts}
    return SimpleNamespace(patient=SimpleNamespace(**{name: given.pop(name, value) for name, value in patient.items()}), **given)


@pytest.mark.parametrize(("name", "said"), [
    ("DOE^JANE", "DOE, JANE"),
    ("DOE^JANE^MARY^Dr.^PhD", "DOE, JANE MARY"),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田 太郎) (やまだ たろう)"),
    ("=山田^太郎=", "山田 太郎"),
    ("^JANE", "JANE"),
    ("BABY OF DOE^^", "BABY OF DOE"),
    ("", "(no name)"),
    ("^^=^", "(no name)"),
])  # fmt: skip
def test_names(name: str, said: str) -> None:
    """"`DOE, Jane`" (B3.9); groups of PS3.5 6.2.1.1 that say nothing leave no brackets."""
    assert words.patient_name(name) == said


@pytest.mark.parametrize(("facts", "said"), [
    ({"patient_age": "054Y", "sex": "F"}, "F 54 y"),
    ({"patient_age": "006M"}, "6 mo"),
    ({"patient_age": "003W"}, "3 wk"),
    ({"patient_age": "000D", "sex": "M"}, "M 0 d"),
    ({"patient_age": "000Y", "birth_date": "19600102", "study_date": "20260101"}, "65 y"),
    ({"birth_date": "19600102", "study_date": "20260102"}, "66 y"),
    ({"birth_date": "20250115", "study_date": "20260114"}, "11 mo"),
    ({"birth_date": "20260227", "study_date": "20260301"}, "2 d"),
    ({"birth_date": "20260302", "study_date": "20260301"}, ""),
    ({"birth_date": "19510000", "study_date": "20260301", "sex": "F"}, "F"),
    ({"birth_date": "1951", "study_date": "20260301"}, ""),
    ({"patient_age": "54", "birth_date": "19600102"}, ""),
])  # fmt: skip
def test_sex_and_age(facts: dict[str, str], said: str) -> None:
    """"DOB with age": what the modality says comes first; dates that are not whole give no age rather than a guess."""
    assert words.sex_age(study(**facts)) == said


def test_the_line_under_the_name() -> None:
    """Number shortened, birth date in words; each part keeps together where the column is narrow."""
    said = words.patient_line(study(patient_id="MRN-20451234", birth_date="19600102"))
    assert said == "MRN\u00a0…1234 · born\u00a002\u00a0Jan\u00a01960"
    assert words.patient_line(study(patient_id="77")) == "MRN\u00a077 · no\u00a0birth\u00a0date"


@pytest.mark.parametrize(("seconds", "said"), [
    (-5, "just now"), (59, "just now"), (60, "1 min ago"), (3599, "59 min ago"), (3600, "1 h ago"), (86400 * 2 - 1, "47 h ago"),
    (86400 * 2, "2 d ago"),
])  # fmt: skip
def test_elapsed(seconds: int, said: str) -> None:
    """"Elapsed ("12 min") beside absolute"; a clock that runs ahead is no negative time."""
    assert words.since_words(timezone.now() - timedelta(seconds=seconds, milliseconds=200)) == said


@pytest.mark.parametrize(("seconds", "said"), [
    (0.04, "0.0 s"), (1.24, "1.2 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"),
    (273_600, "3 d 4 h"),
])  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert words.duration_words(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(("offset", "said"), [
    ("", "01 Mar 2026 10:15 (device time)"), ("-0600", "01 Mar 2026 10:15 UTC-06:00"), ("+0000", "01 Mar 2026 10:15 UTC"),
    ("junk", "01 Mar 2026 10:15 junk"),
])  # fmt: skip
def test_exam_time(offset: str, said: str) -> None:
    """"DICOM times without offset are marked"."""
    assert words.exam_time(study(study_date="20260301", study_time="101500.25", utc_offset=offset)) == said


def test_only_what_needs_somebody_calls() -> None:
    """"not eligible (why)" is a fact about the study: no colour of alarm; a failure has one."""
    assert words.ai_words(AiState("note", "not_eligible", "modality is CR")).kind == "off"
    assert words.ai_words(AiState("bad", "failed")).kind == "bad"


def test_steps_of_the_timeline() -> None:
    """Each hop's time since the one before; what ran beside another, or has not happened, claims none."""
    start = timezone.now().replace(hour=12)
    at = [start, start + timedelta(seconds=1.2), None, start + timedelta(seconds=1), start + timedelta(days=1)]
    hops = [Hop(key="report" if n == 4 else "k", label="", at=moment) for n, moment in enumerate(at)]
    steps = portal_words.steps(hops)
    assert [step.since for step in steps] == ["", "+1.2 s", "", "", "+23 h 59 min"]
    assert [step.has_date for step in steps] == [True, False, False, False, True]
    assert portal_words.way_words(hops) == "1 d 0 h"
    assert portal_words.way_words(hops[:4]) == ""
