"""What every object of a report has in common: whose it is, which study, who made it, when. Called by the encoders."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta, timezone
from io import BytesIO

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, ExplicitVRLittleEndian

from ai.encoding.edition import SERIES_NUMBERS, Edition, EncodingError, Kind
from ai.findings import Coding, ReportContent
from ai.reading.schemes import HUB as HUB_SYSTEM
from ai.reading.schemes import explained

TEST_DOUBLE = "MedHub Quantify (test double)"
MAKER = "MedicalCloudAIHub"
IMPLEMENTATION_UID = "2.25.194211871393290431867215713425930287455"
TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
          "ReferringPhysicianName", "StudyID")  # fmt: skip
OPTIONAL = ("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription", "TimezoneOffsetFromUTC")
ONLY_VALID = {"PatientAge", "PatientSize", "PatientWeight", "TimezoneOffsetFromUTC"}  # they identify nobody
LONG_STRING = 64
PLACES = 100  # Instance Number says version and page


def maker_of(content: ReportContent) -> str:
    """The manufacturer that an object names. A stand-in never bears a vendor's name (DESIGN section 6)."""
    return TEST_DOUBLE if content.is_test_double else content.algorithm.manufacturer


def evidence_of(sources: Sequence[Dataset]) -> list[Dataset]:
    """Bare headers that highdicom can refer to: identity of each image, nobody's name. Raises EncodingError without sources."""
    if not sources or len({source.StudyInstanceUID for source in sources}) > 1:
        raise EncodingError("a report is about images of one study")
    return [_bare(source) for source in sources]


def _bare(source: Dataset) -> Dataset:
    bare = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(bare, keyword, str(source[keyword].value))
    for keyword in TYPE_2:
        setattr(bare, keyword, "")
    return bare


def stamp(
    dataset: Dataset, *, kind: Kind, source: Dataset, content: ReportContent, edition: Edition, place: int = 0
) -> None:
    """Patient, study, series, equipment and times of `dataset`, over whatever stood there; `place` among objects of one kind.

    What identifies is kept as received, even where it breaks a rule of its VR: a corrected PatientID is another patient.
    """
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*TYPE_2, *OPTIONAL, "StudyInstanceUID"):
        _kept(dataset, source, keyword)
    _series(dataset, kind, content, edition, place)
    _equipment(dataset, content)
    _times(dataset, _moment(source, edition.issued_at))
    _schemes(dataset, content)


def _kept(dataset: Dataset, source: Dataset, keyword: str) -> None:
    value = source.get(keyword)
    if value in (None, "") and keyword in OPTIONAL:
        dataset.pop(keyword, None)
        return
    tag = tag_for_keyword(keyword)
    text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")
    mode = config.RAISE if keyword in ONLY_VALID else config.IGNORE
    try:
        dataset.add(DataElement(tag or 0, dictionary_VR(keyword), text, validation_mode=mode))
    except ValueError:
        dataset.pop(keyword, None)


def _series(dataset: Dataset, kind: Kind, content: ReportContent, edition: Edition, place: int) -> None:
    platform = TEST_DOUBLE if content.is_test_double else content.platform
    dataset.SeriesInstanceUID, dataset.SeriesNumber = edition.series_uid(kind), SERIES_NUMBERS[kind]
    dataset.SOPInstanceUID, dataset.InstanceNumber = edition.sop_uid(kind, place), edition.version * PLACES + place
    dataset.SeriesDescription = cut(f"{platform}: {content.algorithm.name}")


def _equipment(dataset: Dataset, content: ReportContent) -> None:
    algorithm = content.algorithm
    dataset.Manufacturer, dataset.ManufacturerModelName = cut(maker_of(content)), cut(algorithm.name)
    dataset.SoftwareVersions = cut(algorithm.version)
    dataset.pop("DeviceSerialNumber", None)
    if algorithm.udi:
        udi = Dataset()
        udi.UniqueDeviceIdentifier = algorithm.udi
        dataset.UDISequence = [udi]
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    hub = Dataset()
    hub.PurposeOfReferenceCodeSequence = [purpose]
    hub.Manufacturer, hub.ManufacturerModelName = MAKER, MAKER
    hub.ContributionDescription = "Encoded the algorithm's answer"
    dataset.ContributingEquipmentSequence = [hub]


def _moment(source: Dataset, issued_at: datetime) -> datetime:
    """In the zone that the study's own times are in, where it says so: TimezoneOffsetFromUTC covers the whole object (PS3.3 C.12.1)."""
    offset = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        return issued_at.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))
    return issued_at


def _times(dataset: Dataset, moment: datetime) -> None:
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for keyword in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{keyword}Date", date)
        setattr(dataset, f"{keyword}Time", time)


def _schemes(dataset: Dataset, content: ReportContent) -> None:
    """Private schemes in use say which FHIR system they are (Coding Scheme Identification Sequence)."""
    dataset.pop("CodingSchemeIdentificationSequence", None)
    used = {str(element.value) for element in dataset.iterall() if element.keyword == "CodingSchemeDesignator"}
    items = [item for item in explained([HUB_SYSTEM, *_systems(content)]) if item.CodingSchemeDesignator in used]
    if items:
        dataset.CodingSchemeIdentificationSequence = items


def _systems(value: object) -> Iterator[str]:
    """The systems of all codings in the content, at any depth."""
    if isinstance(value, Coding):
        yield value.system
    elif isinstance(value, tuple):
        for item in value:
            yield from _systems(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _systems(getattr(value, field.name))


def cut(text: str) -> str:
    """As long as an LO may be, without what it must not hold."""
    clean = "".join(char if char.isprintable() and char != "\\" else " " for char in text).strip()
    return clean if len(clean) <= LONG_STRING else f"{clean[: LONG_STRING - 1]}…"


def bytes_of(dataset: Dataset) -> bytes:
    """The object as a Part 10 file, Explicit VR Little Endian: the same object gives the same bytes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_UID), "MEDHUB_AI"
    dataset.file_meta = meta
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()
