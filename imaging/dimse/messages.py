"""DIMSE messages as bytes (PS3.7 6.3, 9.3, Annex E): commands read, responses and C-STORE requests written, PDVs wrapped.

`lane`, `find` and `retrieve` answer with these; everything else on an association is pynetdicom's.
"""

import struct
from collections.abc import Iterator

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_GET_RQ, C_GET_RSP = 0x0010, 0x8010
C_FIND_RQ, C_FIND_RSP = 0x0020, 0x8020
C_MOVE_RQ, C_MOVE_RSP = 0x0021, 0x8021
C_CANCEL_RQ = 0x0FFF
C_ECHO_RQ, C_ECHO_RSP = 0x0030, 0x8030
# PS3.7 10.1: event report, get, set, action, create, delete; requests and responses
N_COMMANDS = frozenset(side | number << 4 for side in (0, 0x8000) for number in (0x10, 0x11, 0x12, 0x13, 0x14, 0x15))
NO_DATA_SET, WITH_DATA_SET = 0x0101, 0x0001

AFFECTED_CLASS, COMMAND_FIELD, MESSAGE_ID = 0x00000002, 0x00000100, 0x00000110
DATA_SET_TYPE, AFFECTED_INSTANCE = 0x00000800, 0x00001000
RESPONDED_ID, MOVE_DESTINATION, STATUS = 0x00000120, 0x00000600, 0x00000900
REMAINING, COMPLETED, FAILED, WARNED = 0x00001020, 0x00001021, 0x00001022, 0x00001023

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
INVALID_INSTANCE = 0x0117
CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700
CANNOT_PERFORM = 0xA702
DESTINATION_UNKNOWN = 0xA801
IDENTIFIER_MISMATCH = 0xA900
SOME_FAILED = 0xB000
CANNOT_UNDERSTAND = 0xC000
UNABLE_TO_PROCESS = 0xC001
CANCELLED = 0xFE00
PENDING, PENDING_WITH_WARNING = 0xFF00, 0xFF01

_ELEMENT = struct.Struct("<HHI")
_SHORT_ELEMENT = struct.Struct("<HHIH")
_PDV = struct.Struct(">BxIIBB")
_FRAGMENT = struct.Struct(">IBB")
LARGEST_PDU = 1 << 20  # that we send where the peer has no limit
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
    counts: dict[int, int] | None = None, has_data: bool = False,
) -> bytes:
    """The command set of a response; the comment is an LO, so 64 characters. `counts` are those of sub-operations by tag."""
    return _with_length(b"".join((
        _text(AFFECTED_CLASS, sop_class_uid, b"\0"),
        _SHORT_ELEMENT.pack(0, COMMAND_FIELD, 2, field),
        _SHORT_ELEMENT.pack(0, RESPONDED_ID, 2, message_id),
        _SHORT_ELEMENT.pack(0, DATA_SET_TYPE, 2, WITH_DATA_SET if has_data else NO_DATA_SET),
        _SHORT_ELEMENT.pack(0, STATUS, 2, status),
        _text(0x0902, comment[:64].rstrip(), b" "),
        _text(AFFECTED_INSTANCE, sop_instance_uid, b"\0"),
        *(_SHORT_ELEMENT.pack(0, tag, 2, min(count, 0xFFFF)) for tag, count in sorted((counts or {}).items())),
    )))


def store_request_bytes(
    *, message_id: int, sop_class_uid: str, sop_instance_uid: str, originator: tuple[str, int] | None = None,
) -> bytes:
    """The command set of a C-STORE-RQ; `originator` is AE title and message of the C-MOVE behind it (PS3.7 9.3.1.1)."""
    return _with_length(b"".join((
        _text(AFFECTED_CLASS, sop_class_uid, b"\0"),
        _SHORT_ELEMENT.pack(0, COMMAND_FIELD, 2, C_STORE_RQ),
        _SHORT_ELEMENT.pack(0, MESSAGE_ID, 2, message_id),
        _SHORT_ELEMENT.pack(0, 0x0700, 2, 0),  # priority: medium
        _SHORT_ELEMENT.pack(0, DATA_SET_TYPE, 2, WITH_DATA_SET),
        _text(AFFECTED_INSTANCE, sop_instance_uid, b"\0"),
        _text(0x1030, originator[0], b" ") + _SHORT_ELEMENT.pack(0, 0x1031, 2, originator[1]) if originator else b"",
    )))


def _with_length(body: bytes) -> bytes:
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def pdv_head(context_id: int, control: int, length: int) -> bytes:
    """What stands before a fragment of this length: P-DATA-TF and PDV heads, 12 bytes (PS3.8 9.3.5)."""
    return _PDV.pack(4, length + PDV_OVERHEAD, length + 2, context_id, control)


def pdv_wrapped(context_id: int, control: int, fragment: bytes | memoryview) -> bytes:
    """A P-DATA-TF with this one fragment."""
    return pdv_head(context_id, control, len(fragment)) + fragment


def message_pdu(context_id: int, command: bytes, encoded: bytes) -> bytes:
    """One P-DATA-TF with a whole command set and a whole data set, a fragment each (PS3.8 9.3.5, Annex E.2)."""
    return b"".join((
        _PDV.pack(4, len(command) + len(encoded) + 2 * PDV_OVERHEAD, len(command) + 2, context_id, 3), command,
        _FRAGMENT.pack(len(encoded) + 2, context_id, 2), encoded,
    ))


def command_pdus(context_id: int, command: bytes, peer_pdu_bytes: int) -> Iterator[bytes]:
    """A whole command set, in pieces when the peer's maximum length is very small (0 means no limit)."""
    return _pdus(context_id, command, peer_pdu_bytes, is_command=1)


def data_pdus(context_id: int, encoded: bytes, peer_pdu_bytes: int) -> Iterator[bytes]:
    """A whole data set, likewise."""
    return _pdus(context_id, encoded, peer_pdu_bytes, is_command=0)


def fragment_bytes(peer_pdu_bytes: int, *, ours: int) -> int:
    """The longest fragment for this peer: even (PS3.8 9.3.5.1), and never more than we ourselves send at once."""
    length = min(peer_pdu_bytes or ours, ours) - PDV_OVERHEAD
    return max(length - length % 2, 2)


def _pdus(context_id: int, encoded: bytes, peer_pdu_bytes: int, *, is_command: int) -> Iterator[bytes]:
    step = fragment_bytes(peer_pdu_bytes, ours=LARGEST_PDU)
    if len(encoded) <= step:
        yield pdv_wrapped(context_id, is_command | 2, encoded)
        return
    for at in range(0, len(encoded), step):
        is_last = at + step >= len(encoded)
        yield pdv_wrapped(context_id, is_command | 2 * is_last, encoded[at : at + step])
