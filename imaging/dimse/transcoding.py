"""A stored object as an uncompressed data set (PS3.5 A.1, A.2), for peers that take nothing else. `outgoing` asks.

What a header claims is checked before anything is allocated; a decoder may still fail, and then this one object does.
"""

import io
import os
import zlib

import numpy as np
from pydicom import config, dcmread
from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

import imaging.decoding  # noqa: F401 chooses who decodes
from imaging.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from imaging.header import DEFLATED_SYNTAXES, Part10Head, part10_read
from imaging.part10 import file_meta_bytes

# pydicom's warnings about values quote them, and they would end in the log
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE

PIXELS_CAP = 1 << 30  # bytes of one object when it is uncompressed
ROWS, COLUMNS, FRAMES, SAMPLES, ALLOCATED = 0x00280010, 0x00280011, 0x00280008, 0x00280002, 0x00280100
_WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_WANTED = frozenset((ROWS, COLUMNS, FRAMES, SAMPLES, ALLOCATED))


class TranscodingError(Exception):
    """This object cannot be had uncompressed; the text holds nothing from it."""


def dataset_transcode(path: os.PathLike[str] | str, *, transfer_syntax_uid: str) -> bytes:
    """The data set without group 0002 in explicit or implicit little endian. Raises TranscodingError, or what decoders raise."""
    head = part10_read(path, wanted=_WANTED)
    _check_claims(head)
    source: object = path
    if head.transfer_syntax_uid in DEFLATED_SYNTAXES:
        inflated = _inflated(path, head)
        if transfer_syntax_uid == EXPLICIT_LITTLE:
            return inflated
        meta = file_meta_bytes(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=EXPLICIT_LITTLE)
        source = io.BytesIO(meta + inflated)
    dataset = dcmread(source, force=True)  # type: ignore[arg-type]
    if UID(str(dataset.file_meta.TransferSyntaxUID)).is_compressed:
        # the object stays the same one: its pixels are, and lossy ones say so in their own attributes (PS3.3 C.7.6.1.1.5)
        dataset.decompress(generate_instance_uid=False)
    return _encoded(dataset, is_implicit=transfer_syntax_uid == IMPLICIT_LITTLE)


def _encoded(dataset: FileDataset, *, is_implicit: bool) -> bytes:
    is_big = dataset.original_encoding[1] is False
    for element in dataset.iterall():  # makes values of raw bytes, which would else be written as they are
        size = _WORD_BYTES.get(element.VR)
        if is_big and size and isinstance(element.value, bytes):
            element.value = _swapped(element.value, size)
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = is_implicit, True
    write_dataset(target, dataset)
    return target.getvalue()


def _swapped(value: bytes, size: int) -> bytes:
    whole = len(value) - len(value) % size
    return np.frombuffer(value[:whole], dtype=f"u{size}").byteswap().tobytes() + value[whole:]


def _check_claims(head: Part10Head) -> None:
    """A few bytes may claim 65535 x 65535 pixels."""
    header, size = head.header, 1
    for tag in (ROWS, COLUMNS, FRAMES, SAMPLES, ALLOCATED):
        size *= max(header.int(tag) or 1, 1)
    if size // 8 > PIXELS_CAP:
        raise TranscodingError("more pixels than this server decodes")


def _inflated(path: os.PathLike[str] | str, head: Part10Head) -> bytes:
    """A deflated data set (PS3.5 A.5) is an explicit little endian one behind the compression."""
    with open(path, "rb") as file:
        file.seek(head.data_set_offset)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated = inflater.decompress(file.read(), PIXELS_CAP)
    if inflater.unconsumed_tail:
        raise TranscodingError("more pixels than this server inflates")
    return inflated
