"""Modality Worklist (PS3.4 Annex K): what a modality asks, whose steps it gets, which of them; with dcmtk and pynetdicom."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pynetdicom.sop_class import ModalityWorklistInformationFind

from imaging.describe import PatientFacts
from imaging.orders import OrderFacts, StepFacts, order_upsert
from imaging.query.keys import QueryError
from imaging.query.rows import QueryTooWideError
from imaging.worklist.attributes import ORDER_ATTRIBUTES, STEP_ATTRIBUTES, STEPS
from imaging.worklist.query import WorklistQuery, _plan_make, worklist_parse, worklist_rows
from journal.audit import Actor
from journal.models import AuditEvent
from tests.conftest import hospital_make
from tests.imaging.test_dimse_peers import peer
from tests.imaging.test_query_peers import STUDY_FIND, allow, ask, asking, serving

pytestmark = [pytest.mark.database, pytest.mark.peers]
WORKLIST = ModalityWorklistInformationFind
ACTOR = Actor(name="user:test")
JANE = PatientFacts(issuer="", patient_id="P1", name="DOE^JANE", birth_date="19600102", sex="F")


@pytest.fixture(scope="module")
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


def order(hospital: Any, accession: str, *steps: StepFacts, patient: PatientFacts = JANE, **facts: Any) -> Any:
    made = OrderFacts(accession_number=accession, patient=patient, steps=steps or None, **facts)
    with hospital.scope():
        return order_upsert(actor=ACTOR, facts=made)


def step(**facts: Any) -> StepFacts:
    return StepFacts(**{"modality": "CT", "station": "CT1", "start_date": "20260705", "start_time": "1015", **facts})


def keys(step_keys: dict[str, Any] | None = None, **order_keys: Any) -> Dataset:
    ds, item = Dataset(), Dataset()
    for keyword, value in {"AccessionNumber": "", **order_keys}.items():
        setattr(ds, keyword, value)
    for keyword, value in (step_keys or {}).items():
        setattr(item, keyword, value)
    ds.ScheduledProcedureStepSequence = [item]
    return ds


def answers(association: Any, asked: Dataset) -> list[Dataset]:
    found = list(association.send_c_find(asked, WORKLIST))
    assert found[-1][0].Status == 0, (hex(found[-1][0].Status), found[-1][0].get("ErrorComment"))
    assert all(status.Status == 0xFF00 for status, _ in found[:-1])
    return [ds for _, ds in found[:-1]]


def numbers(association: Any, step_keys: dict[str, Any] | None = None, **order_keys: Any) -> list[str]:
    return [str(ds.AccessionNumber) for ds in answers(association, keys(step_keys, **order_keys))]


@pytest.fixture
def asked(listener, mercy) -> Iterator[Any]:
    """An association of a CT that may ask for the worklist, and nothing else."""
    allow(mercy, "worklist")
    with asking(listener, mercy, WORKLIST) as association:
        yield association


DAY = {
    "A1": step(start_time="0830", performer="MEIER^KURT", description="CT of the chest", location="ROOM 2"),
    "A2": step(start_time="1015", modality="MR", station="MR1"),
    "A3": step(start_date="20260706", start_time="0700"),
    "A4": step(start_date="20260707", start_time="1800", station=""),
}


@pytest.fixture
def day(mercy) -> None:
    for accession, one in DAY.items():
        order(mercy, accession, one)


@pytest.mark.parametrize(
    ("step_keys", "order_keys", "found"),
    [
        ({}, {}, "A1 A2 A3 A4"),
        ({"ScheduledStationAETitle": "CT1"}, {}, "A1 A3"),
        ({"ScheduledStationAETitle": "?T1", "Modality": "CT"}, {}, "A1 A3"),
        ({"ScheduledStationAETitle": "*"}, {}, "A1 A2 A3 A4"),
        ({"Modality": "MR"}, {}, "A2"),
        ({"ScheduledProcedureStepStartDate": "20260705"}, {}, "A1 A2"),
        ({"ScheduledProcedureStepStartDate": "20260706-"}, {}, "A3 A4"),
        ({"ScheduledProcedureStepStartDate": "-20260706"}, {}, "A1 A2 A3"),
        ({"ScheduledProcedureStepStartDate": "20260706-20260707"}, {}, "A3 A4"),
        ({"ScheduledProcedureStepStartTime": "08-0930"}, {}, "A1"),
        ({"ScheduledProcedureStepStartDate": "20260705", "ScheduledProcedureStepStartTime": "10-"}, {}, "A2"),
        ({"ScheduledProcedureStepStartDate": "20260705-20260707", "ScheduledProcedureStepStartTime": "1000-1800"}, {}, "A2 A3 A4"),
        ({"ScheduledPerformingPhysicianName": "meier*"}, {}, "A1"),
        ({"ScheduledProcedureStepDescription": "*chest"}, {}, "A1"),
        ({"ScheduledProcedureStepLocation": "room 2"}, {}, "A1"),
        ({}, {"PatientName": "doe^j*"}, "A1 A2 A3 A4"),
        ({}, {"PatientName": "ROE"}, ""),
        ({}, {"PatientID": "P1", "AccessionNumber": "A3"}, "A3"),
        ({}, {"PatientID": "P2"}, ""),
        ({}, {"AccessionNumber": "a?"}, "A1 A2 A3 A4"),
        ({}, {"RequestedProcedureID": "A4"}, "A4"),
        ({"Modality": "CT"}, {"PatientBirthDate": "19600101-19601231", "PatientSex": "F"}, "A1 A3 A4"),
    ],
)
def test_keys_of_the_worklist(asked, day, step_keys, order_keys, found) -> None:
    """"every key of PS3.4 ... ranges, wildcards only where the VR has them"; two ranges of date and time are one period (K.6-1)."""
    assert numbers(asked, step_keys, **order_keys) == found.split()


def test_values_that_their_vr_does_not_have_are_refused(asked, day) -> None:
    """"wildcards only where the VR has them": a date with one is none, and A900 says so without the value."""
    for step_keys, order_keys in (
        ({"ScheduledProcedureStepStartTime": "25"}, {}),
        ({"ScheduledProcedureStepStartTime": "12-10"}, {}),
        ({}, {"StudyInstanceUID": "1.2.*"}),
    ):
        found = list(asked.send_c_find(keys(step_keys, **order_keys), WORKLIST))
        assert [status.Status for status, _ in found] == [0xA900]
    two = keys({"Modality": "CT"})
    two.ScheduledProcedureStepSequence.append(Dataset())
    assert [status.Status for status, _ in asked.send_c_find(two, WORKLIST)] == [0xA900]


FULL = OrderFacts(
    accession_number="A9", issuer="RIS", status="active", procedure_id="RP9", description="CT of the chest with contrast",
    study_uid="1.2.826.0.1.99", referrer="REF^ANNA", requester="REQ^BEN", patient=replace(JANE, issuer="HOSP"),
    attributes={
        "MedicalAlerts": "pacemaker", "Allergies": "iodine", "PatientWeight": "72.5", "PregnancyStatus": 4,
        "RequestedProcedurePriority": "STAT", "AdmissionID": "V1", "CurrentPatientLocation": "WARD 3",
        "PlacerOrderNumberImagingServiceRequest": "PL1", "FillerOrderNumberImagingServiceRequest": "FI1",
        "ReasonForTheRequestedProcedure": "cough",
        "RequestedProcedureCodeSequence": [{"CodeValue": "CTCH", "CodingSchemeDesignator": "99RIS", "CodeMeaning": "CT chest"}],
    },
    steps=[step(
        step_id="S1", performer="PER^CARL", description="chest, venous", location="ROOM 1", status="ARRIVED",
        attributes={
            "RequestedContrastAgent": "iohexol", "PreMedication": "none", "ScheduledStationName": "CT in room 1",
            "ScheduledProtocolCodeSequence": [{"CodeValue": "P1", "CodingSchemeDesignator": "99X", "CodeMeaning": "venous"}],
        },
    )],
)  # fmt: skip


def test_all_that_an_order_holds_comes_back(listener, mercy) -> None:
    """"all keys of PS3.4 table K.6-1 that we hold": each returned as it was ordered, codes in codes, in both syntaxes."""
    allow(mercy, "worklist")
    with mercy.scope():
        order_upsert(actor=ACTOR, facts=FULL)
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        asked_for = keys({keyword_for_tag(tag): "" for tag in STEP_ATTRIBUTES if tag != 0x00400008})
        asked_for.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence = []
        for tag, attribute in ORDER_ATTRIBUTES.items():
            if tag != STEPS:
                setattr(asked_for, keyword_for_tag(tag), [] if attribute.vr == "SQ" else "" if attribute.vr != "US" else None)
        with asking(listener, mercy, WORKLIST, syntaxes=[syntax]) as association:
            (found,) = answers(association, asked_for)
        one = found.ScheduledProcedureStepSequence[0]
        assert [found.AccessionNumber, found.RequestedProcedureID, found.StudyInstanceUID] == ["A9", "RP9", "1.2.826.0.1.99"]
        assert [found.IssuerOfPatientID, found.PatientBirthDate, found.PatientSex] == ["HOSP", "19600102", "F"]
        assert [found.ReferringPhysicianName, found.RequestingPhysician] == ["REF^ANNA", "REQ^BEN"]
        assert found.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
        assert found.RequestedProcedureCodeSequence[0].CodeValue == "CTCH"
        assert found.PregnancyStatus == 4
        for keyword, value in FULL.attributes.items():
            if keyword not in {"RequestedProcedureCodeSequence", "PregnancyStatus"}:
                assert str(found[keyword].value) == value, keyword
        assert [one.ScheduledStationAETitle, one.Modality, one.ScheduledProcedureStepID] == ["CT1", "CT", "S1"]
        assert [one.ScheduledProcedureStepStartDate, one.ScheduledProcedureStepStartTime] == ["20260705", "1015"]
        assert [one.ScheduledPerformingPhysicianName, one.ScheduledProcedureStepStatus] == ["PER^CARL", "ARRIVED"]
        assert one.ScheduledProtocolCodeSequence[0].CodeMeaning == "venous"
        assert one.RequestedContrastAgent == "iohexol"
        assert list(found.keys()) == sorted(found.keys())


def test_an_empty_sequence_asks_for_all_of_it(asked, mercy) -> None:
    """PS3.4 C.2.2.2.6: a key sequence without an item returns the step whole; an item returns what it names, other keys empty."""
    with mercy.scope():
        order_upsert(actor=ACTOR, facts=FULL)
    bare = Dataset()
    bare.ScheduledProcedureStepSequence = []
    (found,) = answers(asked, bare)
    assert {element.tag for element in found.ScheduledProcedureStepSequence[0]} == set(STEP_ATTRIBUTES)
    (found,) = answers(asked, keys({"Modality": ""}))
    assert [element.keyword for element in found.ScheduledProcedureStepSequence[0]] == ["Modality"]
    statuses = [status.Status for status, _ in asked.send_c_find(keys({"Modality": "", "AcquisitionNumber": ""}), WORKLIST)]
    assert statuses == [0xFF01, 0]  # a key that is not supported


def test_codes_and_further_keys_match(asked, mercy) -> None:
    """Sequence matching inside the sequence, and keys that no index serves."""
    with mercy.scope():
        order_upsert(actor=ACTOR, facts=FULL)
    order(mercy, "A1", step())
    asked_for = keys({"Modality": "CT"})
    code = Dataset()
    code.CodeValue = "P1"
    asked_for.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence = [code]
    assert [ds.AccessionNumber for ds in answers(asked, asked_for)] == ["A9"]
    assert numbers(asked, RequestedProcedurePriority="stat") == ["A9"]
    assert numbers(asked, PatientWeight="72.5", RequestedProcedureDescription="*contrast") == ["A9"]
    assert numbers(asked, RequestedProcedurePriority="LOW") == []


def test_what_is_done_or_revoked_is_not_shown(asked, mercy) -> None:
    """"completed/revoked steps not shown": by the order's status, and by the step's."""
    for accession, status in (("A1", "active"), ("A2", "on-hold"), ("A3", "completed"), ("A4", "revoked")):
        order(mercy, accession, step(), status=status)
    for accession, status in (("B1", "ARRIVED"), ("B2", "COMPLETED"), ("B3", "CANCELLED"), ("B4", "STARTED")):
        order(mercy, accession, step(status=status))
    assert numbers(asked) == ["A1", "B1", "B4"]
    order(mercy, "A2", status="active")  # its steps stay
    order(mercy, "A1", status="revoked")
    assert numbers(asked) == ["A2", "B1", "B4"]


@pytest.mark.parametrize(
    ("name", "asked_in", "answered_in", "key"),
    [
        ("MÜLLER^JÖRG", "ISO_IR 100", "ISO_IR 100", "muller^j*"),
        ("MÜLLER^JÖRG", "", "ISO_IR 192", "MUL*"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"], ["", "ISO 2022 IR 87"], "yamada*"),
        ("Wang^XiaoDong=王^小东", "GB18030", "GB18030", "wang*"),
        ("Buc^Jérôme", "ISO_IR 144", "ISO_IR 192", "buc^jerome"),
    ],
)
def test_answers_in_the_character_set_asked_for(asked, mercy, name, asked_in, answered_in, key) -> None:
    """"answers in the character set asked for", also inside the sequence; else UTF-8; found without case and accents."""
    order(mercy, "A1", step(description="Schädel", performer=name), patient=replace(JANE, name=name))
    asked_for = keys({"ScheduledPerformingPhysicianName": ""}, PatientName=key)
    if asked_in:
        asked_for.SpecificCharacterSet = asked_in
    (found,) = answers(asked, asked_for)
    sets = found.SpecificCharacterSet
    assert (sets if isinstance(sets, str) else [part or "" for part in sets]) == answered_in
    found.decode()
    assert str(found.PatientName) == name
    assert str(found.ScheduledProcedureStepSequence[0].ScheduledPerformingPhysicianName) == name


def test_dcmtk_asks_like_a_modality(listener, mercy, day) -> None:
    """Peers: "dcmtk findscu -W with keys as a modality sends"."""
    allow(mercy, "worklist")
    sent = [
        "-W", "-k", "0010,0010", "-k", "0010,0020", "-k", "0008,0050", "-k", "0040,1001", "-k", "0020,000D",
        *(part for name, value in (
            ("ScheduledStationAETitle", "CT1"), ("ScheduledProcedureStepStartDate", "20260705-20260706"), ("Modality", "CT"),
            ("ScheduledProcedureStepStartTime", ""), ("ScheduledProcedureStepDescription", ""), ("ScheduledProtocolCodeSequence", ""),
        ) for part in ("-k", f"(0040,0100)[0].{name}={value}")),
    ]  # fmt: skip
    said = peer("findscu", listener.port, *sent, called=mercy.called_ae, calling=mercy.calling_ae)
    assert said.startswith("exit 0"), said
    assert said.count("DOE^JANE") == 2
    assert "CT of the chest" in said
    assert "[A2" not in said


def test_a_worklist_is_cancelled(listener, many) -> None:
    """"C-CANCEL honoured within one answer": dcmtk cancels behind the third of 3001; what was under way comes, the rest does not."""
    allow(many, "worklist")
    options = ("-W", "--cancel", "3", "-k", "0008,0050", "-k", "(0040,0100)[0].Modality=CT")
    said = peer("findscu", listener.port, *options, called=many.called_ae, calling=many.calling_ae)
    assert said.startswith("exit 0"), said[-500:]
    assert "Received Final Find Response (Cancel" in said, said[-500:]
    assert 3 <= said.count("Find Response") < 2000


def test_a_node_needs_leave(listener, mercy) -> None:
    """"node flag is_worklist_allowed; deny by default": a query of the archive is another leave than the worklist."""
    order(mercy, "A1", step())
    with asking(listener, mercy, WORKLIST) as association:  # a new node may store
        found = list(association.send_c_find(keys(), WORKLIST))
        words = "this AE title may not ask for the worklist here"
        assert [(status.Status, status.ErrorComment) for status, _ in found] == [(0x0124, words)]
    allow(mercy, "find")
    with asking(listener, mercy, WORKLIST, STUDY_FIND) as association:
        assert [status.Status for status, _ in association.send_c_find(keys(), WORKLIST)] == [0x0124]
        assert ask(association, "STUDY") == []
    allow(mercy, "worklist")
    with asking(listener, mercy, WORKLIST, STUDY_FIND) as association:
        assert numbers(association) == ["A1"]
        study = Dataset()
        study.QueryRetrieveLevel = "STUDY"
        assert [status.Status for status, _ in association.send_c_find(study, STUDY_FIND)] == [0x0124]


def test_two_hospitals_have_two_worklists(listener, mercy, olaf) -> None:
    """"tenant walls": the same accession number and patient in both, each sees its own; each query is recorded by ids."""
    order(mercy, "A1", step(description="of mercy"))
    order(olaf, "A1", step(description="of olaf"))
    order(olaf, "A2", step())
    for hospital, words, count in ((mercy, "of mercy", 1), (olaf, "of olaf", 2)):
        allow(hospital, "worklist")
        with asking(listener, hospital, WORKLIST) as association:
            found = answers(association, keys({"ScheduledProcedureStepDescription": ""}, AccessionNumber="A1"))
            assert [ds.ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription for ds in found] == [words]
            assert len(numbers(association, PatientName="DOE*")) == count
        with hospital.scope():
            event = AuditEvent.objects.get(action="dicom.worklist")
            assert (event.actor, event.object_type, event.detail) == (f"ae:{hospital.calling_ae}", "Association", {"level": "WORKLIST"})


MANY = """
INSERT INTO imaging_order (tenant_id, id, accession_number, issuer, patient_id, status, procedure_id, description, study_uid, referrer,
  requester, extra, accession_key, procedure_id_key, referrer_key, requester_key, created_at, changed_at)
