"""Attributes that a hospital declares beyond the standard keys: "tenant-defined extra tags with a re-index job"."""

import json
import random
import time
from urllib.parse import quote

import pytest
from django.db import connection, connections
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.deletion import instances_delete
from imaging.header import header_read
from imaging.inbox import object_write
from imaging.models import Instance, QueryTag, QueryValue
from imaging.query.attributes import Level
from imaging.query.declared import DeclaredTag, DeclaredTags, _rows, declared_match, declared_values
from imaging.query.keys import Key, QueryError, query_parse
from imaging.query.match import key_test
from imaging.query.plan import plan_make
from imaging.querytags import known
from imaging.querytags import run as job
from tenants.models import DuplicatePolicy, Tenant
from tests import house
from tests.dicom_files import ct_slice, series_of, shared_file
from tests.imaging.tag_jobs import build, count, declare, warning
from tests.imaging.test_door import database_away
from tests.imaging.test_find_access import MANY
from tests.imaging.test_qido import found, get, store, value
from tests.imaging.test_query_peers import STUDY_FIND, allow, ask, asking, identifier, refusal, serving
from tests.imaging.tls_peers import ACTOR

pytestmark = pytest.mark.database

# VR -> attribute, what one object has, keys that find it, keys that don't
KINDS = {
    "AE": ("StationAETitle", "SCANNER_1", ("scanner_1", "SCAN*", "SCANNER?1"), ("SCANNER", "*2")),
    "CS": ("ScanningSequence", ["SE", "IR"], ("SE", "IR", "I*", "GR,IR", "GR&ScanningSequence=SE"), ("GR", "S")),
    "DA": ("AcquisitionDate", "20260301", ("20260301", "20260101-20260401", "-20260301", "20260301-"), ("20260302", "20260302-")),
    "DS": ("SliceThickness", "2.50", ("2.5", "2.500", "25e-1"), ("2", "2.51")),
    "DT": ("FrameReferenceDateTime", "20260301101500+0100", ("20260301091500+0000", "20260301-20260302"), ("20260302", "2025")),
    "IS": ("ExposureTime", "0500", ("500", "+500"), ("50", "501")),
    "LO": ("DeviceSerialNumber", "Gerät 7", ("GERAT 7", "gerät*", "*7"), ("GERAT", "*8")),
    "LT": ("ImageComments", "left\\right", ("left*", "*right"), ("right*",)),
    "PN": (
        "PhysiciansOfRecord", "Müller^Jürgen=山田^太郎=やまだ^たろう", ("muller^*", "山田*", "*jurgen", "mul*=山田*"),
        ("jurgen^*", "mul*=田*"),
    ),
    "SH": ("ConvolutionKernel", ["B30f", "B50f"], ("b30f", "B5*", "B50F"), ("B30", "B3?")),
    "SL": ("ReferencePixelX0", -70000, ("-70000",), ("70000",)),
    "SS": ("TagAngleSecondAxis", -5, ("-5",), ("5",)),
    "ST": ("InstitutionAddress", "1 Main St", ("1 main st", "*Main*"), ("Main",)),
    "TM": ("AcquisitionTime", "101530.5", ("1000-1030", "101530.5", "10"), ("11", "1016-")),
    "UC": ("LongCodeValue", "C-1_2%", ("c-1_2%", "C-1*"), ("C-1x2%",)),
    "UI": ("IrradiationEventUID", ["1.2.3", "1.2.4"], ("1.2.3", "9.9,1.2.4"), ("1.2", "1.2.5")),
    "UL": ("RegionFlags", 4_000_000_000, ("4000000000",), ("4",)),
    "UR": ("URNCodeValue", "urn:oid:1.2.3", ("urn:oid:1.2.3",), ("URN:OID:1.2.3", "urn:oid:1.2")),
    "US": ("BitsStored", 12, ("12", "012"), ("1", "16")),
    "UT": ("TextValue", "nothing to see", ("nothing*",), ("see",)),
}  # fmt: skip
PRIVATE_VRS = {"AS": ("042Y", "042Y", "42Y"), "SS": (-3, "-3", "3"), "LO": ("abc", "A*", "b*"), "PN": ("ROE^R", "roe^r", "r^roe")}


