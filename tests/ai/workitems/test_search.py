"""Searching the worklist: keys, ranges, pages, and who sees what."""

import pytest

from ai.workitems import selectors
from tests.ai.performing import body, connection_make, integrator, item, job_make, performer, uid, workitem_make

pytestmark = pytest.mark.database


@pytest.fixture
def filled(mercy):
    """Four of the hospital's own, by the number in their labels."""
    client = integrator(mercy)
    made = {}
    for number, changes in enumerate((
        {}, {"x00741202": "HEAD", "x00741200": "LOW"}, {"x00404005": "20261201080000+0200"}, {"x00404041": "UNAVAILABLE"},
    )):  # fmt: skip
        found = body(x00741204=f"step {number}", **changes)
        found["00404018"] = item(f"CODE{number}")
        found["00100010"] = {"vr": "PN", "Value": [{"Alphabetic": "DOE^JANE"}]}
        made[client.create(found)] = number
    first = next(iter(made))
    client.put(first, "IN PROGRESS", uid())
    return client, made


def found_by(client, made, query: str) -> set[int]:
    answer = client.call("GET", f"/workitems?{query}")
    assert answer.status_code == 200, answer.content
    return {made[one["00080018"]["Value"][0]] for one in answer.json()}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {0, 1, 2, 3}),
        ("ProcedureStepState=SCHEDULED", {1, 2, 3}),
        ("00741000=IN PROGRESS", {0}),
        ("ProcedureStepState=SCHEDULED,IN PROGRESS", {0, 1, 2, 3}),
        ("WorklistLabel=HEAD", {1}),
        ("WorklistLabel=HE*", {1}),
        ("ProcedureStepLabel=step ?", {0, 1, 2, 3}),
        ("ProcedureStepLabel=[s]tep 1", set()),
        ("ScheduledProcedureStepPriority=HIGH", {0, 2, 3}),
        ("InputReadinessState=UNAVAILABLE", {3}),
        ("ScheduledStationNameCodeSequence.CodeValue=STA1", {0, 1, 2, 3}),
        ("00404018.00080100=CODE2", {2}),
        ("ScheduledWorkitemCodeSequence.CodeValue=NONE", set()),
        ("ScheduledProcedureStepStartDateTime=20261201-", {2}),
        ("ScheduledProcedureStepStartDateTime=-20261130", {0, 1, 3}),
        ("ScheduledProcedureStepStartDateTime=20261201060000", {2}),
        ("PatientName=doe*", {0, 1, 2, 3}),
        ("PatientID=P2", set()),
        ("StudyInstanceUID=1.2.840.1.1,1.2.3", {0, 1, 2, 3}),
        ("ProcedureStepState=SCHEDULED&WorklistLabel=CHEST&InputReadinessState=READY", {2}),
    ],
)
def test_by_key(filled, query, expected) -> None:
    """"search ... (QIDO-like query keys incl. ScheduledProcedureStepState, Worklist Label, station name code, input readiness, dates)"."""
    client, made = filled
    assert found_by(client, made, query) == expected


def test_pages_and_fields(filled) -> None:
    """limit, offset and includefield; earliest scheduled first; more is said in a Warning, 200 and [] where nothing matches."""
    client, made = filled
    first = client.call("GET", "/workitems?limit=3")
    assert "more matches" in first.headers["Warning"]
    rest = client.call("GET", "/workitems?limit=3&offset=3")
    assert "Warning" not in rest.headers
    order = [made[one["00080018"]["Value"][0]] for one in first.json() + rest.json()]
    assert sorted(order[:3]) == [0, 1, 3]
    assert order[3] == 2
    assert "00404021" not in first.json()[0]
    client.create({**body(), "00404021": {"vr": "SQ"}, "00741210": {"vr": "SQ"}})
    found = client.call("GET", "/workitems?includefield=InputInformationSequence&ProcedureStepLabel=Read chest").json()
    assert "00404021" in found[0]
    assert "00741210" not in found[0]
    assert "00741210" in client.call("GET", "/workitems?includefield=all&ProcedureStepLabel=Read chest").json()[0]
    assert client.call("GET", "/workitems?PatientID=nobody").json() == []
    xml = client.call("GET", "/workitems", accept="application/dicom+xml")
    assert xml.headers["Content-Type"].startswith("multipart/related")


@pytest.mark.parametrize(
    "query",
    ["limit=x", "offset=-1", "NoSuchKeyword=1", "a.b.c.d.e=1", "ScheduledProcedureStepStartDateTime=soon",
     "ScheduledStationNameCodeSequence=1",
     "PatientName=a%00b", "&".join(f"PatientID={n}" for n in range(40))],
)  # fmt: skip
def test_what_cannot_be_asked(mercy, query) -> None:
    """400 for a parameter that is none, without its value."""
    answer = integrator(mercy).call("GET", f"/workitems?{query}")
    assert answer.status_code == 400, answer.content
    assert b"soon" not in answer.content


def test_a_search_has_a_limit(filled, monkeypatch) -> None:
    """What would look at too many rows is told to narrow itself."""
    client, _ = filled
    monkeypatch.setattr(selectors, "SCANNED", 2)
    assert client.call("GET", "/workitems?ProcedureStepLabel=x").status_code == 413


def test_a_performer_sees_its_own(mercy) -> None:
    """A performer's worklist is that of its connection, one job's token that of the job."""
    links = [connection_make(mercy), connection_make(mercy, "vendor-b")]
    jobs = [job_make(mercy, links[0], "a"), job_make(mercy, links[0], "b"), job_make(mercy, links[1], "a")]
    mine = [workitem_make(mercy, job) for job in jobs]
    integrator(mercy).create()

    def seen(client) -> list[str]:
        return sorted(one["00080018"]["Value"][0] for one in client.call("GET", "/workitems").json())

    assert seen(performer(mercy, links[0])) == sorted(mine[:2])
    assert seen(performer(mercy, links[1])) == mine[2:]
    assert seen(performer(mercy, links[0], job=jobs[1].uuid)) == [mine[1]]
    assert len(seen(integrator(mercy))) == 4
