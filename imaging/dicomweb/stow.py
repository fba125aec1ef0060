"""STOW-RS (PS3.18 10.5): the web door for bytes. Streams each part to the inbox, checks it like C-STORE, answers per instance."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpResponse
from multipart import MultipartSegment
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from imaging.dicomweb.related import CHUNK, BodyError, limited, media_type, parts
from imaging.dicomweb.stow_metadata import objects_assembled
from imaging.inbox import Draft, draft_open
from imaging.ingest import NO_MATCH, OUT_OF_RESOURCES, ObjectFacts, Refused, disk_status, draft_check, drafts_keep
from journal.trace import trace_id_current
from tenants.doors import HospitalAPIView

log = logging.getLogger(__name__)

DICOM, DICOM_JSON = "application/dicom", "application/dicom+json"
TAKEN = (f'multipart/related; type="{DICOM}"', f'multipart/related; type="{DICOM_JSON}"', DICOM)
Pieces = Iterator[MultipartSegment | bytes | None]
SOURCE_WEB = 0
GROUP, GROUP_BYTES = 64, 64 << 20  # objects that wait for the disk together: one answer is for all of them


class DicomJSONRenderer(JSONRenderer):
    media_type = DICOM_JSON
    format = "json"


class AnyAccept(BaseContentNegotiation):
    """One form of answer; senders that ask for something else get it too, since refusing would lose images."""

    def select_parser(self, request: Request, parsers: Any) -> None:
        return None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


@dataclass
class Outcome:
    """What happened to each part, in order; `pending` are checked and not yet safe on the disk."""

    stored: list[ObjectFacts] = field(default_factory=list)
    failed: list[tuple[ObjectFacts | None, Refused]] = field(default_factory=list)
    pending: list[tuple[Draft, ObjectFacts]] = field(default_factory=list)

    @property
    def status(self) -> int:
        if not self.failed:
            return 200
        if self.stored:
            return 202
        is_full = all(refused.status == OUT_OF_RESOURCES for _, refused in self.failed)
        return 507 if is_full else 409  # no quota or no room (RFC 4918 11.5): worth sending again later, as it is


class StowView(HospitalAPIView):
    """POST /studies and /studies/{uid}."""

    capabilities = {"POST": "dicom.store"}
    content_negotiation_class = AnyAccept
    renderer_classes = [DicomJSONRenderer]
    parser_classes: list[Any] = []
    is_scoped = False  # an upload takes as long as it takes; no transaction stays open for it

    def post(self, request: Request, slug: str, study_uid: str = "") -> HttpResponse:
        outcome = Outcome()
        try:
            self._receive(request, study_uid, outcome)
        except BodyError as error:
            return HttpResponse(orjson.dumps({"error": error.text}), status=error.status, content_type="application/json")
        base = request.build_absolute_uri(f"/t/{slug}/dicomweb")
        return HttpResponse(answer_json(outcome, base), status=outcome.status, content_type=DICOM_JSON)

    def _receive(self, request: Request, study_uid: str, outcome: Outcome) -> None:
        kind, parameters = media_type(request.META.get("CONTENT_TYPE", ""))
        # Django believes Content-Length and knows no chunked bodies; the server's own stream knows both.
        is_chunked = request.META.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        length = None if is_chunked else int(request.META.get("CONTENT_LENGTH") or 0)
        read = limited(request.META["wsgi.input"], limit=settings.MEDHUB_MAX_REQUEST_BYTES, length=length)
        type_of_parts = parameters.get("type", DICOM)
        if kind == "multipart/related" and type_of_parts in {DICOM, DICOM_JSON}:
            if not parameters.get("boundary"):
                raise BodyError(400, "the boundary is missing")
            pieces = parts(read, parameters["boundary"])
        elif kind == DICOM:
            pieces = _single(read)
        else:
            raise BodyError(415, f"send one of {', '.join(TAKEN)}")
        try:
            if type_of_parts == DICOM_JSON and kind != DICOM:
                self._assembled(pieces, study_uid, outcome)
            else:
                for piece in pieces:
                    if isinstance(piece, MultipartSegment):
                        self._part(pieces, study_uid, outcome)
        finally:  # what came whole is kept, also when the rest of the body is broken
            self._keep(outcome)
        if not outcome.stored and not outcome.failed:
            raise BodyError(400, "no part in the body")

    def _assembled(self, pieces: Pieces, study_uid: str, outcome: Outcome) -> None:
        for made in objects_assembled(pieces):
            if isinstance(made, tuple):
                outcome.failed.append(made)
            else:
                self._part(_single(made.read, has_head=False), study_uid, outcome)

    def _part(self, pieces: Pieces, study_uid: str, outcome: Outcome) -> None:
        """Take one part. A part that is refused is read to its end, so the next one begins where it should."""
        try:
            draft = draft_open(
                tenant_id=self.tenant_id, source=SOURCE_WEB, trace_id=trace_id_current(), sender=self.actor
            )
        except OSError as error:
            outcome.failed.append((None, _no_room(error)))
            for _ in iter(lambda: next(pieces, None), None):
                pass
            return
        try:
            failure = _spool(draft, pieces)
            facts = None if failure else self._checked(draft, study_uid, outcome)
        except BaseException:
            draft.close()
            raise
        if failure is not None:
            outcome.failed.append((None, failure))
        if facts is None:
            draft.close()
            return
        outcome.pending.append((draft, facts))
        if len(outcome.pending) >= GROUP or sum(draft.size for draft, _ in outcome.pending) >= GROUP_BYTES:
            self._keep(outcome)

    def _checked(self, draft: Draft, study_uid: str, outcome: Outcome) -> ObjectFacts | None:
        facts = None
        try:
            facts = draft_check(draft, tenant_id=self.tenant_id)
            if study_uid and facts.study_uid != study_uid:
                raise Refused(NO_MATCH, "the instance belongs to another study than the address")
        except Refused as refused:
            outcome.failed.append((facts, refused))
            return None
        except OSError as error:
            outcome.failed.append((facts, _no_room(error)))
            return None
        return facts

    def _keep(self, outcome: Outcome) -> None:
        """Make what is pending durable, together."""
        pending, outcome.pending = outcome.pending, []
        if not pending:
            return
        try:
            failures = drafts_keep([draft for draft, _ in pending], tenant_id=self.tenant_id)
        finally:
            for draft, _ in pending:
                draft.close()
        for (_, facts), failure in zip(pending, failures, strict=True):
            if failure is None:
                outcome.stored.append(facts)
            else:
                outcome.failed.append((facts, failure if isinstance(failure, Refused) else _no_room(failure)))


def _no_room(error: OSError) -> Refused:
    return Refused(disk_status(error), "no room: nothing of this object was kept")


def _spool(draft: Draft, pieces: Pieces) -> Refused | None:
    """Write one part's bytes. After a write error the rest of the part is read and dropped."""
    failure: Refused | None = None
    for piece in iter(lambda: next(pieces, None), None):
        if failure is None:
            try:
                draft.write([piece])  # type: ignore[list-item]
            except OSError as error:
                failure = _no_room(error)
    return failure