@pytest.mark.parametrize("vr", sorted(KINDS))
def test_every_vr_matches_as_standard_keys_do(client, mercy, vr) -> None:
    """"Matching semantics as for standard keys of that VR", what arrived before the declaration and after it."""
    keyword, stored, hits, misses = KINDS[vr]
    charset = {"SpecificCharacterSet": "ISO_IR 192"}
    before, after = (ct_slice(**charset, **{keyword: stored}) for _ in range(2))
    store(mercy, before, ct_slice(BitsStored=8, HighBit=7, SliceThickness=None))
    declare(mercy, keyword)
    store(mercy, after, ct_slice(BitsStored=8, HighBit=7, SliceThickness=None))
    build(mercy)
    for hit in hits:
        matches = found(client, mercy, f"studies?{keyword}={quote(hit, safe='&=')}")
        assert {value(match, "0020000D") for match in matches} == {before.StudyInstanceUID, after.StudyInstanceUID}, hit
    for miss in misses:
        assert count(client, mercy, f"studies?{keyword}={quote(miss, safe='&=')}") == 0, miss
    with mercy.scope():
        row = QueryTag.objects.get()
        assert (row.state, row.objects_done, row.objects_bad) == ("ready", row.objects_total, 0)
    answer = found(client, mercy, f"studies?includefield={keyword}&StudyInstanceUID={after.StudyInstanceUID}")[0][f"{row.tag:08X}"]
    json_of = json.loads(after.to_json())[f"{row.tag:08X}"]
    if vr in {"IS", "DS"}:
        assert [float(one) for one in answer["Value"]] == [float(one) for one in json_of["Value"]]
    else:
        assert answer == json_of


def test_an_undeclared_attribute_is_as_before(client, mercy) -> None:
    """"an undeclared tag keeps today's behaviour": a warning, and it matches everything."""
    store(mercy, ct_slice(SliceThickness=2))
    assert "not supported" in warning(client, mercy, "studies?SliceThickness=7")
    assert count(client, mercy, "studies?SliceThickness=7") == 1
    declare(mercy, "SliceThickness")
    build(mercy)
    assert warning(client, mercy, "studies?SliceThickness=7") == ""
    assert count(client, mercy, "studies?SliceThickness=7") == 0


def test_levels_and_any_value_of_any_object(client, mercy) -> None:
    """"A study/series/instance has the value(s) of its objects ... match if any": at the declared level and below it."""
    one, two = series_of(2)
    one.SliceThickness, two.SliceThickness = 1, 3
    one.ConvolutionKernel, two.ConvolutionKernel = ["B2", "A1"], ["C3"]
    one.ExposureTime, two.ExposureTime = 10, 20
    store(mercy, one, two, ct_slice(SliceThickness=9))
    declare(mercy, "SliceThickness", "study")
    declare(mercy, "ConvolutionKernel", "series")
    declare(mercy, "ExposureTime", "instance")
    build(mercy)
    for thickness in (1, 3):
        assert [value(s, "0020000D") for s in found(client, mercy, f"studies?SliceThickness={thickness}")] == [one.StudyInstanceUID]
        assert count(client, mercy, f"series?SliceThickness={thickness}") == 1
        assert count(client, mercy, f"instances?SliceThickness={thickness}") == 2
    assert found(client, mercy, "studies?SliceThickness=1")[0]["00180050"] == {"vr": "DS", "Value": [1, 3]}
    assert found(client, mercy, "series?ConvolutionKernel=C3")[0]["00181210"] == {"vr": "SH", "Value": ["B2", "C3", "A1"]}
    assert count(client, mercy, "instances?ConvolutionKernel=C3") == 2
    (match,) = found(client, mercy, "instances?ExposureTime=10")
    assert (value(match, "00080018"), match["00181150"]["Value"]) == (one.SOPInstanceUID, [10])
    assert "not supported" in warning(client, mercy, "studies?ExposureTime=10")
    assert "00181150" in found(client, mercy, "instances?includefield=all")[0]
    assert "00181150" not in found(client, mercy, "instances")[0]
    deep = found(client, mercy, f"studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances?ExposureTime=20&limit=1")
    assert value(deep[0], "00080018") == two.SOPInstanceUID


