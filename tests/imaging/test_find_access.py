"""Who may ask, whose rows answer, what is recorded; text of all character sets; and that indexes serve under the wall."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections
from pydicom import dcmread
from pynetdicom.sop_class import CTImageStorage

from imaging.models import Node, Patient, Study
from imaging.query.keys import Key, query_parse
from imaging.query.plan import plan_make
from journal.models import AuditEvent
from tests.conftest import hospital_make
from tests.dicom_files import ct_slice, part10, series_of
from tests.imaging.test_dimse_peers import real_file
from tests.imaging.test_query_peers import (
    PATIENT_FIND,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    allow,
    ask,
    asking,
    fill,
    identifier,
    refusal,
    serving,
)

pytestmark = [pytest.mark.database, pytest.mark.peers]
NAME, STUDY_DATE = 0x00100010, 0x00080020


@pytest.fixture
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


# text


@pytest.mark.parametrize(
    ("file", "keys", "charset"),
    [
        ("jp-ir87", ("yamada*", "山田^太郎", "やまだ*", "*たろう", "Yamada^Tarou=山田*"), "\\ISO 2022 IR 87"),
        ("cn-gb18030", ("WANG*", "王^*", "Wang^XiaoDong=王^小东"), "GB18030"),
        ("kr-ir149", ("hong^GILDONG", "洪*", "홍^길동", "홍*"), "\\ISO 2022 IR 149"),
        ("arabic-ir127", ("قباني^لنزار", "قباني*"), "ISO_IR 127"),
        ("cyrillic-ir144", ("люкc*", "ЛЮКCEМБYPГ"), "ISO_IR 144"),
        ("hebrew-ir138", ("שרון^דבורה", "שרון*", "*דבורה"), "ISO_IR 138"),
    ],
)
def test_names_of_every_character_set(listener, mercy, file, keys, charset) -> None:
    """"all three PN groups findable"; "answers in the character set asked for", else in UTF-8: always the name as it was sent."""
    ds = dcmread(real_file(f"charset/{file}.dcm"))
    fill(mercy, [ds, ct_slice(PatientID="OTHER", PatientName="NOBODY^ELSE")])
    allow(mercy)
    with asking(listener, mercy) as a:
        for key in keys:
            asked = identifier("STUDY", SpecificCharacterSet="ISO_IR 192", PatientName=key)
            found = [answer for status, answer in a.send_c_find(asked, STUDY_FIND) if status.Status == 0xFF00]
            assert [answer.PatientName for answer in found] == [ds.PatientName], key
            assert found[0].SpecificCharacterSet == "ISO_IR 192"
        for asked_in, answered_in in ((charset.split("\\"), charset.split("\\")), (["ISO_IR 100"], ["ISO_IR 192"])):
            found = ask(a, "STUDY", SpecificCharacterSet=asked_in, PatientName="", PatientID=ds.PatientID)
            sets = found[0].SpecificCharacterSet
            assert [part or "" for part in ([sets] if isinstance(sets, str) else sets)] == answered_in
            found[0].decode()
            assert str(found[0].PatientName) == str(ds.PatientName)


def test_plain_text_needs_no_character_set(listener, mercy) -> None:
    """"else a set that can hold the text (ISO_IR 6, else 192)"."""
    fill(mercy, [ct_slice(), ct_slice(PatientID="P2", PatientName="MÜLLER^JÖRG", SpecificCharacterSet="ISO_IR 100")])
    allow(mercy)
    with asking(listener, mercy) as a:
        assert "SpecificCharacterSet" not in ask(a, "STUDY", PatientID="P1", PatientName="")[0]
        for asked, answered in (("ISO_IR 6", "ISO_IR 192"), ("ISO_IR 100", "ISO_IR 100"), ("ISO_IR 144", "ISO_IR 192")):
            found = ask(a, "STUDY", SpecificCharacterSet=asked, PatientName="muller^*")[0]
            assert (found.SpecificCharacterSet, str(found.PatientName)) == (answered, "MÜLLER^JÖRG")


# whose


def test_two_hospitals_see_nothing_of_each_other(listener, mercy, olaf) -> None:
    """"two hospitals see nothing of each other": the same UIDs in both, each finds its own; a stranger's title gets nowhere."""
    ds = ct_slice(StudyDescription="of mercy")
    fill(mercy, [ds])
    ds.StudyDescription = "of olaf"
    fill(olaf, [ds, ct_slice(PatientID="ONLY-OLAF")])
    for hospital, words, count in ((mercy, "of mercy", 1), (olaf, "of olaf", 2)):
        allow(hospital)
        with asking(listener, hospital) as a:
            found = ask(a, "STUDY", StudyInstanceUID=ds.StudyInstanceUID, StudyDescription="")
            assert [s.StudyDescription for s in found] == [words]
            assert len(ask(a, "STUDY", PatientName="*")) == count
            assert len(ask(a, "STUDY", PatientID="ONLY*")) == count - 1
            patients = ask(a, "PATIENT", model=PATIENT_FIND, NumberOfPatientRelatedInstances="")
            assert sum(p.NumberOfPatientRelatedInstances for p in patients) == count


