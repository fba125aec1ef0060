"""A-ASSOCIATE-RQ, -AC and -RJ as bytes (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3.3): read from a peer, written to one.

`wire` answers requests with it, `sending` asks with it, `frontdoor` refuses with it.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from imaging.dimse.contract import Refusal
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 1, 2, 3, 4, 5, 6, 7
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
ACCEPTED, NO_REASON, CLASS_UNKNOWN, SYNTAX_UNKNOWN = 0, 2, 3, 4  # PS3.8 table 9-18
MAX_CONTEXTS = 128

PDU = struct.Struct(">BxI")
_ITEM = struct.Struct(">BxH")
_CALLED, _CALLING, _ITEMS = slice(10, 26), slice(26, 42), 74
_ROLE = struct.Struct(">BB")

RELEASE_RQ_BYTES = struct.pack(">BxIxxxx", RELEASE_RQ, 4)
RELEASE_RP_BYTES = struct.pack(">BxIxxxx", RELEASE_RP, 4)
ABORT_BY_PROVIDER = struct.pack(">BxIxxBB", ABORT, 4, 2, 0)
ABORT_BY_USER = struct.pack(">BxIxxBB", ABORT, 4, 0, 0)


class MalformedError(ValueError):
    """The peer's association PDU breaks PS3.8; the text holds nothing the peer has sent."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """One presentation context of a request that came."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context of a request that we make."""

    sop_class_uid: str
    transfer_syntaxes: Sequence[str]


@dataclass(slots=True)
class AssociateRequest:
    """What an A-ASSOCIATE-RQ asks for."""

    encoded: bytes
    protocol_version: int = 1
    application_context: str = ""
    contexts: list[Proposed] = field(default_factory=list)
    pdu_bytes: int = 0  # the peer's maximum length; 0 means no limit
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)  # SOP class -> the requestor as SCU, as SCP
    extended: dict[str, bytes] = field(default_factory=dict)  # SOP class -> service class application information
    has_operations_window: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """Our answer to one proposed context."""

    context_id: int
    result: int
    transfer_syntax: str


def titles_read(request: bytes) -> tuple[str, str]:
    """(called, calling) AE title of an A-ASSOCIATE-RQ: 16 bytes each, spaces around them mean nothing."""
    called, calling = (request[part].decode("ascii", "replace").strip(" \0") for part in (_CALLED, _CALLING))
    return called, calling


def request_read(encoded: bytes) -> AssociateRequest:
    """Raises MalformedError. A context id that comes again is answered once: what the peer means by it cannot be told."""
    request = AssociateRequest(encoded, protocol_version=int.from_bytes(encoded[6:8], "big"))
    seen = set()
    for kind, body in _items(encoded[_ITEMS:]):
        if kind == 0x10:
            request.application_context = _uid(body)
        elif kind == 0x20 and len(body) >= 4:
            if body[0] not in seen and len(seen) < MAX_CONTEXTS:
                seen.add(body[0])
                request.contexts.append(_proposed(body))
        elif kind == 0x50:
            _user_read(request, body)
    return request


def _proposed(body: bytes) -> Proposed:
    abstract_syntax, syntaxes = "", []
    for kind, value in _items(body[4:]):
        if kind == 0x30:
            abstract_syntax = _uid(value)
        elif kind == 0x40:
            syntaxes.append(_uid(value))
    return Proposed(body[0], abstract_syntax, tuple(syntaxes))


def _user_read(request: AssociateRequest, body: bytes) -> None:
    for kind, value in _items(body):
        if kind == 0x51:
            request.pdu_bytes = int.from_bytes(value[:4], "big")
        elif kind == 0x53:
            request.has_operations_window = True
        elif kind == 0x54:
            uid, rest = _counted(value)
            if len(rest) >= 2:
                request.roles[uid] = (rest[0] == 1, rest[1] == 1)
        elif kind == 0x56:
            uid, rest = _counted(value)
            request.extended[uid] = rest


def _counted(value: bytes) -> tuple[str, bytes]:
    length = int.from_bytes(value[:2], "big")
    return _uid(value[2 : 2 + length]), value[2 + length :]


def accept_bytes(
    request: AssociateRequest, answers: Iterable[Answered], *, pdu_bytes: int, roles: Mapping[str, tuple[bool, bool]],
    extended: Mapping[str, bytes],
) -> bytes:
    """The A-ASSOCIATE-AC. An asynchronous operations window is answered with one operation each way (PS3.7 D.3.3.3)."""
    contexts = b"".join(
        _item(0x21, struct.pack(">BxBx", answer.context_id, answer.result) + _item(0x40, answer.transfer_syntax.encode()))
        for answer in answers
    )
    window = _item(0x53, struct.pack(">HH", 1, 1)) if request.has_operations_window else b""
    user = b"".join((
        *_user_items(pdu_bytes, window),
        *(_item(0x54, _count(uid) + _ROLE.pack(*given)) for uid, given in roles.items()),
        *(_item(0x56, _count(uid) + taken) for uid, taken in extended.items()),
    ))
    body = (
        struct.pack(">Hxx", 1) + request.encoded[10:_ITEMS] + _item(0x10, APPLICATION_CONTEXT.encode()) + contexts
        + _item(0x50, user)
    )  # fmt: skip
    return PDU.pack(ASSOCIATE_AC, len(body)) + body