@pytest.mark.parametrize("vr", sorted(PRIVATE_VRS))
def test_a_private_attribute_by_its_creator(client, mercy, vr) -> None:
    """"private tags with their private creator": in whatever block an object has reserved (PS3.5 7.8.1), answered with the creator."""
    stored, hit, miss = PRIVATE_VRS[vr]
    sets = [ct_slice(), ct_slice(), ct_slice()]
    for ds, creators in zip(sets, (["ACME 1"], ["OTHER", "ACME 1"], ["OTHER"]), strict=True):
        for creator in creators:
            ds.private_block(0x0019, creator, create=True).add_new(0x10, vr, stored)
    store(mercy, sets[0])
    declare(mercy, "0019,1010", private_creator="ACME 1", vr=vr)
    store(mercy, *sets[1:])
    build(mercy)
    matches = found(client, mercy, f"studies?00191010={hit}")
    assert {value(match, "0020000D") for match in matches} == {ds.StudyInstanceUID for ds in sets[:2]}
    assert matches[0]["00190010"] == {"vr": "LO", "Value": ["ACME 1"]}
    assert matches[0]["00191010"] == json.loads(sets[0].to_json())["00191010"]
    assert count(client, mercy, f"studies?00191010={miss}") == 0
    assert count(client, mercy, f"studies?00190010=ACME 1&00191010={hit}") == 2
    assert count(client, mercy, f"studies?00190010=OTHER&00191010={hit}") == 0
    assert warning(client, mercy, f"studies?00190010=ACME 1&00191010={hit}") == ""


def test_a_private_attribute_in_implicit_vr_has_the_vr_declared() -> None:
    """Without a VR in the file the declared one counts: a number stays a number."""
    ds = Dataset()
    ds.private_block(0x0019, "ACME", create=True).add_new(0x02, "SL", [-70000, 5])
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, True
    write_dataset(target, ds)
    tags = DeclaredTags((DeclaredTag(1, 0x00191102, "SL", Level.STUDY, "ACME"),))
    header = header_read(target.getvalue(), transfer_syntax_uid="1.2.840.10008.1.2", wanted=tags.wanted)
    assert [(one.value, one.key) for one in declared_values(header, tags)] == [("-70000", "-70000"), ("5", "5")]


def test_another_hospital_sees_nothing(client, mercy, olaf) -> None:
    """"other hospital sees nothing (404 for its ids, its values never match)"."""
    for hospital in (mercy, olaf):
        store(hospital, ct_slice(SliceThickness=2))
    row = declare(mercy, "SliceThickness")
    build(mercy)
    assert "not supported" in warning(client, olaf, "studies?SliceThickness=2")
    assert client.get(f"/t/{olaf.slug}/api/v1/query-tags", headers=olaf.auth).json() == {"items": []}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/reindex")):
        assert client.generic(method, f"/t/{olaf.slug}/api/v1/query-tags/{row.id}{path}", headers=olaf.auth).status_code == 404
    with olaf.scope():
        assert not QueryValue.objects.exists()
    declare(olaf, "SliceThickness")
    assert job.query_tag_step(tenant_id=olaf.tenant.id, tag_id=row.id) is None
    build(olaf)
    assert count(client, olaf, "studies?SliceThickness=2") == count(client, mercy, "studies?SliceThickness=2") == 1


def test_what_is_deleted_or_replaced_takes_its_values_along(client, mercy) -> None:
    """A study has the values of the objects that it has now, not of those that it had."""
    one, two = series_of(2)
    one.SliceThickness, two.SliceThickness = 1, 3
    declare(mercy, "SliceThickness")
    store(mercy, one, two)
    build(mercy)
    with mercy.scope():
        instances_delete(
            actor=ACTOR, study_uid=one.StudyInstanceUID, series_uid=one.SeriesInstanceUID, instance_uid=one.SOPInstanceUID,
        )  # fmt: skip
    assert [count(client, mercy, f"studies?SliceThickness={n}") for n in (1, 3)] == [0, 1]
    Tenant.objects.filter(id=mercy.tenant.id).update(duplicate_policy=DuplicatePolicy.REPLACE)
    two.SliceThickness = 4
    store(mercy, two)
    assert [count(client, mercy, f"studies?SliceThickness={n}") for n in (1, 3, 4)] == [0, 0, 1]


