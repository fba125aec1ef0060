"""A DICOMweb store in memory, as the clouds and the performers of this sandbox have one (PS3.18 chapter 10)."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from sandbox.http import Refusal, Reply, Request, Router, json_reply

BOUNDARY = "part-of-a-test-double"
JSON = "application/dicom+json"
DUPLICATE, VALIDATION = 45070, 43264
RESULTS = frozenset({"SR", "SEG", "DOC"})  # modalities of what a performer makes


@dataclass(frozen=True)
class Held:
    study: str
    series: str
    sop: str
    sop_class: str
    modality: str
    patient: str
    content: bytes
    number: int
    is_whole: bool = True  # what is handed out is what was made
    at: float = field(default_factory=time.time)


class _Related(PushMultipartParser):  # type: ignore[misc]
    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        return MultipartSegment(headerlist)


class Archive:
    """`is_strict`: an object that is there already is a failure with 45070, as at Azure. `arrived(study)` is told of each request."""

    def __init__(self, *, is_strict: bool = False, max_request: int = 256 * 1024**2, arrived: Callable[[str], None] | None = None):
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._is_strict, self._max_request, self._arrived = is_strict, max_request, arrived

    def mount(self, router: Router, prefix: str, guard: Callable[[Request], None]) -> None:
        """STOW, QIDO and WADO under `prefix`; `guard` refuses who may not."""

        def guarded(handler: Callable[..., Reply]) -> Callable[..., Reply]:
            def run(request: Request, **names: str) -> Reply:
                guard(request)
                return handler(request, **names)

            return run

        study, series, sop = r"/studies/(?P<study>[0-9.]+)", r"/series/(?P<series>[0-9.]+)", r"/instances/(?P<sop>[0-9.]+)"
        router.add("POST", rf"{prefix}/studies", guarded(self._post))
        router.add("GET", rf"{prefix}/studies", guarded(self._studies))
        router.add("GET", rf"{prefix}{study}/series", guarded(self._series))
        router.add("GET", rf"{prefix}{study}(?:{series})?/instances", guarded(self._instances))
        router.add("GET", rf"{prefix}{study}(?:{series}(?:{sop})?)?", guarded(self._retrieve))
        router.add("GET", rf"{prefix}/changefeed", guarded(self._changes))

    def of(self, study: str) -> list[Held]:
        with self._lock:
            return [item for item in self._held.values() if item.study == study]

    def results_put(self, study: str, contents: list[bytes], given: list[bytes]) -> None:
        """Results of a study, unless good ones are there; `given` is what is handed out for `contents`."""
        with self._lock:
            before = [item for item in self._held.values() if item.study == study and item.modality in RESULTS]
            if before and all(item.is_whole for item in before):
                return
            for item in before:
                del self._held[item.sop]
        for content, other in zip(contents, given, strict=True):
            self.put(content, given=other)

    def put(self, content: bytes, *, given: bytes | None = None) -> int:
        """Keep one object, and hand out `given` for it; 0, or the failure reason of (0008,1197)."""
        try:
            ds = dcmread(io.BytesIO(content), stop_before_pixels=True)
            held = Held(
                str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID), str(ds.SOPClassUID),
                str(ds.get("Modality", "")), str(ds.get("PatientID", "")), content if given is None else given,
                len(self._held) + 1, given in {None, content},
            )  # fmt: skip
        except (InvalidDicomError, AttributeError, EOFError, ValueError):
            return VALIDATION
        with self._lock:
            if held.sop in self._held:
                return DUPLICATE if self._is_strict else 0
            self._held[held.sop] = held
        return 0

    def _post(self, request: Request) -> Reply:
        if len(request.body) > self._max_request:
            raise Refusal(413, "too much in one request")
        contents = list(_parts(request))
        if not contents:
            return Reply(204)
        taken, failed = [], []
        for content in contents:
            reason = self.put(content)
            (failed if reason else taken).append((_uids(content), reason))
        answer: dict[str, Any] = {}
        if taken:
            answer["00081199"] = {"vr": "SQ", "Value": [_named(uids) for uids, _ in taken]}
        if failed:
            failures = [{**_named(uids), "00081197": {"vr": "US", "Value": [reason]}} for uids, reason in failed]
            answer["00081198"] = {"vr": "SQ", "Value": failures}
        if taken and self._arrived:
            self._arrived(taken[0][0][2])
        status = 200 if not failed else (202 if taken else 409)
        return json_reply(answer, status, JSON)

    def _page(self, request: Request, rows: list[dict[str, Any]]) -> Reply:
        start, limit = int(request.query.get("offset", "0")), int(request.query.get("limit", "100"))
        page = rows[start : start + limit]
        return json_reply(page, kind=JSON) if page else Reply(204)

    def _studies(self, request: Request) -> Reply:
        uids = sorted({item.study for item in self._held.values()})
        return self._page(request, [{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in uids])

    def _series(self, request: Request, study: str) -> Reply:
        found = {item.series: item for item in self.of(study)}
        return self._page(
            request,
            [
                {"0020000E": {"vr": "UI", "Value": [uid]}, "00080060": {"vr": "CS", "Value": [item.modality]}}
                for uid, item in sorted(found.items())
            ],
        )

    def _instances(self, request: Request, study: str, series: str | None = None) -> Reply:
        found = [item for item in self.of(study) if series in {None, item.series}]
        return self._page(request, [{"00080018": {"vr": "UI", "Value": [item.sop]}} for item in found])

    def _retrieve(self, _: Request, study: str, series: str | None = None, sop: str | None = None) -> Reply:
        found = [item for item in self.of(study) if series in {None, item.series} and sop in {None, item.sop}]
        if not found:
            raise Refusal(404, "not here")
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + item.content + b"\r\n" for item in found) + f"--{BOUNDARY}--\r\n".encode()
        return Reply(200, body, {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'})

    def _changes(self, request: Request) -> Reply:
        """The change feed of Azure's DICOM service, v2."""
        since = datetime.fromisoformat(request.query["startTime"]).timestamp() if "startTime" in request.query else 0.0
        rows = [
            {
                "sequence": item.number, "studyInstanceUid": item.study, "seriesInstanceUid": item.series, "sopInstanceUid": item.sop,
                "action": "Create", "timestamp": datetime.fromtimestamp(item.at, UTC).isoformat(), "state": "Current",
            }
            for item in sorted(self._held.values(), key=lambda one: one.number) if item.at >= since
        ]  # fmt: skip
        start, limit = int(request.query.get("offset", "0")), int(request.query.get("limit", "100"))
        return json_reply(rows[start : start + limit])


def _parts(request: Request) -> Iterator[bytes]:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    if message.get_content_type() == "application/dicom":
        yield request.body
        return
    if message.get_content_type() != "multipart/related" or message.get_param("type") != "application/dicom":
        raise Refusal(415, "multipart/related of application/dicom is taken")
    source, part = io.BytesIO(request.body), bytearray()
    try:
        for event in _Related(str(message.get_param("boundary"))).parse_blocking(source.read):
            if event is None:
                yield bytes(part)
                part.clear()
            elif not isinstance(event, MultipartSegment):
                part += event
    except MultipartError as error:
        raise Refusal(400, "not the multipart that it says") from error


def _uids(content: bytes) -> tuple[str, str, str]:
    try:
        ds = dcmread(io.BytesIO(content), stop_before_pixels=True)
        return str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.StudyInstanceUID)
    except (InvalidDicomError, AttributeError, EOFError, ValueError):
        return "", "", ""


def _named(uids: tuple[str, str, str]) -> dict[str, Any]:
    return {"00081150": {"vr": "UI", "Value": [uids[0]]}, "00081155": {"vr": "UI", "Value": [uids[1]]}}
