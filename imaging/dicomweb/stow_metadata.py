"""STOW-RS with metadata and bulk data apart (PS3.18 10.5.1, 8.7.3.2, Annex F): put together into Part 10 objects.

`stow` reads each object as if it had come whole. Bulk data never lies in memory; metadata has a cap.
"""

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson
from django.conf import settings
from multipart import MultipartSegment
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate_buffer
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from imaging.dicomweb.related import BodyError, media_type
from imaging.header import uid_is_valid
from imaging.ingest import NOT_UNDERSTOOD, ObjectFacts, Refused
from imaging.part10 import file_meta_bytes

METADATA_BYTES = 32 << 20
INSTANCES = 10_000
NESTED_BYTES = 64 << 20  # of bulk data below the top level: those values are read into memory
PIXEL_DATA, PDF = 0x7FE00010, "application/pdf"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
# PS3.18 table 8.7.3-2 to 8.7.3-4: what a media type stands for where its part names no transfer syntax
MEDIA_SYNTAXES = {
    "image/jpeg": "1.2.840.10008.1.2.4.50", "image/jls": "1.2.840.10008.1.2.4.80", "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jxl": "1.2.840.10008.1.2.4.110", "image/jphc": "1.2.840.10008.1.2.4.201", "image/dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg": "1.2.840.10008.1.2.4.100", "video/mp4": "1.2.840.10008.1.2.4.102",
}  # fmt: skip
_WRITABLE = frozenset((EXPLICIT_LITTLE, "1.2.840.10008.1.2"))


class _Window(io.BufferedIOBase):
    """A part's bytes inside the one file that all parts of a request share: ten thousand parts must not take as many descriptors."""

    def __init__(self, fd: int, start: int, length: int) -> None:
        self._fd, self._start, self._length, self._at = fd, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self._length - self._at, 0)
        found = os.pread(self._fd, left if size is None or size < 0 else min(size, left), self._start + self._at)
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def tell(self) -> int:
        return self._at


@dataclass(frozen=True)
class _Bulk:
    """One part: its media type, the syntax that it names, its bytes."""

    kind: str
    syntax: str
    file: _Window


def objects_assembled(
    pieces: Iterator[MultipartSegment | bytes | None],
) -> Iterator[IO[bytes] | tuple[ObjectFacts | None, Refused]]:
    """Part 10 files, or why one is none, in the order of the metadata. Raises BodyError for metadata that is none."""
    settings.MEDHUB_OBJECTS.mkdir(parents=True, exist_ok=True)  # the first request of an install
    with tempfile.TemporaryFile(dir=settings.MEDHUB_OBJECTS) as spool:
        metadata, bulk = _gathered(pieces, spool)
        for item in _items(metadata):
            try:
                with tempfile.TemporaryFile(dir=settings.MEDHUB_OBJECTS) as target:
                    _assemble(item, bulk, target)
                    target.seek(0)
                    yield target
            except Refused as refused:
                yield _facts(item), refused


def _gathered(pieces: Iterator[Any], spool: IO[bytes]) -> tuple[bytes, dict[str, list[_Bulk]]]:
    metadata: bytearray | None = None
    bulk: dict[str, list[_Bulk]] = {}
    for segment in pieces:
        if not isinstance(segment, MultipartSegment):
            continue
        headers = {name.lower(): value for name, value in segment.headerlist}
        kind, parameters = media_type(headers.get("content-type", "application/octet-stream"))
        if metadata is None:
            if kind not in {"application/dicom+json", "application/json"}:
                raise BodyError(400, "the first part is not the metadata (application/dicom+json)")
            metadata = bytearray()
            for piece in iter(lambda: next(pieces, None), None):
                metadata += piece
                if len(metadata) > METADATA_BYTES:
                    raise BodyError(413, "the metadata is larger than this archive takes")
            continue
        start = spool.tell()
        for piece in iter(lambda: next(pieces, None), None):
            spool.write(piece)
        part = _Bulk(kind, parameters.get("transfer-syntax", ""), _Window(spool.fileno(), start, spool.tell() - start))
        bulk.setdefault(headers.get("content-location", ""), []).append(part)
    spool.flush()
    if metadata is None:
        raise BodyError(400, "no part in the body")
    return bytes(metadata), bulk


def _items(metadata: bytes) -> list[dict[str, Any]]:
    try:
        found = orjson.loads(metadata)
    except orjson.JSONDecodeError:
        raise BodyError(400, "the metadata is not JSON") from None
    items = found if isinstance(found, list) else [found]
    if not items or not all(isinstance(item, dict) for item in items) or len(items) > INSTANCES:
        raise BodyError(400, "the metadata is not an array of up to 10,000 data sets")
    return items


