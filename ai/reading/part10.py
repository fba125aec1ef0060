"""One DICOM file of an answer -> Dataset, checked to its last byte first. Whatever is wrong with it ends as a PlatformError."""

import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ai.contract import PlatformError
from ai.reading.framing import framing_check

# Values are a stranger's and may be a patient's: pydicom must not write them into warnings.
config.settings.reading_validation_mode = config.IGNORE

MAX_BYTES = 1 << 30  # a mask or a film; only its header comes into memory
MAX_HEADER = 64 << 20  # what does; a deflated object as a whole
PREAMBLE = 132
META_HEAD = 12  # (0002,0000) itself


def refusal(words: str) -> PlatformError:
    """An answer that stays wrong however often it is fetched."""
    return PlatformError(words, is_permanent=True)


@contextmanager
def hostile(words: str) -> Iterator[None]:
    """Inside, bytes of strangers are parsed: pydicom raises whatever it likes, and all of it means these words."""
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:  # noqa: BLE001 see above; the cause stays with the error for the tracker
        raise refusal(words) from error


def header_read(path: Path) -> Dataset:
    """The object without its pixels. Raises PlatformError for HTML, cut files, bombs and everything else that is no DICOM object."""
    with hostile("an object of the answer cannot be read as DICOM"):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise refusal("an object of the answer is too large")
        with path.open("rb") as file:
            if file.read(PREAMBLE)[128:] != b"DICM":
                raise refusal("a part of the answer is no DICOM object")
        meta = read_file_meta_info(path)
        start = PREAMBLE + META_HEAD + int(meta.FileMetaInformationGroupLength)
        if meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
            dataset = _inflated(path, start)
        else:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header_end = framing_check(
                    data,  # type: ignore[arg-type]  # a map reads like bytes
                    start=start,
                    is_implicit=meta.TransferSyntaxUID == ImplicitVRLittleEndian,
                    is_big_endian=meta.TransferSyntaxUID == ExplicitVRBigEndian,
                )
            if header_end > MAX_HEADER:
                raise refusal("a document of the answer is too large")
            dataset = dcmread(path, stop_before_pixels=True)
        if not dataset.get("SOPClassUID") or not dataset.get("SOPInstanceUID") or not dataset.get("StudyInstanceUID"):
            raise refusal("an object of the answer has no identity")
        return dataset


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is absent or empty."""
    return list(dataset.get(keyword) or ())


def _inflated(path: Path, start: int) -> Dataset:
    """A deflated object, never more of it than MAX_HEADER."""
    if path.stat().st_size > MAX_HEADER:
        raise refusal("an object of the answer is too large")
    content = path.read_bytes()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(content[start:], MAX_HEADER)
    if not inflater.eof:
        raise refusal("an object of the answer is cut short or too large")
    framing_check(body, start=0, is_implicit=False)
    meta = read_file_meta_info(path)
    dataset = dcmread(BytesIO(body), force=True, stop_before_pixels=True)
    dataset.file_meta = meta
    return dataset
