"""What is counted of job rows: local figures, the registry, the usage ledger."""

import csv
import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ai.governance.figures import WINDOW, figures_read
from ai.governance.registry import registry_read
from ai.governance.usage import usage_csv, usage_read
from tests.ai.governance.rows import jobs_end, link, study_take
from tests.ai.test_api import Api

pytestmark = pytest.mark.database

CHICAGO = ZoneInfo("America/Chicago")


def test_figures_of_job_rows(mercy, olaf) -> None:
    """"median turnaround, runs, failure and not-analysable rate from Job rows, one grouped query; fewer than 20 cases reads "too few"."""
    study, theirs = study_take(mercy), study_take(olaf)
    with olaf.scope():
        jobs_end(theirs, link("viz-ai"), ["failed"] * 40)
    with mercy.scope():
        viz, now = link("viz-ai"), timezone.now()
        states = ["done"] * 18 + ["not_analysable"] * 2 + ["failed"] * 4 + ["quarantined"] + ["refused", "cancelled", "queued", "sent"]
        jobs_end(study, viz, states, seconds=42)
        jobs_end(study, viz, ["done"] * 3, algorithm="lvo-triage", seconds=600)
        jobs_end(study, viz, ["failed"] * 30, algorithm="aaa-triage", ended=now - WINDOW - timedelta(days=1))
        with CaptureQueriesContext(connection) as queries:
            found = figures_read(now=now)
        assert len(queries) == 1
        ich = found["viz-ai", "ich-triage"]
        assert (ich.runs, ich.answered, ich.median_seconds) == (25, 20, pytest.approx(42, abs=0.1))
        assert (ich.failure_share, ich.not_analysable_share) == (0.2, 0.1)
        lvo = found["viz-ai", "lvo-triage"]
        assert (lvo.runs, lvo.is_few, lvo.median_seconds, lvo.failure_share) == (3, True, None, None)
        assert found["viz-ai", ""].runs == 28
        assert ("viz-ai", "aaa-triage") not in found


def test_the_registry_lists_what_may_run_and_what_ran(mercy, olaf) -> None:
    """"every algorithm of connected platforms with version(s) seen in results, intended use, stage, last run, number of runs"."""
    study = study_take(mercy)
    with mercy.scope():
        viz = link("viz-ai", stage="shadow")
        jobs_end(study, viz, ["done", "failed", "refused"], version="2.1")
        jobs_end(study, viz, ["not_analysable"], version="2.2", first=9)
        jobs_end(study, viz, ["done"], algorithm="no-longer-there", version="1")
        link("idx-dr", is_enabled=False)
        rows = {(row.connection.platform, row.algorithm): row for row in registry_read()}
        ich = rows["viz-ai", "ich-triage"]
        assert (ich.versions, ich.runs, ich.stage, ich.card.title) == (("2.1", "2.2"), 3, "shadow", "Viz ICH")
        assert ich.last_run_at is not None
        assert ich.card.intended_use
        assert (rows["viz-ai", "lvo-triage"].runs, rows["viz-ai", "lvo-triage"].last_run_at) == (0, None)
        assert rows["viz-ai", "no-longer-there"].card is None
        assert rows["idx-dr", "dr-autonomous"].stage == "off"
        assert len(rows) == 6
    with olaf.scope():
        assert registry_read() == []


def test_what_counts_and_what_does_not(mercy, olaf) -> None:
    """"runs that count (ended done or not analysable), not counted (failed, refused, cancelled, duplicates of the same pixels)"."""
    study, other, theirs = study_take(mercy), study_take(mercy), study_take(olaf)
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    with olaf.scope():
        jobs_end(theirs, link("viz-ai"), ["done"] * 5, ended=now)
    with mercy.scope():
        viz, aidoc, drafts = link("viz-ai"), link("aidoc"), link("cloud-temple")
        states = ["done", "not_analysable", "failed", "quarantined", "refused", "cancelled", "queued", "sent"]
        jobs_end(study, viz, states, ended=now)
        # Of these one counts, and two repeat it.
        jobs_end(study, viz, ["failed", "done", "done", "not_analysable"], digest="a" * 64, first=20, ended=now)
        jobs_end(other, viz, ["done"], digest="a" * 64, ended=now)  # another study: not the same objects
        jobs_end(study, aidoc, ["done"], digest="a" * 64, ended=now)
        jobs_end(study, drafts, ["done", "done"], algorithm="impression-draft", digest="b" * 64, ended=now)  # words, not pixels
        # 23:30 on the last of October in Chicago is November in UTC
        jobs_end(study, aidoc, ["done"], first=50, ended=datetime(2026, 11, 1, 4, 30, tzinfo=UTC))
        rows = usage_read(now=now.astimezone(CHICAGO), zone="America/Chicago", months=3)
        found = {(f"{row.month:%Y-%m}", row.platform): row for row in rows}
        mine = found["2026-11", "viz-ai"]
        assert (mine.counted, mine.repeats, mine.failed, mine.refused, mine.cancelled) == (4, 2, 3, 1, 1)
        assert (found["2026-11", "aidoc"].counted, found["2026-10", "aidoc"].counted) == (1, 1)
        assert (found["2026-11", "cloud-temple"].counted, found["2026-11", "cloud-temple"].repeats) == (2, 0)
        assert len(found) == 4
        table = list(csv.DictReader(io.StringIO(usage_csv(rows=rows))))
        assert table[0]["month"] == "2026-11"
        assert sum(int(row["counted"]) for row in table) == 8
        assert [row.platform for row in usage_read(now=now.astimezone(CHICAGO), zone="America/Chicago", platform="aidoc")] == ["aidoc"] * 2


def test_usage_over_the_api(client, mercy, olaf) -> None:
    """"Usage ledger per platform and month ... page + API + CSV"; what a parameter cannot mean is an error."""
    study = study_take(mercy)
    with mercy.scope():
        jobs_end(study, link("viz-ai"), ["done", "failed"])
    [row] = Api(client, mercy, "radiologist").ask("GET", "usage").json()["items"]
    assert (row["platform"], row["counted"], row["failed"], row["repeats"]) == ("viz-ai", 1, 1, 0)
    admin = Api(client, mercy, "admin")
    assert [admin.ask("GET", f"usage?{text}").status_code for text in ("months=0", "months=x", "platform=x")] == [400] * 3
    assert Api(client, olaf, "admin").ask("GET", "usage").json()["items"] == []
    assert Api(client, mercy, "auditor").ask("GET", "usage").status_code == 403
