"""The engine against a naive matcher over the same objects: random queries, printed seed (hypothesis is not installed)."""

import io
import random
import re
import struct
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from imaging.dimse.contract import Admission, Inquiry, InquiryRefused
from imaging.query import doors
from journal.wall.ids import id_new
from tests import house
from tests.dicom_files import ct_slice
from tests.imaging.test_query_peers import ALL, PATIENT_FIND, STUDY_FIND

pytestmark = pytest.mark.database
SEED = random.randrange(10**9)
UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
LEVELS = list(UNIQUE)
NAMES = [
    "MÜLLER^JÖRG", "Muller^Jorg", "DOE^JANE", "DOE^JANE^Q", "DOE", "O'NEILL^SINÉAD", "SMITH^JOHN", "SMITHERS^W", "100%_REAL^X",
    "Yamada^Tarou=山田^太郎=やまだ^たろう", "Hong^Gildong=洪^吉洞=홍^길동", "Wang^XiaoDong=王^小东", "Люкceмбypг^A", "",
]  # fmt: skip
TEXTS = ["CT Chest", "ct CHEST low-dose", "Kopf nativ", "Schädel", "100% O2_test", "", "IRM cérébrale"]


Record = dict[str, str]


def archive(rng: random.Random) -> list[Dataset]:
    """About 150 studies of random people; the data sets are the truth."""
    objects = []
    for person in range(60):
        patient = {
            "PatientID": f"{rng.choice(['P', 'p', 'X-'])}{person:03}", "PatientName": rng.choice(NAMES),
            "PatientBirthDate": f"19{rng.randrange(30, 99)}0{rng.randrange(1, 9)}1{rng.randrange(9)}",
            "PatientSex": rng.choice("MFO"), "EthnicGroup": rng.choice(["Inuit", "Sámi", ""]),
        }  # fmt: skip
        for _ in range(rng.randrange(1, 4)):
            study = patient | {
                "StudyInstanceUID": f"1.2.{rng.randrange(10**12)}", "StudyDate": f"2026010{rng.randrange(1, 6)}",
                "StudyTime": rng.choice(["", "08", "0815", "081530", "081530.25", "235959.999999", "101500"]),
                "AccessionNumber": rng.choice(["A1", "a1", f"A{rng.randrange(99)}", ""]), "StudyID": rng.choice(["S1", "S2", ""]),
                "StudyDescription": rng.choice(TEXTS), "ReferringPhysicianName": rng.choice(NAMES),
                "PatientWeight": rng.choice(["70", "70.0", "81.5"]),
            }  # fmt: skip
            for number in range(rng.randrange(1, 3)):
                series = study | {
                    "SeriesInstanceUID": f"1.3.{rng.randrange(10**12)}", "SeriesNumber": rng.choice([number, number + 10]),
                    "Modality": rng.choice(["CT", "MR", "SR"]), "SeriesDescription": rng.choice(TEXTS),
                    "PerformedProcedureStepStartDate": f"2026020{rng.randrange(1, 6)}",
                }  # fmt: skip
                objects += [
                    ct_slice(
                        **series, SOPInstanceUID=f"1.4.{rng.randrange(10**12)}", InstanceNumber=image,
                        SpecificCharacterSet="ISO_IR 192", ImageType=["ORIGINAL", rng.choice(["PRIMARY", "SECONDARY"])],
                    )
                    for image in range(rng.randrange(1, 3))
                ]  # fmt: skip
    return objects


# the naive matcher


def plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not 0x300 <= ord(c) <= 0x36F).strip()


def matches_text(key: str, value: str) -> bool:
    regex = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in plain(key))
    return re.fullmatch(regex, plain(value), re.S) is not None


def matches_name(key: str, value: str) -> bool:
    def group_matches(pattern: str, group: str) -> bool:
        return matches_text(pattern.rstrip("^"), group) or matches_text(pattern, f"{group}^")

    groups = [group.rstrip("^") for group in value.split("=")]
    if "=" not in key:
        return any(group and group_matches(key, group) for group in groups)
    groups += [""] * 3
    return all(not part or group_matches(part, group) for part, group in zip(key.split("="), groups, strict=False))


