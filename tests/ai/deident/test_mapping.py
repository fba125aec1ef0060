"""What is kept of a job, and what isn't."""

from datetime import date
from pathlib import Path

import pytest

from ai.deident.cleaner import Geometry
from ai.deident.engine import Done
from ai.deident.mapping import Mapping, MappingError, mapping_build
from tests.ai.deident.objects import FRAME, KEYS, SENT_ON, SERIES, STUDY, job, slices


def test_a_mapping_goes_both_ways(tmp_path: Path) -> None:
    told, mapping = job(slices(3), tmp_path)
    assert mapping.original(told[0].StudyInstanceUID, "study") == STUDY
    assert mapping.original(told[0].SeriesInstanceUID) == SERIES
    assert mapping.original(told[0].FrameOfReferenceUID, "frame") == FRAME
    assert mapping.original(told[0].FrameOfReferenceUID, "sop") is None
    assert mapping.original(STUDY) is None
    assert mapping.is_original(STUDY)
    assert (mapping.patient, mapping.original_patient) == (told[0].PatientID, "P1")
    source = mapping.sources[told[0].SOPInstanceUID]
    assert source.geometry == Geometry(16, 16, 1, told[0].FrameOfReferenceUID, (1, 1), (1, 0, 0, 0, 1, 0))
    assert mapping.shift_days == (date(2026, 3, 1) - date.fromisoformat(told[0].StudyDate)).days


def test_it_survives_as_json_without_names(tmp_path: Path) -> None:
    _, mapping = job(slices(3, PatientName="Planted^Name"), tmp_path)
    text = mapping.to_json()
    assert Mapping.from_json(text) == mapping
    assert "lanted" not in text
    assert STUDY not in repr(mapping)
    assert "P1" not in repr(mapping)


def test_five_hundred_slices_stay_small() -> None:
    """"size for 500 slices sane": 100 kB, with UIDs as long as devices make them."""
    long = "1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192"
    done = [
        Done(
            sop_uid=KEYS.uid(f"{long[:-4]}{n}"), series_uid=KEYS.uid(long), study_uid=KEYS.uid(long + "1"), patient="A",
            original_patient="P", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", shift_days=9,
            geometry=Geometry(512, 512, 1, KEYS.uid("9"), (0.7, 0.7), (1, 0, 0, 0, 1, 0)),
            uids={"sop": {KEYS.uid(f"{long[:-4]}{n}"): f"{long[:-4]}{n}"}}, codes=(), counts={},
        )
        for n in range(1000, 1500)
    ]  # fmt: skip
    text = mapping_build(done, sent_on=SENT_ON).to_json()
    assert len(text) < 100_000
    assert len(Mapping.from_json(text).sources) == 500


def test_a_job_is_one_study_of_one_person(tmp_path: Path) -> None:
    one, other = slices(1)[0], slices(2, PatientID="P2")[1]
    with pytest.raises(MappingError):
        job([one, other], tmp_path)
    with pytest.raises(MappingError):
        mapping_build([], sent_on=SENT_ON)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1}', "null", '{"format": 1, "shapes": 3}'])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(MappingError):
        Mapping.from_json(text)