def test_an_attribute_behind_a_large_one_never_costs_a_row(client, mercy) -> None:
    """A document of 2 MB lies before it: the object is stored and found, what lies behind is not looked for."""
    declare(mercy, "ListOfMIMETypes")
    declare(mercy, "SliceThickness")
    ds = ct_slice(SliceThickness=2, EncapsulatedDocument=bytes(2 << 20), ListOfMIMETypes="text/xml")
    store(mercy, ds, ct_slice(ListOfMIMETypes="text/xml"))
    assert count(client, mercy, "studies") == 2
    assert count(client, mercy, "studies?ListOfMIMETypes=text/xml") == 1
    assert [value(s, "0020000D") for s in found(client, mercy, "studies?SliceThickness=2")][0] is not None
    assert count(client, mercy, f"studies?SliceThickness=2&StudyInstanceUID={ds.StudyInstanceUID}") == 1


LETTERS = "aBé *?_%-"  # signs of SQL and of keys among few letters: much matches
MAKES = {
    "LO": lambda r: "".join(r.choice(LETTERS[:4] + "_%-") for _ in range(r.randint(1, 5))).strip() or "a",
    "PN": lambda r: "=".join("".join(r.choice("aBé^") for _ in range(r.randint(1, 4))) for _ in range(r.randint(1, 3))),
    "CS": lambda r: r.choice(("A", "AB", "B", "A_B")), "DS": lambda r: r.choice(("1", "1.0", "-1", "10e-1", "2")),
    "IS": lambda r: r.choice(("1", "01", "+1", "2", "x")), "DA": lambda r: f"2026{r.randint(1, 13):02}{r.randint(1, 3):02}",
    "TM": lambda r: r.choice(("10", "1015", "101530", "101530.25", "25")), "AS": lambda r: r.choice(("001D", "001Y")),
    "DT": lambda r: r.choice(("2026", "202601", "20260101101500", "20260101101500+0100", "nonsense")),
    "UI": lambda r: r.choice(("1.2", "1.2.3", "1.3")),
}  # fmt: skip
ASKS = {
    "LO": lambda r: "".join(r.choice(LETTERS) for _ in range(r.randint(1, 4))).strip(),
    "PN": lambda r: "=".join("".join(r.choice("abe^*?") for _ in range(r.randint(1, 4))) for _ in range(r.choice((1, 1, 2)))),
    "CS": lambda r: "\\".join(r.choice(("a", "A*", "?B", "B")) for _ in range(r.randint(1, 2))),
    "DA": lambda r: r.choice(("20260102", "20260101-20260301", "-20260201", "20260601-")),
    "TM": lambda r: r.choice(("10", "1015-1016", "-1015", "101530-")), "DT": lambda r: r.choice(("2026", "202601-", "20260101091500")),
    "UI": lambda r: r.choice(("1.2", "1.2\\1.3")),
}  # fmt: skip


