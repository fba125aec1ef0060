"""Property tests of matching (PS3.4 C.2.2.2), by hypothesis: what PostgreSQL and Python find is what a plain reading finds."""

import re
from datetime import date, timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imaging.query import fold, moments
from imaging.query.match import glob_match, group_regex, like_pattern

pytestmark = pytest.mark.database
LETTERS = st.text(alphabet=st.sampled_from("abAB öÖéß山やß^%_\\.[](){}+-$|#&~/!'\""), max_size=12)
PATTERNS = st.text(alphabet=st.sampled_from("abAB öé山^%_\\.[]()+-$|*?"), max_size=10)
ANY_TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)
DAYS = st.dates(min_value=date(1850, 1, 1), max_value=date(2150, 12, 31))
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ASKING = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def naive(pattern: str, text: str) -> bool:
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), text, re.S) is not None


def da(day: date) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}"


@QUICK
@given(PATTERNS, LETTERS)
def test_a_wildcard_in_python_is_a_plain_wildcard(pattern: str, text: str) -> None:
    """"Property tests (hypothesis) on matching": * any run, ? one character, everything else itself."""
    assert glob_match(pattern, text) == naive(pattern, text)


@ASKING
@given(PATTERNS, st.lists(LETTERS, min_size=1, max_size=20))
def test_a_wildcard_in_the_database_is_a_plain_wildcard(pattern: str, texts: list[str]) -> None:
    """The same pattern as LIKE, with its prefix range, and as a regular expression inside one name group."""
    start = re.split(r"[*?]", pattern, maxsplit=1)[0]
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT t LIKE %s, t COLLATE "C" >= %s AND t COLLATE "C" < %s, (\'=\' || t || \'=\') ~ %s FROM unnest(%s::text[]) t',
            [like_pattern(pattern), start, start + "\U0010ffff", f"^={group_regex(pattern)}=$", texts],
        )
        for text, (is_like, is_in_range, is_regex) in zip(texts, cursor.fetchall(), strict=True):
            assert is_like == naive(pattern, text)
            assert is_regex == naive(pattern, text)
            assert is_in_range or not is_like, "the range that an index serves leaves nothing out"


@QUICK
@given(ANY_TEXT)
def test_folding_is_stable_and_takes_no_case(text: str) -> None:
    """What a row holds and what a key asks for fold to the same, whatever the case, and folding again changes nothing."""
    folded = fold.text_fold(text)
    assert fold.text_fold(folded) == folded
    assert len(folded) <= fold.FOLDED_CHARS
    if text.isascii():
        assert fold.text_fold(text.upper()) == fold.text_fold(text.lower()) == folded


@QUICK
@given(DAYS, DAYS, DAYS)
def test_a_range_of_dates_holds_its_days_and_no_other(low: date, high: date, day: date) -> None:
    """"ranges": both ends count, an open end is open, and a range that ends before it begins is refused."""
    key = moments.date_key(da(day))
    assert moments.span_holds(moments.date_span(f"{da(low)}-"), key) == (day >= low)
    assert moments.span_holds(moments.date_span(f"-{da(high)}"), key) == (day <= high)
    assert moments.span_holds(moments.date_span(da(low)), key) == (day == low)
    if low <= high:
        assert moments.span_holds(moments.date_span(f"{da(low)}-{da(high)}"), key) == (low <= day <= high)
    else:
        with pytest.raises(moments.MomentError):
            moments.date_span(f"{da(low)}-{da(high)}")


@QUICK
@given(st.times(), st.times(), st.times())
def test_a_range_of_times_holds_its_moments(low, high, at) -> None:
    """Times to the microsecond; a less precise end means all of what it names."""
    text = [t.strftime("%H%M%S.%f") for t in (low, high, at)]
    key = moments.time_key(text[2])
    if low <= high:
        assert moments.span_holds(moments.time_span(f"{text[0]}-{text[1]}"), key) == (low <= at <= high)
    assert moments.span_holds(moments.time_span(text[2][:4]), key), "an hour and minute hold their seconds"
    assert moments.span_holds(moments.time_span(f"-{text[2][:2]}"), key), "until an hour means to its end"


@QUICK
@given(st.text(alphabet="0123456789-.:+ *", max_size=30))
def test_what_is_no_date_or_time_is_refused_and_never_raises_otherwise(text: str) -> None:
    """"`*` as key on DA/TM/DT crashes" (dcm4chee#431): here a value is read or refused."""
    for read in (moments.date_span, moments.time_span, moments.datetime_span):
        try:
            span = read(text)
        except moments.MomentError:
            continue
        assert not (span.low and span.high) or span.low <= span.high + "~"


@QUICK
@given(DAYS, st.integers(0, 400))
def test_day_arithmetic_of_ranges(day: date, days: int) -> None:
    """A range across months and years holds each day in it."""
    span = moments.date_span(f"{da(day)}-{da(day + timedelta(days=days))}")
    assert moments.span_holds(span, moments.date_key(da(day + timedelta(days=days // 2))))
    assert not moments.span_holds(span, moments.date_key(da(day + timedelta(days=days + 1))))