def test_below_its_level_a_patient_id_counts_its_case(listener, mercy) -> None:
    """"unique keys": `p1` and `P1` are two people; a search finds both, but the studies of one are not the other's."""
    fill(mercy, [ct_slice(PatientID=number, PatientName=f"N^{number}") for number in ("p1", "P1")])
    allow(mercy)
    with asking(listener, mercy) as a:
        assert {p.PatientID for p in ask(a, "PATIENT", model=PATIENT_FIND, PatientID="P1")} == {"p1", "P1"}
        for number in ("p1", "P1"):
            assert [s.PatientName for s in ask(a, "STUDY", model=PATIENT_FIND, PatientID=number, PatientName="")] == [f"N^{number}"]


def test_a_study_without_objects_is_not_found(listener, mercy) -> None:
    """A study whose only object was put aside has a row and no images: nobody could retrieve it."""
    first = ct_slice()
    fill(mercy, [first])
    fill(mercy, [ct_slice(SeriesInstanceUID=first.SeriesInstanceUID, PatientID="P2")])
    allow(mercy)
    with mercy.scope():
        assert Study.objects.count() == 2
    with asking(listener, mercy) as a:
        assert len(ask(a, "STUDY")) == 1
        assert [p.PatientID for p in ask(a, "PATIENT", model=PATIENT_FIND, PatientID="")] == ["P1"]


# who


def test_a_node_may_do_what_is_set_and_nothing_else(listener, mercy) -> None:
    """"query/retrieve allowed only where set"; "0x0124 when the node may not"; and an AE that may only ask cannot store."""
    ds = ct_slice()
    fill(mercy, [ds])
    keys = {"StudyInstanceUID": ds.StudyInstanceUID}
    classes = (STUDY_FIND, STUDY_MOVE, STUDY_GET, CTImageStorage)
    with asking(listener, mercy, *classes) as a:  # a new node may store
        assert refusal(a, "STUDY") == (0x0124, "this AE title may not find here")
        moved = next(iter(a.send_c_move(identifier("STUDY", **keys), "ANY", STUDY_MOVE)))[0]
        got = next(iter(a.send_c_get(identifier("STUDY", **keys), STUDY_GET)))[0]
        assert (moved.Status, got.Status) == (0x0124, 0x0124)
    allow(mercy, "find")
    with asking(listener, mercy, *classes) as a:
        assert len(ask(a, "STUDY", **keys)) == 1
        part10(ds)
        assert a.send_c_store(ds).Status == 0x0124
        assert next(iter(a.send_c_get(identifier("STUDY", **keys), STUDY_GET)))[0].Status == 0x0124
    with mercy.scope():
        Node.objects.update(is_find_allowed=False)
    from pynetdicom import AE

    ae = AE(ae_title=mercy.calling_ae)
    ae.add_requested_context(STUDY_FIND)
    assert ae.associate("127.0.0.1", listener.port, ae_title=mercy.called_ae).is_rejected  # may nothing: may not call


def test_each_query_is_recorded_by_ids(listener, mercy) -> None:
    """"Each C-FIND and retrieve is audited (journal.audit.audit_record, ids only)"; 45 CFR 164.312(b)."""
    fill(mercy, series_of(2, PatientName="SECRET^NAME", PatientID="SECRET-ID"))
    allow(mercy)
    for _ in range(2):
        with asking(listener, mercy) as a:
            for _ in range(3):
                ask(a, "STUDY", PatientName="SECRET*", PatientID="SECRET-ID")
    with mercy.scope():
        events = list(AuditEvent.objects.filter(action="dicom.find"))
    assert len(events) == 2  # one an association and five minutes
    for event in events:
        assert (event.actor, event.object_type, event.detail) == (f"ae:{mercy.calling_ae}", "Association", {"level": "STUDY"})
        assert event.address == "127.0.0.1"
        assert event.trace_id
        assert "SECRET" not in f"{event.object_id} {event.detail}"


def test_node_add_sets_services_and_place_and_keeps_the_rest(mercy, capsys) -> None:
    """"`node_add` gains `--services store,find,move,get` default store"; idempotent; "also moves a node to a new port"."""
    def facts() -> tuple[Any, ...]:
        with mercy.scope():
            n = Node.objects.get(ae_title="WS1")
        return n.is_store_allowed, n.is_find_allowed, n.is_move_allowed, n.is_get_allowed, n.host, n.port, n.addresses

    call_command("node_add", hospital=mercy.slug, ae="WS1")
    assert facts() == (True, False, False, False, "", None, [])
    call_command("node_add", hospital=mercy.slug, ae="WS1", services="find,move", host="ws1.example", port=104, address="10.0.0.9")
    assert facts() == (False, True, True, False, "ws1.example", 104, ["10.0.0.9"])
    call_command("node_add", hospital=mercy.slug, ae="WS1", port=11112)
    assert facts() == (False, True, True, False, "ws1.example", 11112, ["10.0.0.9"])
    call_command("node_add", hospital=mercy.slug, ae="WS1", address="any")
    assert facts()[-1] == []
    assert "find, move" in capsys.readouterr().out
    for wrong in ({"services": "find,delete"}, {"port": 70000}):
        with pytest.raises(CommandError):
            call_command("node_add", hospital=mercy.slug, ae="WS1", **wrong)


