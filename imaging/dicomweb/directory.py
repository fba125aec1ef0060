"""The DICOMDIR of an archive (PS3.3 Annex F, PS3.10 8): patient, study, series and object records of the files that went in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from imaging.dicomweb.elements import elements, items
from imaging.dicomweb.rows import StoredInstance
from imaging.header import EXPLICIT_LITTLE, Header
from imaging.part10 import file_meta_bytes

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
RECORDS = 0x00041220
NEXT, LOWER = "OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity"
_C = "1.2.840.10008.5.1.4.1.1."
# PS3.3 table F.4-1; images are what is left
_TYPES = {
    f"{_C}481.2": "RT DOSE", f"{_C}481.3": "RT STRUCTURE SET", f"{_C}481.5": "RT PLAN", f"{_C}481.4": "RT TREAT RECORD",
    f"{_C}88.59": "KEY OBJECT DOC", f"{_C}104.1": "ENCAP DOC", f"{_C}104.2": "ENCAP DOC", f"{_C}66": "RAW DATA",
    f"{_C}66.1": "REGISTRATION", f"{_C}66.2": "FIDUCIAL", f"{_C}66.3": "REGISTRATION", f"{_C}67": "VALUE MAP", f"{_C}4.2": "SPECTROSCOPY",
}  # fmt: skip
_PREFIXES = ((f"{_C}88.", "SR DOCUMENT"), (f"{_C}9.", "WAVEFORM"), (f"{_C}11.", "PRESENTATION"), (f"{_C}91.", "ANNOTATION"))
PATIENT = {"PatientName": 0x00100010, "PatientID": 0x00100020, "PatientBirthDate": 0x00100030, "PatientSex": 0x00100040}
STUDY = {"StudyDate": 0x00080020, "StudyTime": 0x00080030, "StudyDescription": 0x00081030, "StudyID": 0x00200010,
         "AccessionNumber": 0x00080050}  # fmt: skip
SERIES = {"Modality": 0x00080060, "SeriesNumber": 0x00200011, "SeriesDescription": 0x0008103E}
OBJECT = {"InstanceNumber": 0x00200013}
WANTED = frozenset(tag for level in (PATIENT, STUDY, SERIES, OBJECT) for tag in level.values())


@dataclass(eq=False)
class _Node:
    record: Dataset
    below: "dict[str, _Node]" = field(default_factory=dict)


class Directory:
    """Takes each file as it goes in; gives the DICOMDIR at the end."""

    def __init__(self) -> None:
        self._patients: dict[str, _Node] = {}

    def add(self, row: StoredInstance, header: Header, *, file_id: list[str]) -> None:
        patient = _node(self._patients, header.text(PATIENT["PatientID"]), "PATIENT", header, PATIENT)
        study = _node(patient.below, row.study_uid, "STUDY", header, STUDY)
        study.record.StudyInstanceUID = row.study_uid
        series = _node(study.below, row.series_uid, "SERIES", header, SERIES)
        series.record.SeriesInstanceUID = row.series_uid
        leaf = _node(series.below, row.sop_instance_uid, _type(row.sop_class_uid), header, OBJECT)
        leaf.record.ReferencedFileID = file_id
        leaf.record.ReferencedSOPClassUIDInFile = row.sop_class_uid
        leaf.record.ReferencedSOPInstanceUIDInFile = row.sop_instance_uid
        leaf.record.ReferencedTransferSyntaxUIDInFile = row.syntax

    def content(self) -> bytes:
        """Twice written: offsets are known once everything has its length, and their own length never changes."""
        nodes = list(_walk(self._patients))
        uid = generate_uid()
        meta = file_meta_bytes(sop_class_uid=MEDIA_DIRECTORY, sop_instance_uid=uid, transfer_syntax_uid=ExplicitVRLittleEndian)
        places = dict(zip(map(id, nodes), _places(_written(nodes, 0, 0), len(meta)), strict=True))
        _link(self._patients, places)
        roots = [places[id(node)] for node in self._patients.values()]
        return meta + _written(nodes, roots[0] if roots else 0, roots[-1] if roots else 0)


def _type(sop_class_uid: str) -> str:
    known = _TYPES.get(sop_class_uid)
    return known or next((kind for prefix, kind in _PREFIXES if sop_class_uid.startswith(prefix)), "IMAGE")


def _node(level: dict[str, _Node], key: str, kind: str, header: Header, fields: dict[str, int]) -> _Node:
    if key not in level:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord, record.RecordInUseFlag = 0, 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity, record.DirectoryRecordType = 0, kind
        record.SpecificCharacterSet = "ISO_IR 192"
        for keyword, tag in fields.items():
            text = header.text(tag)
            setattr(record, keyword, (text if text.strip("+-").isdigit() else None) if keyword.endswith("Number") and
                    keyword != "AccessionNumber" else text)  # fmt: skip
        level[key] = _Node(record)
    return level[key]


def _walk(level: dict[str, _Node]) -> Iterator[_Node]:
    for node in level.values():
        yield node
        yield from _walk(node.below)


def _link(level: dict[str, _Node], places: dict[int, int]) -> None:
    nodes = list(level.values())
    for node, following in zip(nodes, [*nodes[1:], None], strict=False):
        setattr(node.record, NEXT, places[id(following)] if following is not None else 0)
        first = next(iter(node.below.values()), None)
        setattr(node.record, LOWER, places[id(first)] if first is not None else 0)
        _link(node.below, places)


def _written(nodes: Iterable[_Node], first: int, last: int) -> bytes:
    root = Dataset()
    root.FileSetID = "ARCHIVE"
    root.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = first
    root.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = last
    root.FileSetConsistencyFlag = 0
    root.DirectoryRecordSequence = Sequence([node.record for node in nodes])
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, root)
    return target.getvalue()


def _places(data: bytes, shift: int) -> list[int]:
    """Where each record's item begins in the file."""
    records = next(one for one in elements(data, 0, len(data), EXPLICIT_LITTLE) if one.tag == RECORDS)
    return [start - 8 + shift for start, _ in items(data, records.start, records.stop, EXPLICIT_LITTLE)]


