"""What a platform is to us: facts of a study in, a way out, an answer back. Platforms know this file, cards, findings and their wire."""

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ai.cards import Card, Deidentification, Setting
from ai.eligibility import StudyFacts, Verdict, verdict_of
from ai.findings import Answer, ReportContent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PlatformError(Exception):
    """A platform did not do its part. `is_permanent`: trying again changes nothing. The words never hold a vendor's body or PHI."""

    def __init__(self, user_message: str, *, is_permanent: bool) -> None:
        super().__init__(user_message)
        self.user_message = user_message
        self.is_permanent = is_permanent


Content = bytes | Iterator[bytes] | Callable[[], Iterator[bytes]] | None
"""A request's body. A callable makes the stream anew, so that it can be hashed first, or sent again with a fresh token."""


class Http(Protocol):
    """tenants.egress as a platform sees it: the only way out."""

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: Content = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and the whole body, which is held in memory."""

    def request_to_file(
        self, method: str, url: str, *, headers: Mapping[str, str], target: Path, max_bytes: int, content: Content = None
    ) -> tuple[int, Mapping[str, str]]:
        """The body, of whatever status, goes to `target`; it is at most `max_bytes` long."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An application entity to send to."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    has_tls: bool = False


class Dimse(Protocol):
    """imaging.scu as a platform sees it."""

    def store(self, files: Sequence[Path], peer: Peer) -> int:
        """C-STORE all; returns how many were taken. Raises PlatformError when not all were."""

    def echo(self, peer: Peer) -> None:
        """C-ECHO. Raises PlatformError."""