# how fast, and from before

MANY = """
INSERT INTO imaging_patient (tenant_id, id, uuid, issuer, patient_id, variant, name, birth_date, sex, extra, name_key,
  name_ideographic_key, name_phonetic_key, patient_id_key)
SELECT %(tenant)s, g, gen_random_uuid(), '', 'P' || g, '', 'N' || g, '', '', '', 'n' || g || '^', '', '', 'p' || g
FROM generate_series(1, 4000) g;
INSERT INTO imaging_study (tenant_id, id, uuid, study_uid, patient_id, accession_number, accession_issuer, study_date, study_time,
  utc_offset, description, referrer, body_part, patient_age, study_identifier, extra, started_key, time_key, accession_key,
  identifier_key, description_key, referrer_key, modalities, number_of_series, number_of_instances, state, version, is_from_ai,
  trace_id, first_received_at, last_received_at)
SELECT %(tenant)s, g, gen_random_uuid(), '1.2.3.' || g, g, '', '', '', '', '', '', '', '', '', '', '',
  to_char(date '2020-01-01' + g, 'YYYYMMDD'), '', 'a' || g, 's' || g, '', '', 'CT', 1, 1, 'complete', 1, false, '', now(), now()
FROM generate_series(1, 4000) g
"""


@pytest.fixture(scope="module")
def many() -> Any:
    """A hospital with 4000 studies, written by SQL."""
    hospital = hospital_make("many")
    with hospital.scope(), connection.cursor() as cursor:
        cursor.execute(MANY, {"tenant": hospital.tenant.id})
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE imaging_patient, imaging_study")
    return hospital


@pytest.mark.parametrize(
    ("keys", "condition"),
    [
        ([Key(NAME, "PN", "smi*")], "name_key >= 'smi'"),
        ([Key(NAME, "PN", "smi*")], "name_phonetic_key >= 'smi'"),
        ([Key(NAME, "PN", "smi*th")], "name_key >= 'smi'"),
        ([Key(0x00100020, "LO", "P1")], "patient_id_key = 'p1'"),
        ([Key(0x00080050, "SH", "A17*")], "accession_key >= 'a17'"),
        ([Key(0x00200010, "SH", "S1")], "identifier_key = 's1'"),
        ([Key(STUDY_DATE, "DA", "20260301-20260302")], "started_key >= '20260301'"),
        ([Key(0x0020000D, "UI", "1.2.3\\1.2.4")], "study_uid"),
    ],
)
def test_an_index_serves_behind_the_wall(many, keys, condition) -> None:
    """"indexes begin with tenant_id, only leakproof operators in index conditions", as the app role's planner sees it."""
    plan = plan_make(query_parse(level="STUDY", keys=keys, is_patient_root=False))
    sql, params = plan.page_sql(many.tenant.id, limit=100)
    with many.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT current_user, set_config('random_page_cost', '1.1', true)")
        assert cursor.fetchone()[0] == "medhub_app"
        cursor.execute(f"EXPLAIN {sql}", params)
        lines = [line.strip() for (line,) in cursor.fetchall()]
    used = [line for line in lines if line.startswith("Index Cond") and "tenant_id" in line]
    assert any(condition in line.replace("(", "").replace("::text", "") for line in used), "\n".join(lines)


def test_rows_from_before_get_their_keys(mercy) -> None:
    """The migration folds what rows hold already, hospital by hospital, behind the wall."""
    fill(mercy, [ct_slice(PatientName="MÜLLER^JÖRG", SpecificCharacterSet="ISO_IR 100", ReferringPhysicianName="REF^A")])
    columns = ("started_key", "time_key", "accession_key", "description_key", "referrer_key")
    with mercy.scope():
        before = (Patient.objects.values_list("name_key", "patient_id_key").get(), Study.objects.values_list(*columns).get())
        Patient.objects.update(name_key="", patient_id_key="")
        Study.objects.update(**dict.fromkeys(columns, ""))
    migration = importlib.import_module("imaging.migrations.0002_query_retrieve")
    with connections["owner"].schema_editor() as editor:
        migration.keys_fill(apps, editor)
    with mercy.scope():
        after = (Patient.objects.values_list("name_key", "patient_id_key").get(), Study.objects.values_list(*columns).get())
    assert after == before == (
        ("muller^jorg^", "p1"),
        ("20260301101500000000", "101500000000", "a1", "ct chest", "=ref^a^==="),
    )
