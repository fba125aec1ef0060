"""Part 10 files (PS3.10 7.1): the file meta we put in front of received bytes, and the cut between the two.

`imaging.ingest` writes with it, STOW-RS and the archive read with it.
"""

import struct

from imaging.header import Bytes, meta_walk

IMPLEMENTATION_CLASS_UID = "2.25.70935145512192202966905021835134737811"
IMPLEMENTATION_VERSION_NAME = "MEDHUB_1"

_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sHI")
_PREFIX = b"\0" * 128 + b"DICM"
_VERSION = _LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\x00\x01"


def _text_element(element: int, vr: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("ascii")
    value += pad * (len(value) % 2)
    return _SHORT.pack(2, element, vr, len(value)) + value


_IMPLEMENTATION = _text_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0") + _text_element(
    0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" ",
)


def file_meta_bytes(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str = "",
) -> bytes:
    """Preamble, prefix and group 0002 for a data set that follows as it was received.

    The preamble is always zero, so that a file can never be something else as well (PS3.10 7.1, security note).
    """
    body = b"".join((
        _VERSION,
        _text_element(0x0002, b"UI", sop_class_uid, b"\0"),
        _text_element(0x0003, b"UI", sop_instance_uid, b"\0"),
        _text_element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
        _IMPLEMENTATION,
        _text_element(0x0016, b"AE", source_ae, b" ") if source_ae else b"",
    ))
    return _PREFIX + _SHORT.pack(2, 0, b"UL", 4) + struct.pack("<I", len(body)) + body


def part10_split(data: Bytes) -> tuple[dict[int, str], int]:
    """(group 0002 as tag -> text, offset of the data set). Missing elements are simply absent: the caller decides.

    Real files lack the Media Storage UIDs or a right group length, and the data set has them anyway.
    """
    return meta_walk(data)