@pytest.mark.parametrize("vr", sorted(MAKES))
def test_the_index_finds_what_a_plain_comparison_finds(mercy, vr) -> None:
    """"Matching semantics as for standard keys of that VR": random values and keys, the same answers as the comparison in Python."""
    chance = random.Random(vr)
    stored = [MAKES[vr](chance) for _ in range(40)]
    one = DeclaredTag(declare(mercy, "0019,1010", private_creator="ACME", vr=vr).id, 0x00191010, vr, Level.STUDY, "ACME")
    attribute = DeclaredTags((one,)).attributes[one.tag]
    rows = [(at, row) for at, text in enumerate(stored, start=1) for row in _rows(one, 0, text)]
    store(mercy, ct_slice())
    with mercy.scope(), connection.cursor() as cursor:
        instance_id = Instance.objects.get().id
        QueryValue.objects.bulk_create(
            QueryValue(query_tag_id=one.id, instance_id=instance_id, owner_id=at, number=at * 8 + row.number, value=row.value, key=row.key)
            for at, row in rows
        )
        for _ in range(60):
            key = Key(one.tag, vr, ASKS.get(vr, MAKES[vr])(chance))
            if key.is_universal or not key.value.strip("^="):
                continue
            try:
                test = key_test(vr, key)
            except QueryError:
                with pytest.raises(QueryError):
                    declared_match(attribute, key)
                continue
            match = declared_match(attribute, key)
            cursor.execute(
                f"SELECT s.id FROM (SELECT %s::bigint AS tenant_id, generate_series(1, 40)::bigint AS id) s WHERE {match.sql or 'true'}",
                [mercy.tenant.id, *match.params],
            )
            found_by_index = {found_id for (found_id,) in cursor.fetchall()}
            assert found_by_index == {at for at, text in enumerate(stored, start=1) if test(text)}, (key.value, stored)


def test_malformed_keys_are_refused(client, mercy) -> None:
    """400 for a value that the VR does not have, as for standard keys."""
    for tag in ("SliceThickness", "AcquisitionDate", "IrradiationEventUID", "BitsStored"):
        declare(mercy, tag)
    for query in ("SliceThickness=thin", "AcquisitionDate=2026", "IrradiationEventUID=1.2.*", "BitsStored=1*", "SliceThickness=1\\2"):
        assert get(client, mercy, f"studies?{query}").status_code == 400, query


def test_c_find_asks_for_it_too(mercy) -> None:
    """"and in C-FIND too": by keyword, in implicit VR, private ones with their creator, levels below; others answered empty with FF01."""
    slices = series_of(2, SliceThickness=2, BitsStored=12)
    for ds in slices:
        ds.private_block(0x0019, "ACME", create=True).add_new(0x10, "SL", -7)
    store(mercy, *slices, ct_slice(SliceThickness=3))
    declare(mercy, "SliceThickness")
    declare(mercy, "BitsStored", "instance")
    declare(mercy, "0019,1110", private_creator="ACME", vr="SL")
    build(mercy)
    allow(mercy)
    uid = slices[0].StudyInstanceUID
    with serving() as listener:
        for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
            with asking(listener, mercy, STUDY_FIND, syntaxes=[syntax]) as association:
                (match,) = ask(association, "STUDY", SliceThickness="2.0", StudyInstanceUID="")
                assert (match.StudyInstanceUID, match.SliceThickness) == (uid, 2)
                within = {"StudyInstanceUID": uid, "SeriesInstanceUID": slices[0].SeriesInstanceUID}
                assert len(ask(association, "IMAGE", BitsStored=12, SliceThickness="2", **within)) == 2
                assert ask(association, "IMAGE", BitsStored=11, **within) == []
                for number, count_of in ((-7, 1), (7, 0)):
                    asked = identifier("STUDY", StudyInstanceUID="")
                    asked.add_new(0x00190011, "LO", "ACME")
                    asked.add_new(0x00191110, "SL", number)
                    answers = list(association.send_c_find(asked, STUDY_FIND))
                    assert [status.Status for status, _ in answers] == [0xFF00] * count_of + [0]
                    assert all(ds[0x0019, 0x11].value == "ACME" for _, ds in answers[:-1])


def test_the_database_may_go_away_before_the_declarations_are_read(mercy) -> None:
    """0xA700 and a reason, as for any query; when it is back the same association works."""
    store(mercy, ct_slice(SliceThickness=2))
    allow(mercy)
    with serving() as listener, asking(listener, mercy) as association:
        known.tags_forget(mercy.tenant.id)
        with database_away():
            assert refusal(association, "STUDY", PatientID="P1")[0] == 0xA700
        assert len(ask(association, "STUDY", PatientID="P1")) == 1


