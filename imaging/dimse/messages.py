"""DIMSE messages as bytes (PS3.7 6.3, 9.3, Annex E): commands read, C-STORE and C-ECHO responses written, PDVs wrapped.

`lane` answers with these; everything else on an association is pynetdicom's.
"""

import struct
from collections.abc import Iterator

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_ECHO_RQ, C_ECHO_RSP = 0x0030, 0x8030
NO_DATA_SET = 0x0101

AFFECTED_CLASS, COMMAND_FIELD, MESSAGE_ID = 0x00000002, 0x00000100, 0x00000110
DATA_SET_TYPE, AFFECTED_INSTANCE = 0x00000800, 0x00001000

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
INVALID_INSTANCE = 0x0117
CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000

_ELEMENT = struct.Struct("<HHI")
_SHORT_ELEMENT = struct.Struct("<HHIH")
_PDV = struct.Struct(">BxIIBB")
PDV_OVERHEAD = 6  # what a P-DATA-TF's own length counts besides the fragment


def command_read(encoded: bytes) -> dict[int, bytes]:
    """Command elements by tag: always implicit little endian and flat (PS3.7 6.3.1). ValueError when they are not."""
    at, elements = 0, {}
    while at < len(encoded):
        if at + 8 > len(encoded):
            raise ValueError("the command set ends inside an element")
        group, element, length = _ELEMENT.unpack_from(encoded, at)
        at += 8 + length
        if group or at > len(encoded):
            raise ValueError("the command set is malformed")
        elements[element] = encoded[at - length : at]
    return elements


def number_of(command: dict[int, bytes], tag: int) -> int:
    """A US element; ValueError when it is absent or no US."""
    value = command.get(tag, b"")
    if len(value) != 2:
        raise ValueError("a command element is missing")
    return int.from_bytes(value, "little")


def uid_of(command: dict[int, bytes], tag: int) -> str:
    return command.get(tag, b"").decode("ascii", "replace").strip(" \0")


def _text(tag: int, text: str, pad: bytes) -> bytes:
    if not text:
        return b""
    value = text.encode("ascii", "replace")
    value += pad * (len(value) % 2)
    return _ELEMENT.pack(0, tag, len(value)) + value


def response_bytes(
    *, field: int, message_id: int, status: int, sop_class_uid: str = "", sop_instance_uid: str = "", comment: str = "",
) -> bytes:
    """The command set of a C-STORE-RSP or C-ECHO-RSP; the comment is an LO, so 64 characters."""
    body = b"".join((
        _text(AFFECTED_CLASS, sop_class_uid, b"\0"),
        _SHORT_ELEMENT.pack(0, COMMAND_FIELD, 2, field),
        _SHORT_ELEMENT.pack(0, 0x0120, 2, message_id),
        _SHORT_ELEMENT.pack(0, DATA_SET_TYPE, 2, NO_DATA_SET),
        _SHORT_ELEMENT.pack(0, 0x0900, 2, status),
        _text(0x0902, comment[:64].rstrip(), b" "),
        _text(AFFECTED_INSTANCE, sop_instance_uid, b"\0"),
    ))
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def pdv_wrapped(context_id: int, control: int, fragment: bytes | memoryview) -> bytes:
    """A P-DATA-TF with this one fragment (PS3.8 9.3.5)."""
    return _PDV.pack(4, len(fragment) + PDV_OVERHEAD, len(fragment) + 2, context_id, control) + fragment


def command_pdus(context_id: int, command: bytes, peer_pdu_bytes: int) -> Iterator[bytes]:
    """A whole command set, in pieces when the peer's maximum length is very small (0 means no limit)."""
    step = max(peer_pdu_bytes - PDV_OVERHEAD, 1) if peer_pdu_bytes else len(command)
    for at in range(0, len(command), step):
        is_last = at + step >= len(command)
        yield pdv_wrapped(context_id, 3 if is_last else 1, command[at : at + step])