def agreed_bytes(
    request: AssociateRequest, contexts: Mapping[int, tuple[str, str]], roles: Mapping[str, tuple[bool, bool]]
) -> bytes:
    """The request as it would have been, had it asked for just what was agreed: nothing else of the peer's bytes is in it."""
    proposed = b"".join(
        _item(0x20, struct.pack(">Bxxx", context_id) + _item(0x30, abstract.encode()) + _item(0x40, syntax.encode()))
        for context_id, (abstract, syntax) in contexts.items()
    )
    given = b"".join(_item(0x54, _count(uid) + _ROLE.pack(*role)) for uid, role in roles.items())
    body = (
        struct.pack(">Hxx", 1) + request.encoded[10:_ITEMS] + _item(0x10, APPLICATION_CONTEXT.encode()) + proposed
        + _item(0x50, b"".join((*_user_items(request.pdu_bytes), given)))
    )  # fmt: skip
    return PDU.pack(ASSOCIATE_RQ, len(body)) + body


def request_bytes(called_ae: str, calling_ae: str, proposals: Sequence[Proposal], pdu_bytes: int) -> bytes:
    """A-ASSOCIATE-RQ; context ids are 1, 3, 5 ... in the order of the proposals."""
    contexts = b"".join(
        _item(0x20, struct.pack(">Bxxx", 2 * index + 1) + _item(0x30, proposal.sop_class_uid.encode()) + b"".join(
            _item(0x40, syntax.encode()) for syntax in proposal.transfer_syntaxes
        ))
        for index, proposal in enumerate(proposals)
    )  # fmt: skip
    titles = called_ae.ljust(16).encode("ascii", "replace")[:16] + calling_ae.ljust(16).encode("ascii", "replace")[:16]
    body = (
        struct.pack(">Hxx", 1) + titles + bytes(32) + _item(0x10, APPLICATION_CONTEXT.encode()) + contexts
        + _item(0x50, b"".join(_user_items(pdu_bytes)))
    )  # fmt: skip
    return PDU.pack(ASSOCIATE_RQ, len(body)) + body


def accept_read(body: bytes, proposals: Sequence[Proposal]) -> tuple[dict[tuple[str, str], int], int]:
    """Of an A-ASSOCIATE-AC to our proposals: (class, syntax) -> context id, and the peer's maximum length."""
    contexts: dict[tuple[str, str], int] = {}
    pdu_bytes = 0
    for item, value in _items(body[68:]):
        if item == 0x21 and len(value) >= 4 and value[2] == ACCEPTED:
            index = value[0] // 2
            syntax = next((_uid(v) for i, v in _items(value[4:]) if i == 0x40), "")
            if index < len(proposals) and syntax in proposals[index].transfer_syntaxes:
                contexts.setdefault((proposals[index].sop_class_uid, syntax), value[0])
        elif item == 0x50:
            length = next((v for i, v in _items(value) if i == 0x51), b"")
            pdu_bytes = int.from_bytes(length[:4], "big")
    return contexts, pdu_bytes


def reject_bytes(refusal: Refusal) -> bytes:
    """A-ASSOCIATE-RJ, PS3.8 9.3.4."""
    return struct.pack(">BxIxBBB", ASSOCIATE_RJ, 4, refusal.result, refusal.source, refusal.diagnostic)


REFUSAL_REASONS = {
    (1, 1): "no reason given", (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized", (1, 7): "called AE title not recognized",
    (2, 1): "no reason given", (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion", (3, 2): "local limit exceeded",
}  # fmt: skip


def refusal_text(kind: int, body: bytes) -> str:
    """Why an association was not accepted, in the words of PS3.8 table 9-21."""
    if kind != ASSOCIATE_RJ or len(body) < 4:
        return "association aborted"
    return f"association rejected: {REFUSAL_REASONS.get((body[2], body[3]), 'unknown reason')}"


def _user_items(pdu_bytes: int, window: bytes = b"") -> tuple[bytes, ...]:
    return (
        _item(0x51, struct.pack(">I", pdu_bytes)), _item(0x52, IMPLEMENTATION_CLASS_UID.encode()), window,
        _item(0x55, IMPLEMENTATION_VERSION_NAME.encode()),
    )  # fmt: skip


def _count(uid: str) -> bytes:
    return struct.pack(">H", len(uid)) + uid.encode()


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ITEM.size <= len(data):
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size + length
        if at > len(data):
            raise MalformedError("an item longer than what it is in")
        yield kind, data[at - length : at]