def _facts(item: dict[str, Any]) -> ObjectFacts | None:
    """Which object it would have been, as far as it says."""
    found = {}
    for name, tag in (("sop_class_uid", "00080016"), ("sop_instance_uid", "00080018")):
        element = item.get(tag)
        values = element.get("Value") if isinstance(element, dict) else None
        value = values[0] if isinstance(values, list) and values else None
        if not isinstance(value, str) or not uid_is_valid(value):
            return None
        found[name] = value
    return ObjectFacts(**found, study_uid="", series_uid="")


def _assemble(item: dict[str, Any], bulk: dict[str, list[_Bulk]], target: IO[bytes]) -> None:
    """Raises Refused."""
    try:
        dataset, parts = _dataset(item, bulk)
        syntax = _syntax(dataset, parts.get(PIXEL_DATA, []))
        for tag, found in parts.items():
            dataset[tag] = _element(tag, item[f"{tag:08X}"], found, is_encapsulated=tag == PIXEL_DATA and UID(syntax).is_encapsulated)
        for tag in [tag for tag in tuple(dataset.keys()) if tag.group == 2 or tag == 0x00083002]:
            del dataset[tag]
        dataset.SpecificCharacterSet = "ISO_IR 192"  # JSON is UTF-8
        uids = [str(dataset.get(name, "")) for name in ("SOPClassUID", "SOPInstanceUID")]
        if not all(uid_is_valid(uid) for uid in uids):
            raise Refused(NOT_UNDERSTOOD, "SOPClassUID or SOPInstanceUID is missing or not a UID")
        target.write(file_meta_bytes(sop_class_uid=uids[0], sop_instance_uid=uids[1], transfer_syntax_uid=syntax))
        writer = DicomFileLike(target)
        writer.is_little_endian, writer.is_implicit_VR = True, syntax == "1.2.840.10008.1.2"
        write_dataset(writer, dataset)
    except (Refused, OSError):
        raise
    except Exception as error:  # noqa: BLE001 whatever pydicom makes of a stranger's JSON, the other objects go on
        raise Refused(NOT_UNDERSTOOD, f"the metadata cannot be understood ({type(error).__name__})") from None


def _dataset(item: dict[str, Any], bulk: dict[str, list[_Bulk]]) -> tuple[Dataset, dict[int, list[_Bulk]]]:
    """The values of the metadata, and the parts of those at the top level that point at some."""
    parts, values = {}, {}
    for name, element in item.items():
        if isinstance(element, dict) and "BulkDataURI" in element:
            parts[int(name, 16)] = _referenced(str(element["BulkDataURI"]), bulk)
        else:
            values[name] = element

    def nested(_tag: str, _vr: str, uri: str) -> bytes:
        (part, *_) = _referenced(uri, bulk)
        part.file.seek(0)
        read = part.file.read(NESTED_BYTES + 1)
        if len(read) > NESTED_BYTES:
            raise Refused(NOT_UNDERSTOOD, "bulk data inside a sequence is larger than this archive takes")
        return read

    return Dataset.from_json(values, nested), parts


def _referenced(uri: str, bulk: dict[str, list[_Bulk]]) -> list[_Bulk]:
    found = bulk.get(uri)
    if not found:
        raise Refused(NOT_UNDERSTOOD, "no part has the Content-Location of its bulk data")
    return found


def _syntax(dataset: Dataset, pixels: list[_Bulk]) -> str:
    """The part's own, else the metadata's, else what the media type stands for. Raises Refused for what cannot be written."""
    first = pixels[0] if pixels else None
    stated = [first.syntax if first else "", str(dataset.get(0x00083002, DataElement(0x00083002, "UI", "")).value or "")]
    found = next((syntax for syntax in stated if syntax), "") or MEDIA_SYNTAXES.get(first.kind if first else "", EXPLICIT_LITTLE)
    if not uid_is_valid(found) or not (found in _WRITABLE or UID(found).is_encapsulated):
        raise Refused(0xC122, "transfer syntax: little endian or an encapsulated one is needed")
    return found


def _element(tag: int, stated: dict[str, Any], parts: list[_Bulk], *, is_encapsulated: bool) -> DataElement:
    for part in parts:
        part.file.seek(0)
    if is_encapsulated:
        element = DataElement(tag, "OB", encapsulate_buffer([part.file for part in parts]))
        element.is_undefined_length = True
        return element
    if len(parts) > 1:
        raise Refused(NOT_UNDERSTOOD, "several parts of uncompressed bulk data have one Content-Location")
    vr = str(stated.get("vr", "OB"))
    if vr in {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}:
        return DataElement(tag, vr, parts[0].file)
    return DataElement(tag, vr, parts[0].file.read(NESTED_BYTES).decode("utf-8"))
