"""What crosses the border between the DIMSE door and the rest of imaging: the door gets callables, they get these."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Admission:
    """An association that may open, and whose it is."""

    tenant_id: int
    association_id: int
    trace_id: str
    calling_ae: str
    called_ae: str
    address: str = ""
    services: frozenset[str] = frozenset({"store"})  # of imaging.nodes.SERVICES, and "answer"; or "return" alone

    @property
    def key(self) -> int:
        return self.association_id


@dataclass(frozen=True, slots=True)
class Knock:
    """A connection to the TLS port: who it is will be known when hands are shaken."""

    number: int
    address: str

    @property
    def key(self) -> int:
        """Never that of an admission."""
        return -self.number


@dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21). `text` is for our log and portal; the protocol has no room for it."""

    result: int
    source: int
    diagnostic: int
    text: str


CALLED_AE_UNKNOWN = (1, 1, 7)
CALLING_AE_UNKNOWN = (1, 1, 3)
NO_REASON = (1, 1, 1)
TEMPORARY_CONGESTION = (2, 3, 1)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """A C-STORE response (PS3.4 B.2.3). `comment` travels to the peer, so it never holds patient data."""

    status: int
    comment: str = ""


class Admit(Protocol):
    """Asked once for every association request, on a thread that may wait for a database.

    `certificate` is given for TLS: the fingerprint (SHA-256, hex) of a client certificate of one of the trusted authorities.
    """

    def __call__(self, *, called_ae: str, calling_ae: str, address: str, certificate: str = "") -> Admission | Refusal: ...


class Refused(Protocol):
    """Told of a request that the door has refused by itself, so that its hospital sees the reason."""

    def __call__(self, *, called_ae: str, calling_ae: str, address: str, reason: str) -> object: ...


class StoreRefused(Exception):
    """An arriving object is not taken; what still comes of it is read and dropped."""

    def __init__(self, answer: StoreAnswer) -> None:
        super().__init__(answer.comment)
        self.answer = answer


class Incoming(Protocol):
    """One data set on its way in, fragment by fragment. `close` is always called, and removes what was not kept."""

    def write(self, fragment: memoryview) -> None:
        """The fragment is valid only during the call. Raises StoreRefused."""

    def finish(self) -> StoreAnswer:
        """All of it has come: the peer is answered when this returns."""

    def close(self) -> None: ...


class Receive(Protocol):
    """Asked for each C-STORE whose command set is in order; does not touch disk or database yet."""

    def __call__(
        self, *, admission: Admission, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> Incoming: ...


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What came with a C-FIND, C-MOVE or C-GET: the identifier as it was encoded."""

    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes
    is_combined: bool = False  # combined date-time matching was negotiated (PS3.4 C.5.1.1)


class InquiryRefused(Exception):
    """A final status other than success, at the beginning or behind some answers. `comment` travels to the peer."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


@dataclass(frozen=True, slots=True)
class Found:
    """Matches of a C-FIND, encoded, made while they are taken. Taking may raise InquiryRefused."""

    pending_status: int
    identifiers: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object to send."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: str | os.PathLike[str]  # under S3 the bytes are fetched when it is opened


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a C-MOVE or a send goes: an address that was checked, not a name. With `tls` the certificate must be `host`'s."""

    ae_title: str
    address: str
    port: int
    tls: SSLContext | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """All objects of a C-MOVE or C-GET, decided before the first one leaves."""

    objects: Sequence[StoredObject]
    destination: Destination | None = None


class Find(Protocol):
    """Raises InquiryRefused."""

    def __call__(self, *, admission: Admission, inquiry: Inquiry) -> Found: ...


class Retrieve(Protocol):
    """`destination` is the AE title of a C-MOVE, empty for a C-GET. Raises InquiryRefused."""

    def __call__(self, *, admission: Admission, inquiry: Inquiry, destination: str = "") -> Retrieval: ...


class Alive(Protocol):
    """Told every few seconds which associations are open, to renew their leases."""

    def __call__(self, *, admissions: Sequence[Admission]) -> object: ...


class Ended(Protocol):
    """Told once how an association ended: "released", "aborted" or "lost"."""

    def __call__(self, *, admission: Admission, outcome: str, stored: int) -> object: ...


@dataclass(frozen=True, slots=True)
class Services:
    """The callables one listener works with."""

    admit: Admit
    receive: Receive
    alive: Alive
    ended: Ended
    # runs on each association's receiving thread when it is over: where a thread's database connection is closed
    thread_end: Callable[[], object] | None = None
    # without these two, query and retrieve are not offered
    find: Find | None = None
    retrieve: Retrieve | None = None
    # without it there is no TLS port; asked for each connection, and may answer with the context it had before
    secure: Callable[[], SSLContext] | None = None
    refused: Refused | None = None
    # what pynetdicom serves: SOP classes offered for it, and (event, handler) pairs for its association
    others: frozenset[str] = frozenset()
    handlers: Callable[["Admission"], Sequence[tuple[Any, Callable[..., Any]]]] | None = None

    @property
    def is_queried(self) -> bool:
        return self.find is not None and self.retrieve is not None


REQUEST_BYTES = 192 << 10  # an A-ASSOCIATE-RQ with 128 contexts of many syntaxes has about 60 KiB


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Before an association exists."""

    request_seconds: float = 5.0  # from accept to the last byte of the A-ASSOCIATE-RQ
    request_bytes: int = REQUEST_BYTES
    waiting: int = 512
    waiting_per_address: int = 128  # a hospital behind one address opens dozens at once
    admitting: int = 8  # admissions asked for at the same time
    handshakes: int = 256  # TLS, under way: each costs a receiver one thread
    handshakes_per_address: int = 32
    open_per_address: int = 96  # associations; behind one address there may be a whole hospital
    open_per_tenant: int = 96


@dataclass(frozen=True, slots=True)
class AssociationLimits:
    """Once it exists."""

    pdu_bytes: int = 131072
    pdu_seconds: float = 60.0  # one PDU, from the first byte of its header
    idle_seconds: float = 60.0
    association_seconds: float = 8 * 3600.0
    send_seconds: float = 30.0
    object_bytes: int = 4 << 30
    handshake_seconds: float = 5.0  # TLS, from the hand-over to its end
    request_seconds: float = 5.0  # then the whole A-ASSOCIATE-RQ, which the front door could not look at
    connect_seconds: float = 10.0  # to the destination of a C-MOVE, its A-ASSOCIATE-AC included
    response_seconds: float = 60.0  # a C-STORE-RSP to what we send