def seconds(text: str, fill: str) -> float:
    digits, _, fraction = text.partition(".")
    digits += (fill * 3)[len(digits) : 6] if fill == "00" else "595959"[len(digits) :]
    fraction = fraction.ljust(6, "0" if fill == "00" else "9")
    return int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6]) + int(fraction) / 1e6


def matches_time(key: str, value: str) -> bool:
    if not value:
        return False
    low, _, high = key.partition("-") if "-" in key else (key, "", key)
    at = seconds(value, "00")
    return (not low or seconds(low, "00") <= at) and (not high or at <= seconds(high, "99"))


def matches_date(key: str, value: str) -> bool:
    low, _, high = key.partition("-") if "-" in key else (key, "", key)
    return bool(value) and (not low or low <= value) and (not high or value <= high)


def matches_number(key: str, value: str) -> bool:
    return value != "" and float(key) == float(value)


def matches_uid(key: str, value: str) -> bool:
    return value in key.split("\\")


def matches_list(key: str, value: str) -> bool:
    return any(matches_text(k, v) for k in key.split("\\") for v in value.split("\\"))


MATCHERS: dict[str, Callable[[str, str], bool]] = {
    "PN": matches_name, "DA": matches_date, "TM": matches_time, "IS": matches_number, "DS": matches_number, "UI": matches_uid,
    "CS": matches_list,
}  # fmt: skip
KEYS = {
    "PATIENT": ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "EthnicGroup"],
    "STUDY": [
        "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName",
        "StudyInstanceUID", "ModalitiesInStudy", "PatientWeight", "PatientName", "PatientID", "SOPClassesInStudy",
    ],
    "SERIES": ["Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID", "PerformedProcedureStepStartDate"],
    "IMAGE": ["InstanceNumber", "SOPInstanceUID", "SOPClassUID", "ImageType"],
}  # fmt: skip


def record_of(ds: Dataset, objects: list[Dataset]) -> Record:
    """What a key is compared with, by keyword."""
    record = {}
    for keyword in {keyword for keywords in KEYS.values() for keyword in keywords} | set(UNIQUE.values()):
        value = ds.get(keyword, "")
        record[keyword] = "\\".join(str(part) for part in value) if keyword == "ImageType" else str(value)
    same = [o for o in objects if o.StudyInstanceUID == ds.StudyInstanceUID]
    record["ModalitiesInStudy"] = "\\".join(sorted({str(o.Modality) for o in same}))
    record["SOPClassesInStudy"] = str(ds.SOPClassUID)
    return record


def vr_of(keyword: str) -> str:
    return dictionary_VR(keyword)


def expected(records: list[Record], level: str, keys: dict[str, str]) -> set[str]:
    tests = [(keyword, key, MATCHERS.get(vr_of(keyword), matches_text)) for keyword, key in keys.items() if key not in ("", "*")]
    return {record[UNIQUE[level]] for record in records if all(test(key, record[keyword]) for keyword, key, test in tests)}


def encoded(level: str, keys: dict[str, Any]) -> bytes:
    """An identifier in explicit little endian and UTF-8, by hand: pydicom objects to wildcards in some VRs."""
    keys = keys | {"SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": level}
    elements = []
    for tag, keyword in sorted((tag_for_keyword(keyword) or 0, keyword) for keyword in keys):
        value = str(keys[keyword]).encode()
        value += b" " * (len(value) % 2)
        elements.append(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr_of(keyword).encode(), len(value)) + value)
    return b"".join(elements)


def admission(hospital: Any) -> Admission:
    return Admission(hospital.tenant.id, id_new(), "0" * 32, hospital.calling_ae, hospital.called_ae, "127.0.0.1", frozenset(ALL))


def find(hospital: Any, level: str, keys: dict[str, Any], *, is_combined: bool = False) -> list[Dataset]:
    """What a C-FIND would answer, decoded."""
    model = PATIENT_FIND if level == "PATIENT" else STUDY_FIND
    inquiry = Inquiry(str(model), "1.2.840.10008.1.2.1", encoded(level, keys), is_combined)
    found = doors.identifier_find(admission=admission(hospital), inquiry=inquiry)
    return [dcmread(io.BytesIO(answer), force=True) for answer in found.identifiers]


