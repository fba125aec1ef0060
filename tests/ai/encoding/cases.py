"""Reports and images that the encoders and readers are tried on, and dciodvfy as the judge of what comes out."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydicom.dataset import Dataset

from ai.encoding.edition import Edition
from ai.encoding.stamp import bytes_of
from ai.findings import (
    Algorithm,
    Answer,
    Coding,
    Finding,
    ImageRef,
    Measurement,
    Note,
    Outline,
    Parameter,
    ReportContent,
)
from ai.reading.objects import objects_read
from ai.reading.schemes import DCM, QUANTIFY, SCT
from sandbox.phantoms.ct_series import write_series
from sandbox.phantoms.thorax import Plan, draw
from tests.dicom_files import series_of

LUNG = Coding(system=SCT, code="39607008", display="Lung structure")
LEFT = Coding(system=SCT, code="7771000", display="Left")
PRESENT = Coding(system=SCT, code="52101004", display="Present")
NODULE = Coding(system=SCT, code="27925004", display="Nodule")
FINDING = Coding(system=DCM, code="121071", display="Finding")
VOLUME = Coding(system=SCT, code="118565006", display="Volume")
THRESHOLD = Parameter(
    code=Coding(system=DCM, code="112032", display="Threshold Attenuation Coefficient"), value=-950.0, unit="[hnsf'U]"
)
ALGORITHM = Algorithm(name="lung-density-mask", version="1.0.0", manufacturer="MedHub Quantify", udi="(01)00844588003288(21)7")
EDITION = Edition(report_uuid=UUID(int=7), version=2, issued_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC), replaces=1)

# What dciodvfy says that is no fault of the object, and why.
TOLERATED = (
    r"Unrecognized defined term = <99",  # a private coding scheme: its table has only the standard's
    r"CodingSchemeURLType.*Unrecognized defined term = <FHIR>",  # newer than the tool (CP 1932)
    r"needed to build DICOMDIR",  # empty type 2 values that the source left empty
    r"Laterality.*only permitted to be empty when actually unknown",  # a page of a report has no side (type 2C)
    r"Retired Person Name form",  # a name as it was received
)


def sources_make(count: int = 6, **attributes: Any) -> list[Dataset]:
    return series_of(count, FrameOfReferenceUID="1.2.840.1.2.3", StudyID="1", Laterality="", **attributes)


def image(source: Dataset, *frames: int) -> ImageRef:
    return ImageRef(sop_uid=str(source.SOPInstanceUID), frames=frames)


def content_of(sources: list[Dataset], **values: Any) -> ReportContent:
    """Numbers, findings and shapes of every kind, over these images."""
    first = sources[0]
    plain: dict[str, Any] = {
        "algorithm": ALGORITHM, "platform": "MedHub Quantify", "is_test_double": False, "study_uid": str(first.StudyInstanceUID),
        "series_uid": str(first.SeriesInstanceUID), "sop_uids": tuple(str(source.SOPInstanceUID) for source in sources),
        "input_sha256": "", "not_analysable": None, "notes": (Note(code="comment", text="Sharp kernel"),),
        "measurements": measurements_make(sources), "findings": findings_make(sources),
    }  # fmt: skip
    return ReportContent(**(plain | values))


def measurements_make(sources: list[Dataset]) -> tuple[Measurement, ...]:
    laa = Coding(system=QUANTIFY, code="laa-950", display="Low attenuation area below -950 HU, share of lung voxels")
    diameter = Coding(system=SCT, code="81827009", display="Diameter")
    line = Outline(image=image(sources[2]), graphic="POLYLINE", points=((1.5, 1.0), (3.0, 9.25)))
    return (
        Measurement(code=VOLUME, value=5373.123456789, unit="mL", unit_display="mL", body_site=LUNG,
                    method="voxels below -500 HU in two air components", parameters=(THRESHOLD,)),
        Measurement(code=laa, value=2.75, unit="%", unit_display="%", body_site=LUNG, method="", laterality=LEFT,
                    images=(image(sources[0]), image(sources[1]))),
        Measurement(code=diameter, value=8.47, unit="mm", unit_display="mm", body_site=None, method="", laterality=LEFT,
                    outlines=(line,)),
    )  # fmt: skip


def findings_make(sources: list[Dataset]) -> tuple[Finding, ...]:
    vendor = Coding(system="http://vendor.example/codes", code="pneumothorax-suspected-by-model", display="Pneumothorax")
    ring = Outline(image=image(sources[1]), graphic="CIRCLE", points=((3.0, 3.0), (3.0, 5.0)))
    closed = Outline(image=image(sources[2]), graphic="POLYLINE", points=((1.0, 1.0), (3.0, 1.0), (2.0, 4.0), (1.0, 1.0)))
    points = Outline(image=image(sources[3]), graphic="MULTIPOINT", points=((1.0, 1.0), (3.0, 1.0)))
    return (
        Finding(code=vendor, value=PRESENT, probability=0.875, body_site=LUNG, laterality=LEFT, images=(image(sources[1]),),
                words="Suspected pneumothorax", tracking_uid="2.25.1234"),
        Finding(code=FINDING, value=NODULE, outlines=(ring, closed)),
        Finding(code=FINDING, value=NODULE, body_site=LUNG, outlines=(ring,)),
        Finding(code=FINDING, value=NODULE, outlines=(points,)),
        Finding(code=Coding(system=QUANTIFY, code="text", display="Text"), value=None, words="Wörter, 言葉"),
    )  # fmt: skip


def untracked(content: ReportContent | Answer) -> tuple[Any, ...]:
    """What was said without the tracking UIDs, which the encoder gives to what has none."""
    return tuple(replace(item, tracking_uid="") for item in (*content.measurements, *content.findings))


def reread(*objects: Dataset, algorithm: Algorithm = ALGORITHM) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for place, ds in enumerate(objects):
            paths.append(Path(folder) / f"{place}.dcm")
            paths[-1].write_bytes(bytes_of(ds))
        return objects_read(paths, algorithm=algorithm)


def judged(ds: Dataset) -> None:
    """dciodvfy finds no error and no warning but the tolerated ones; absent, one named skip, a failure where all peers are promised."""
    if shutil.which("dciodvfy") is None:
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)("needs dciodvfy (apt package dicom3tools)")
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(bytes_of(ds))
        file.flush()
        done = subprocess.run(["dciodvfy", "-new", file.name], capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    faults = [line for line in said if not any(re.search(pattern, line) for pattern in TOLERATED)]
    assert not faults, "\n".join(faults)


def phantom_make(folder: Path) -> list[Path]:
    """The drawn thorax in 40 small slices, as files."""
    plan = Plan(slices=40, spacing=2.0, matrix=64)
    write_series(draw(plan), plan, folder)
    return sorted(folder.glob("*.dcm"))

