"""The figures against what can be counted by hand, and against a published interval."""

from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from ai.insights.figures import insights_read
from ai.insights.queries import HOPS, KINDS, Span, cases_read, counts_read, span_cut
from ai.insights.statistics import drift_of, share_of
from tests.ai.insights.crowd import crowd_make


def month(days: int = 30) -> Span:
    now = timezone.now()
    return Span(since=now - timedelta(days=days), until=now + timedelta(minutes=1))


def test_wilson_as_published() -> None:
    """"PPV with interval": 81 of 263 is 0.2553 to 0.3662 (Newcombe 1998, table I, method 3)."""
    share = share_of(count=81, total=263)
    assert (round(share.low or 0, 4), round(share.high or 0, 4)) == (0.2553, 0.3662)


@given(total=st.integers(20, 5000), data=st.data())
def test_an_interval_holds_its_share(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    share = share_of(count=count, total=total)
    assert share.low is not None
    assert share.high is not None
    assert 0 <= share.low <= count / total + 1e-12
    assert count / total - 1e-12 <= share.high <= 1


@pytest.mark.parametrize("total", [0, 1, 19])
def test_fewer_than_twenty_is_no_figure(total: int) -> None:
    """"fewer than 20 cases shows "too few"": in rates and in drift."""
    assert share_of(count=total, total=total).is_too_few
    assert drift_of(name="x", now={"a": total}, before={"a": 500}).word == "too-few"


def test_drift_in_words() -> None:
    """PSI by hand: (0.5 - 0.9) ln(0.5 / 0.9) + (0.5 - 0.1) ln(0.5 / 0.1) = 0.8789."""
    assert drift_of(name="x", now={"a": 50, "b": 50}, before={"a": 90, "b": 10}).index == pytest.approx(0.8789, abs=1e-4)
    assert drift_of(name="x", now={"a": 50}, before={"a": 90}).word == "steady"
    assert drift_of(name="x", now={"a": 62, "b": 38}, before={"a": 50, "b": 50}).word == "steady"
    assert drift_of(name="x", now={"a": 70, "b": 30}, before={"a": 50, "b": 50}).word == "shifting"
    assert drift_of(name="x", now={"new": 50}, before={"a": 90}).word == "changed"


@pytest.mark.database
def test_counted_as_by_hand(mercy, olaf) -> None:
    """"Concordance, PPV with interval, turnaround p50/p95 per hop, failure and not-analysable rate ... per platform and site"."""
    crowd_make(mercy, count=15, action="accept", is_positive=True)
    crowd_make(mercy, count=3, action="correct", reason="wrong-value", is_positive=True, institution="North")
    crowd_make(mercy, count=4, action="reject", reason="false-positive", is_positive=True)
    crowd_make(mercy, count=2, action="reject", reason="poor-input", is_positive=True)  # says nothing about the claim
    crowd_make(mercy, count=1, is_positive=True)  # nobody decided
    crowd_make(mercy, count=5, state="failed")
    crowd_make(mercy, count=2, state="quarantined")
    crowd_make(mercy, count=3, state="not_analysable")
    crowd_make(mercy, count=1, state="queued")
    crowd_make(olaf, count=25, action="reject", reason="false-positive", is_positive=True)
    with mercy.scope(), CaptureQueriesContext(connection) as queries:
        [found] = insights_read(span=month())
    assert len(queries) <= 6, "a few statements however many jobs"
    assert (found.jobs, found.decided, found.corrected, found.rejected) == (36, 24, 3, 6)
    assert (found.concordance.count, found.concordance.total) == (15, 24)
    assert found.ppv is not None
    assert (found.ppv.count, found.ppv.total) == (18, 22)
    assert (found.failures.count, found.failures.total) == (7, 35)
    assert (found.not_analysable.count, found.not_analysable.total) == (3, 35)
    sites = {one.site: one for one in found.sites}
    assert {name: one.jobs for name, one in sites.items()} == {"Mercy": 33, "North": 3}
    assert sites["North"].concordance.is_too_few
    hops = {hop.name: hop for hop in found.hops}
    assert (hops["received-completed"].p50, hops["received-completed"].p95) == (30, 30)
    assert (hops["completed-sent"].p50, hops["answered-issued"].p95, hops["issued-reviewed"].p50) == (10, 2, 3600)
    minutes = sorted(10 * n for count in (15, 3, 4, 2, 1) for n in range(1, count + 1))
    assert hops["sent-answered"].cases == 25
    assert hops["sent-answered"].p50 == minutes[12] * 60
    place = 0.95 * 24
    wanted = (minutes[22] + (place - 22) * (minutes[23] - minutes[22])) * 60
    assert hops["sent-answered"].p95 == pytest.approx(wanted)


@pytest.mark.database
def test_drift_of_this_month_against_the_quarter_before(mercy) -> None:
    """"input drift per platform and site": thinner slices since four weeks are seen, the same device is not."""
    crowd_make(mercy, count=25, thickness=1.0, days_ago=10)
    crowd_make(mercy, count=25, thickness=5.0, days_ago=60)
    crowd_make(mercy, count=40, thickness=1.0, days_ago=200)  # too long ago
    with mercy.scope():
        [found] = insights_read(span=month())
    drift = {one.name: one for one in found.drift}
    assert {name: one.word for name, one in drift.items()} == {
        "thickness": "changed", "kernel": "steady", "manufacturer": "steady", "age": "steady",
    }  # fmt: skip
    assert (drift["thickness"].now, drift["thickness"].before) == ({"to 1 mm": 25}, {"to 5 mm": 25})
    assert drift["age"].now == {"40-59": 25}


@pytest.mark.database
def test_each_figure_has_its_cases(mercy, olaf) -> None:
    """"figures traceable (each links to the list of its cases without PHI in the address)": as many cases as the figure counts."""
    crowd_make(mercy, count=3, action="accept", is_positive=True)
    crowd_make(mercy, count=2, action="reject", reason="false-positive", is_positive=True, institution="North")
    crowd_make(mercy, count=2, state="failed")
    asked = {"platform": "medhub-quantify", "algorithm": "lung-density-mask"}
    with mercy.scope():
        counts = {kind: len(cases_read(span=month(), kind=kind, **asked)) for kind in KINDS}
        [north, _] = cases_read(span=month(), kind="rejected", site="North", **asked)
        assert (north.site, north.action, north.reason) == ("North", "reject", "false-positive")
        slow = [one.seconds for one in cases_read(span=month(), kind="sent-answered", **asked)]
        assert slow == sorted(slow, reverse=True)
        page = cases_read(span=month(), kind="all", size=4, **asked)
        rest = cases_read(span=month(), kind="all", size=4, before=page[-1].id, **asked)
        assert len({one.id for one in (*page, *rest)}) == 7
    with olaf.scope():
        assert cases_read(span=month(), kind="all", **asked) == []
    assert counts == {
        "all": 7, "ended": 7, "failed": 2, "not-analysable": 0, "decided": 5, "accepted": 3, "corrected": 0, "rejected": 2, "claims": 5,
        "claims-right": 3, **dict.fromkeys(HOPS, 5), "received-completed": 7, "completed-sent": 7,
    }  # fmt: skip


@pytest.mark.database
def test_a_page_counts_the_last_days_of_a_large_hospital(mercy, olaf) -> None:
    """What somebody waits for is bounded in jobs, by whole days, and found by indexes behind the wall, however old the archive is."""
    crowd_make(mercy, count=3, days_ago=9)
    crowd_make(mercy, count=4, days_ago=4)
    crowd_make(olaf, count=9, days_ago=2)
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE ai_job, ai_decision, ai_result, ai_report, imaging_study")
    span = month()
    with mercy.scope():
        assert span_cut(span=span, most=7) == span
        cut = span_cut(span=span, most=6)
        assert counts_read(span=cut)[0].jobs == 4
        assert timezone.localtime(cut.since).strftime("%H:%M:%S.%f") == "00:00:00.000000"
        assert span_cut(span=span, most=3).since > cut.since
        with CaptureQueriesContext(connection) as captured:
            span_cut(span=span)
            counts_read(span=span)
        with connection.cursor() as cursor:
            # Small tables are read whole, and sorted, when they may be; are indexes able to?
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            plans = []
            for query in captured:
                cursor.execute("EXPLAIN " + query["sql"].replace("%", "%%"))
                plans.append("\n".join(line for (line,) in cursor.fetchall()))
    bounded, counted = plans
    assert "Backward using job_by_creation on ai_job" in bounded, bounded
    assert "created_at >=" in bounded.split("Index Cond")[1], bounded
    assert "Seq Scan" not in counted, counted