@pytest.fixture(scope="module")
def filled() -> tuple[Any, list[Dataset], list[Record]]:
    from tests.conftest import hospital_make

    hospital = hospital_make("random")
    objects = archive(random.Random(SEED))
    house.store(hospital, objects)
    house.index(hospital)
    return hospital, objects, [record_of(ds, objects) for ds in objects]


def key_for(rng: random.Random, record: Record, keyword: str, records: list[Record]) -> str:
    """A key that this object matches, or nearly."""
    vr, value = vr_of(keyword), record[keyword]
    if not value or rng.random() < 0.1:
        return rng.choice(["", "*"])
    if vr == "UI":
        return "\\".join([rng.choice(value.split("\\")), *(other[keyword].split("\\")[0] for other in records[:2])])
    if vr == "DA":
        near = f"{value[:6]}{min(int(value[6:]) + 1, 28):02}"
        return rng.choice([value, f"{value}-", f"-{value}", f"{value}-{near}", f"{near}-"])
    if vr == "TM":
        return rng.choice([value, value[:2], f"{value[:2]}-", f"-{value[:4]}", "08-0815", "0815-2359", "081530.25"])
    if vr in {"IS", "DS"}:
        return rng.choice([value, "0", "1"])
    if vr == "CS":
        part = rng.choice(value.split("\\"))
        return rng.choice([part, f"{part[:1]}*", f"?{part[1:]}", f"{part}\\XX"])
    return text_key(rng, value.split("=")[0] if rng.random() < 0.7 else value)


def text_key(rng: random.Random, value: str) -> str:
    """Exact, in another case, as prefix, suffix, infix, or with single letters replaced."""
    at = rng.randrange(len(value))
    if "=" in value:
        return rng.choice([value, value.lower(), value.split("=", 1)[1].join(["=", ""])])
    return rng.choice([
        value, value.swapcase(), unicodedata.normalize("NFD", value), f"{value[: at + 1]}*", f"*{value[at:]}",
        f"*{value[at : at + 3]}*", f"{value[:at]}?{value[at + 1 :]}", f"{value[:at]}*{value[at + 1 :]}", "*%*", "*_*",
    ])  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_random_queries_find_what_a_naive_matcher_finds(filled, part) -> None:
    """Property: for any keys of any level, the answers are exactly the rows that a plain reading of PS3.4 C.2.2.2 matches."""
    hospital, _, records = filled
    rng = random.Random(SEED + part)
    hits = 0
    for turn in range(150):
        level = rng.choice(LEVELS)
        record = rng.choice(records)
        keys = {keyword: key_for(rng, record, keyword, records) for keyword in rng.sample(KEYS[level], rng.randrange(1, 4))}
        for above in LEVELS[1 : LEVELS.index(level)]:
            keys[UNIQUE[above]] = record[UNIQUE[above]]
        found = [str(answer[UNIQUE[level]].value) for answer in find(hospital, level, keys)]
        assert len(found) == len(set(found)), f"seed {SEED}, part {part}, turn {turn}: {level} {keys} answered twice"
        assert set(found) == expected(records, level, keys), f"seed {SEED}, part {part}, turn {turn}: {level} {keys}"
        hits += bool(found)
    assert hits > 50, f"seed {SEED}: the queries find too little to prove anything"


def test_answers_hold_the_text_as_received(filled) -> None:
    """"Keep the row's original text": case, accents and all groups come back as they were sent."""
    hospital, objects, _ = filled
    names = {str(ds.PatientID): str(ds.PatientName) for ds in objects}
    answers = find(hospital, "PATIENT", {"PatientName": "", "PatientID": "", "EthnicGroup": ""})
    assert {str(a.PatientID): str(a.PatientName) for a in answers} == names
    assert {str(a.EthnicGroup) for a in answers} == {str(ds.EthnicGroup) for ds in objects}