class Worklist(Protocol):
    """Our own UPS-RS worklist (ai/workitems) as a platform sees it."""

    def create(self, handle: "Handle", *, label: str) -> str:
        """A workitem for this job; returns its UID. The same handle gives the same workitem."""

    def cancel(self, workitem_uid: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A job's series as one volume. `sop_uids`: its slices in order; `affine`: three rows, (column, row, slice, 1) to RAS in mm."""

    sop_uids: tuple[str, ...]
    rows: int
    columns: int
    affine: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of a long request: its status, and for 2xx the file that holds the body, which lies there as long as the job."""

    status: int
    file: Path


class Room(Protocol):
    """What lasts from one step of a job to the next, until the job ends (ai/rooms.py)."""

    def volume(self) -> Volume:
        """The job's series as a NIfTI file in the room; made once. Raises PlatformError, permanent, when it is not one volume."""

    def offer(self) -> str:
        """An address where that file can be fetched once, without a header, for some minutes."""

    def ask(self, url: str, *, headers: Mapping[str, str], content: Callable[[], bytes], max_bytes: int) -> Told | None:
        """POST what takes minutes, beside the worker. None while it is under way; the answer each time afterwards.

        `content` is asked for only when a request is begun. One that failed raises PlatformError once, and the next call begins anew;
        so does the call after a worker's death, which ends its request.
        """

    def forget(self) -> None:
        """The answer is none: the next `ask` begins anew."""


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Every way out that a platform may use; http already carries the connection's authentication.

    `folder`: an empty one of this job's, for objects that a poll brings; whoever called empties it. `room`: none outside of a job.
    """

    http: Http
    dimse: Dimse
    worklist: Worklist
    folder: Path
    room: Room | None = None


@dataclass(frozen=True, kw_only=True)
class Handle:
    """What is sent: the files of the chosen series, de-identified, and a key that makes sending twice harmless.

    All UIDs are the surrogates the vendor sees. `pull_url` is our DICOMweb base of this one study, `pull_token` a bearer
    token for it that lives as long as the job may; `hook_url` is where a signed answer may be posted.
    """

    idempotency_key: str
    algorithm: str
    study_uid: str
    series_uid: str
    files: Sequence[Path]
    sop_uids: tuple[str, ...] = ()
    patient_id: str = ""
    modality: str = ""
    body_part: str = ""
    is_stat: bool = False
    pull_url: str = ""
    pull_token: str = ""
    hook_url: str = ""
    report: ReportContent | None = None  # for wording, also when asked: what was found, by whom; no identity in it

    @property
    def sent(self) -> "Sent":
        """Study, series and instances, as an answer is told them."""
        return Sent(study_uid=self.study_uid, series_uid=self.series_uid, sop_uids=self.sop_uids)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What a job had sent, for answers that do not repeat it: surrogate UIDs, as on its Handle."""

    study_uid: str
    series_uid: str
    sop_uids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Payload:
    """An answer as it came: JSON or FHIR as data, DICOM objects as files. All UIDs are still the vendor's view.

    `labels`: `files` holds a label map, `data` what it is read by. `none`: the other side ended without an answer.
    `sent` is set by whoever received it, poll and hook alike.
    """

    kind: Literal["json", "fhir", "dicom", "labels", "none"]
    data: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    sent: Sent | None = None


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Labels over images, as (slices, rows, columns), slice by slice of `sop_uids`: 0 is nothing, n the answer's n-th region."""

    sop_uids: tuple[str, ...]
    labels: "NDArray[np.uint8]" = field(repr=False, compare=False)


class Platform:
    """Base of every file in ai/platforms. A subclass registers itself by its card's slug."""

    card: ClassVar[Card]
    settings: ClassVar[tuple[Setting, ...]] = ()
    wire: ClassVar[str] = ""  # dicomweb, fhir, dimse, ups, inference, chat
    deidentification: ClassVar[Deidentification] = "default"
    is_answer_pushed: ClassVar[bool] = False  # the answer comes by hook, C-STORE, STOW or workitem: nothing to poll
    patience_seconds: ClassVar[float] = 30.0  # silence of the other side within one request
    room_seconds: ClassVar[float] = 900.0  # the same of a request that `Room.ask` makes
    registry: ClassVar[dict[str, "Platform"]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "card" in cls.__dict__:  # a base of several platforms has none
            Platform.registry[cls.card.slug] = cls()

    def accepts(self, facts: StudyFacts, algorithm: str) -> Verdict:
        """On-label or not, and which series. Off-label is refused with the reason."""
        return verdict_of(card=self.card, facts=facts, algorithm=algorithm)

    def authenticated(self, settings: Mapping[str, str], http: Http) -> Http:
        """The same way out, carrying this connection's credentials on each request."""
        return http

    def certificate(self, settings: Mapping[str, str]) -> tuple[str, str] | None:
        """For mutual TLS: PEM of our certificate and of its key, where the connection has them."""
        pair = settings.get("client_certificate", ""), settings.get("client_key", "")
        return pair if all(pair) else None

    def is_pushed(self, settings: Mapping[str, str]) -> bool:
        """Whether this connection's answers come by themselves; `poll` is not called then."""
        return self.is_answer_pushed

    def is_laid_out(self, settings: Mapping[str, str]) -> bool:
        """Whether sending only puts the work on our own worklist, where the other side finds it."""
        return settings.get("way") == "ups"

    def is_pulling(self, settings: Mapping[str, str]) -> bool:
        """Whether this connection fetches the images with `Handle.pull_token`."""
        return settings.get("way") in {"task", "pull"}

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        """Hand the study over; returns the platform's id of the job. Raises PlatformError."""
        raise NotImplementedError

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        """The answer, or None while it computes. `handle.files` is empty then. Raises PlatformError."""
        raise NotImplementedError

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        """Read an answer; its shape is checked first. Raises PlatformError when it says something it must not."""
        raise NotImplementedError

    def mask(self, payload: Payload, answer: Answer) -> Mask:
        """The labels behind those regions of an answer that have no object of their own (`sop_uid` is empty). Raises PlatformError."""
        raise PlatformError("the answer has regions and no mask", is_permanent=True)

    def cancel(self, remote_id: str, settings: Mapping[str, str], ways: Ways) -> None:
        """Tell the platform that nobody waits any more; nothing where it has no such word."""

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        """The "Test connection" button: a sentence about what answered. Raises PlatformError."""
        raise NotImplementedError


def platforms() -> dict[str, Platform]:
    """Every platform by slug: whatever file lies in ai/platforms."""
    package = import_module("ai.platforms")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"ai.platforms.{module.name}")
    return Platform.registry