OBJECTS = """
INSERT INTO imaging_series (tenant_id, id, series_uid, study_id, modality, description, body_part, laterality, manufacturer, extra,
  number_of_instances, first_received_at)
SELECT %(tenant)s, g, '1.2.4.' || g, g, 'CT', '', '', '', '', '', 10, now() FROM generate_series(1, 4000) g;
INSERT INTO imaging_instance (tenant_id, id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, series_id, study_id, frames, extra,
  key, size, sha256, dataset_sha256, scrub_result, source, received_at)
SELECT %(tenant)s, g, '1.2.5.' || g, '', '', (g + 9) / 10, (g + 9) / 10, 1, '', 'x' || g, 1, '', '', '', 0, now()
FROM generate_series(1, 40000) g;
INSERT INTO imaging_queryvalue (tenant_id, id, query_tag_id, instance_id, owner_id, number, value, key)
SELECT %(tenant)s, g, %(tag)s, g, (g + 9) / 10, 0, 'N' || (g + 9) / 10, 'n' || (g + 9) / 10 FROM generate_series(1, 40000) g
"""


def test_an_index_serves_behind_the_wall(client, mercy) -> None:
    """"under RLS only leakproof operators use an index": equality and prefix of 40,000 values, as the app role's planner sees it."""
    row = declare(mercy, "DeviceSerialNumber")
    with mercy.scope(), connection.cursor() as cursor:
        cursor.execute(MANY + ";" + OBJECTS, {"tenant": mercy.tenant.id, "tag": row.id})
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE imaging_patient, imaging_study, imaging_series, imaging_instance, imaging_queryvalue")
    attributes = known.tags_declared(tenant_id=mercy.tenant.id).attributes
    for asked, condition in (("N17", "key = 'n17'"), ("N170*", "key >= 'n170'")):
        keys = [Key(row.tag, "LO", asked)]
        plan = plan_make(query_parse(level="STUDY", keys=keys, is_patient_root=False, known=attributes))
        sql, params = plan.ordered_sql(mercy.tenant.id, unique={}, limit=100, offset=0)
        with mercy.scope(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('random_page_cost', '1.1', true)")
            cursor.execute(f"EXPLAIN {sql}", params)
            lines = [line.strip() for (line,) in cursor.fetchall()]
        used = [line for line in lines if line.startswith("Index Cond") and "tenant_id" in line]
        assert any(condition in line.replace("(", "").replace("::text", "") for line in used), "\n".join(lines)
    began = time.monotonic()
    assert count(client, mercy, "studies?DeviceSerialNumber=N170*") == 11
    assert time.monotonic() - began < 1


REAL = {
    "real/lung-ct-lctsc.dcm": "ConvolutionKernel", "real/mr-brain-lgg.dcm": "MagneticFieldStrength", "real/mammo-ge-mlo.dcm": "KVP",
    "charset/jp-ir87.dcm": "StudyComments", "real/cxr-nih-1024.dcm": "BitsStored", "real/emri-10f.dcm": "SoftwareVersions",
    "objects/pdf.dcm": "MIMETypeOfEncapsulatedDocument", "real/fundus-op-retina.dcm": "SamplesPerPixel",
}  # fmt: skip


def test_real_files(client, mercy) -> None:
    """"re-index of a few real files": each is found by what pydicom reads in it, and answered with it."""
    keywords = {*REAL.values(), "PhotometricInterpretation"}
    paths = [shared_file(name) for name in REAL]
    for path in paths:
        object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[path.read_bytes()])
    house.index(mercy)
    for keyword in keywords:
        declare(mercy, keyword, "instance")
    build(mercy)
    seen = 0
    for ds, keyword in ((ds, keyword) for ds in map(dcmread, paths) for keyword in keywords if ds.get(keyword)):
        first = ds[keyword].value[0] if ds[keyword].VM > 1 else ds[keyword].value
        (match,) = found(client, mercy, f"instances?{keyword}={quote(str(first))}&SOPInstanceUID={ds.SOPInstanceUID}")
        answered = value(match, f"{ds[keyword].tag:08X}")
        assert answered == (float(first) if ds[keyword].VR == "DS" else first), keyword
        seen += 1
    assert seen >= 15
    with mercy.scope():
        assert not QueryTag.objects.filter(objects_bad__gt=0).exists()