def test_counts_are_those_of_the_objects(filled) -> None:
    """NumberOf...Related... of all three levels, PS3.4 tables C.6-1 to C.6-3."""
    hospital, objects, _ = filled
    ds = objects[len(objects) // 2]
    of_patient = [o for o in objects if o.PatientID == ds.PatientID]
    of_study = [o for o in objects if o.StudyInstanceUID == ds.StudyInstanceUID]
    patient = find(hospital, "PATIENT", {"PatientID": ds.PatientID} | {
        f"NumberOfPatientRelated{what}": "" for what in ("Studies", "Series", "Instances")
    })[0]  # fmt: skip
    assert patient.NumberOfPatientRelatedStudies == len({o.StudyInstanceUID for o in of_patient})
    assert patient.NumberOfPatientRelatedSeries == len({o.SeriesInstanceUID for o in of_patient})
    assert patient.NumberOfPatientRelatedInstances == len(of_patient)
    study = find(hospital, "STUDY", {
        "StudyInstanceUID": ds.StudyInstanceUID, "NumberOfStudyRelatedSeries": "", "NumberOfStudyRelatedInstances": "",
    })[0]  # fmt: skip
    assert study.NumberOfStudyRelatedSeries == len({o.SeriesInstanceUID for o in of_study})
    assert study.NumberOfStudyRelatedInstances == len(of_study)
    series = find(hospital, "SERIES", {"StudyInstanceUID": ds.StudyInstanceUID, "NumberOfSeriesRelatedInstances": ""})
    assert sum(s.NumberOfSeriesRelatedInstances for s in series) == len(of_study)


def test_combined_dates_and_times_are_one_moment(filled) -> None:
    """PS3.4 C.2.2.2.5: with extended negotiation two ranges are one; without it each day has its own hours.

    A study without a time counts from the beginning of its day.
    """
    hospital, objects, _ = filled
    keys = {"StudyDate": "20260102-20260104", "StudyTime": "0815-0820"}
    dated = {str(ds.StudyInstanceUID): (str(ds.StudyDate), str(ds.StudyTime)) for ds in objects}
    independent = {
        uid for uid, (d, t) in dated.items() if matches_date(keys["StudyDate"], d) and matches_time(keys["StudyTime"], t)
    }
    combined = {
        uid for uid, (d, t) in dated.items()
        if ("20260102", seconds("0815", "00")) <= (d, seconds(t or "00", "00")) <= ("20260104", seconds("0820", "99"))
    }  # fmt: skip
    assert independent != combined
    assert {str(a.StudyInstanceUID) for a in find(hospital, "STUDY", keys)} == independent
    assert {str(a.StudyInstanceUID) for a in find(hospital, "STUDY", keys, is_combined=True)} == combined


@pytest.mark.parametrize("keyword", ["ReferringPhysicianName", "PatientName", "StudyDescription", "ModalitiesInStudy"])
def test_signs_are_letters_to_a_key(filled, keyword) -> None:
    """Whatever a peer puts into a key is compared, and is neither SQL nor a pattern of ours."""
    hospital, _, _ = filled
    signs = "'\"%_.[]{}()+^$|-&#!/~;:,<>@`\u3099\u0301\u200b\U0001f600"
    for sign in signs:
        for key in (f"x{sign}", f"{sign}x*", f"*x{sign}?", f"x(?i){sign}", "***=x"):
            assert find(hospital, "STUDY", {keyword: key}) == []


def test_more_matches_than_a_page_come_once_each(filled, monkeypatch) -> None:
    """Keyset batches: every match exactly once, whatever the page size."""
    from imaging.query import rows

    hospital, objects, _ = filled
    uids = {str(ds.StudyInstanceUID) for ds in objects}
    monkeypatch.setattr(rows, "PAGE", 7)
    found = [str(a.StudyInstanceUID) for a in find(hospital, "STUDY", {"PatientName": ""})]
    assert len(found) == len(uids)
    assert set(found) == uids


def test_a_limit_refuses_behind_what_it_allows(filled, settings, monkeypatch) -> None:
    """"limit cap configurable": A700 and the advice to narrow the query, after as many matches as are allowed."""
    from imaging.query import rows

    hospital, _, _ = filled
    for page, limit in ((1000, 5), (3, 7)):
        monkeypatch.setattr(rows, "PAGE", page)
        settings.MEDHUB_QUERY_LIMIT = limit
        inquiry = Inquiry(STUDY_FIND, "1.2.840.10008.1.2.1", encoded("STUDY", {}))
        answers = doors.identifier_find(admission=admission(hospital), inquiry=inquiry).identifiers
        taken = []
        with pytest.raises(InquiryRefused) as refused:
            taken += list(answers) or pytest.fail("no answers")
        assert refused.value.status == 0xA700
        assert "narrow" in refused.value.comment