def _single(read: Callable[[int], bytes], *, has_head: bool = True) -> Pieces:
    """Bytes of one object in the shape of one part."""
    if has_head:
        yield MultipartSegment([])
    while chunk := read(CHUNK):
        yield chunk
    yield None


def answer_json(outcome: Outcome, base: str) -> bytes:
    """The Store Instances Response (PS3.18 table I.2-1). FailedSOPSequence is absent when nothing failed."""
    body: dict[str, Any] = {}
    studies = {facts.study_uid for facts in outcome.stored}
    if len(studies) == 1:
        body["00081190"] = {"vr": "UR", "Value": [f"{base}/studies/{studies.pop()}"]}
    if outcome.failed:
        body["00081198"] = {"vr": "SQ", "Value": [_failed(facts, refused) for facts, refused in outcome.failed]}
    if outcome.stored:
        body["00081199"] = {"vr": "SQ", "Value": [_reference(facts, base) for facts in outcome.stored]}
    return orjson.dumps(body)


def _reference(facts: ObjectFacts, base: str) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [facts.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [facts.sop_instance_uid]},
        "00081190": {"vr": "UR", "Value": [f"{base}/studies/{facts.study_uid}"]},
    }


def _failed(facts: ObjectFacts | None, refused: Refused) -> dict[str, Any]:
    item: dict[str, Any] = {
        "00081197": {"vr": "US", "Value": [refused.status]},
        "00000902": {"vr": "LO", "Value": [refused.reason[:64]]},  # Error Comment, as over DIMSE
    }
    if facts is not None:
        item["00081150"] = {"vr": "UI", "Value": [facts.sop_class_uid]}
        item["00081155"] = {"vr": "UI", "Value": [facts.sop_instance_uid]}
    return item