SELECT %(tenant)s, g, 'B' || g, '', %(patient)s, 'active', '', '', '', '', '', '', 'b' || g, '', '', '', now(), now()
FROM generate_series(1, 3000) g;
INSERT INTO imaging_scheduledstep (tenant_id, id, order_id, step_id, modality, station, start_date, start_time, performer, description,
  location, status, extra, station_key, started_key, time_key, performer_key, is_listed)
SELECT %(tenant)s, g, g, '1', 'CT', 'CT' || g %% 10, '20260705', '', '', '', '', 'SCHEDULED', '', 'ct' || g %% 10,
  '20260705' || lpad((g %% 1440)::text, 12, '0'), '', '', true
FROM generate_series(1, 3000) g
"""


@pytest.fixture(scope="module")
def many() -> Any:
    hospital = hospital_make("many")
    made = order(hospital, "A1", step(start_date="20200101"))
    with hospital.scope(), connection.cursor() as cursor:
        cursor.execute(MANY, {"tenant": hospital.tenant.id, "patient": made.patient_id})
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE imaging_order, imaging_scheduledstep, imaging_patient")
    return hospital


def parsed(ds: Dataset) -> WorklistQuery:
    from pynetdicom.dsutils import encode

    return worklist_parse(encode(ds, True, True) or b"", transfer_syntax_uid="1.2.840.10008.1.2")


def test_pages_by_keyset_are_whole(many) -> None:
    """"keyset, no query in a loop": 3001 steps in pages, each once, in the order of the day; statements by pages, not by rows."""
    from django.test.utils import CaptureQueriesContext

    query = parsed(keys({"ScheduledProcedureStepStartDate": ""}))
    with CaptureQueriesContext(connection) as statements:
        found = [row.values[0] for page in worklist_rows(query, tenant_id=many.tenant.id) for row in page]
    assert len(found) == len(set(found)) == 3001
    assert len([s for s in statements.captured_queries if "imaging_scheduledstep" in s["sql"]]) == 7
    with pytest.raises(QueryTooWideError):
        list(worklist_rows(query, tenant_id=many.tenant.id, limit=1000))


@pytest.mark.parametrize(
    ("step_keys", "condition"),
    [
        ({"ScheduledStationAETitle": "CT3", "ScheduledProcedureStepStartDate": "20260705"}, "station_key = 'ct3'"),
        ({"ScheduledProcedureStepStartDate": "20260701-20260702"}, "started_key >= '20260701'"),
    ],
)
def test_an_index_serves_the_day_of_a_station(many, step_keys, condition) -> None:
    """"index on (tenant_id, station, start)": behind the wall, as the app role's planner sees it."""
    plan = _plan_make(parsed(keys(step_keys)))
    with many.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('random_page_cost', '1.1', true)")
        cursor.execute(f"EXPLAIN {plan.sql()}", plan.all_params(many.tenant.id, ("", 0), 100))
        lines = [line.strip() for (line,) in cursor.fetchall()]
    used = [line for line in lines if line.startswith("Index Cond") and "tenant_id" in line]
    assert any(condition in line.replace("(", "").replace("::text", "") for line in used), "\n".join(lines)


@pytest.mark.parametrize("encoded", [b"\x08\x00\x50\x00\xff\xff\xff\x7f", b"\x40\x00\x00\x01SQ\x00\x00\xff\xff\xff\xff"])
def test_broken_identifiers_are_refused(encoded) -> None:
    """Everything from outside is hostile: what is no data set is refused in our words."""
    with pytest.raises(QueryError):
        worklist_parse(encoded, transfer_syntax_uid="1.2.840.10008.1.2.1")


def test_the_conformance_statement_lists_every_key_of_the_worklist() -> None:
    """`docs/conformance/dicom.md` against the code, and the code against PS3.6."""
    page = (Path(__file__).resolve().parents[2] / "docs/conformance/dicom.md").read_text(encoding="utf-8")
    for where, known in (("order", ORDER_ATTRIBUTES), ("step", STEP_ATTRIBUTES)):
        [row] = [line for line in page.splitlines() if line.startswith(f"| {where} |")]
        listed = {int(group + element, 16) for group, element in re.findall(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", row)}
        assert listed == set(known)
        for attribute in known.values():
            for tag, vr in ((attribute.tag, attribute.vr), *attribute.items):
                assert dictionary_VR(tag) == vr
