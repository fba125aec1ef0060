"""The gate: every answer, by poll, hook, worklist or DICOM, ends here. Foreign or malformed ones are kept aside, never delivered."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.utils import timezone
from pydantic import TypeAdapter
from pydicom import dcmread

from ai import jobs
from ai.contract import Payload, Platform, PlatformError, Sent, platforms
from ai.deident.gate import GateRefused, references_check
from ai.deident.mapping import Mapping
from ai.deident.payload import uids_check, uids_reverse
from ai.deident.reidentify import object_reidentify
from ai.findings import Answer, Note, Receipt
from ai.flags import flag_raise
from ai.governance.disclosures import disclosure_taken
from ai.masks import MaskImpossible, is_unmasked, mask_encode
from ai.models import Job, Result
from ai.outgoing import mapping_of
from ai.returned.copies import Kept, copies_folder, copies_keep, copies_rows, file_sha256
from ai.returned.keeping import returned_drop
from ai.wires.roles import NOT_FLAGGED
from imaging.inbox import object_write
from imaging.models import Series
from imaging.selectors import slices_of
from journal.faults import fault
from journal.outbox import event_publish
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_get

log = logging.getLogger(__name__)

STAND_IN = "MedHub Quantify (test double)"
_answer = TypeAdapter(Answer)


class GateError(PlatformError):
    """The answer does not belong to what was sent, or says what an answer must not say."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message, is_permanent=True)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A job that waits for an answer, as the gate needs it."""

    job: Job
    mapping: Mapping | None
    series_uid: str
    originals: dict[str, PathLike[str]]  # SOP Instance UID -> file, in the order of the series
    time_zone: str

    @property
    def sop_uids(self) -> frozenset[str]:
        return frozenset(self.originals)


@dataclass(frozen=True, kw_only=True)
class _Passed:
    """What the gate let through: the answer with our UIDs, and its objects as this hospital's."""

    answer: Answer
    objects: tuple[bytes, ...] = field(default=(), repr=False)


def result_take(*, tenant_id: int, job_id: int, payload: Payload, sent: Sent | None = None) -> bool:
    """Take a platform's answer for a job that waits for one. A second answer changes nothing; a wrong one is kept in quarantine.

    Opens short scopes itself: objects are read, checked and re-identified outside of them. False when nobody waited.
    """
    with tenant_scope(tenant_id):
        asked = _asked(job_id)
    if asked is None:
        return False
    payload = replace(payload, sent=payload.sent or sent or _sent(asked))
    ending = ".zip" if payload.kind == "labels" else ".dcm"
    kept = copies_keep(tenant_id=tenant_id, job_uuid=asked.job.uuid, files=payload.files, ending=ending) if payload.files else []
    try:
        passed = _gate(asked, payload, kept)
    except PlatformError as error:  # a wrong shape, or the gate's own no
        with tenant_scope(tenant_id):
            return _quarantine(job_id, payload, kept, error.user_message)
    for content in passed.objects:  # durable before the row that speaks of them; a repeat is the same bytes, which the archive knows
        object_write(tenant_id=tenant_id, source=0, trace_id=asked.job.trace_id or "0" * 32, parts=[content])
    fault("results.after_objects")
    with tenant_scope(tenant_id):
        return _keep(job_id, passed.answer, kept)


def answer_fresh(*, tenant_id: int, job_id: int, payload: Payload) -> Payload | None:
    """The answer without the objects that were kept back at an earlier try; None when nothing else is there yet.

    A vendor's store still holds them when the job is sent again. Outside of a scope.
    """
    with tenant_scope(tenant_id):
        kept = Result.objects.filter(job_id=job_id, is_analysable=False).values_list("files", flat=True).first()
    refused = {one["sha256"] for one in kept or ()}
    if not refused or not payload.files:
        return payload
    files = tuple(path for path in payload.files if file_sha256(path) not in refused)
    return replace(payload, files=files) if files else None


def _asked(job_id: int) -> _Asked | None:
    job = Job.objects.select_related("connection", "study").filter(id=job_id, state__in=jobs.OPEN).first()
    mapping = mapping_of(job_id=job_id)
    if job is None or not _is_with_platform(job, mapping):
        return None
    series = Series.objects.filter(id=job.series or 0).first()
    slices = slices_of(series_id=series.id) if series else []
    return _Asked(
        job=job, mapping=mapping, series_uid=series.series_uid if series else "",
        originals={item.sop_instance_uid: item.path for item in slices}, time_zone=tenant_get(tenant_id=job.tenant_id).time_zone,
    )  # fmt: skip


def _is_with_platform(job: Job, mapping: Mapping | None) -> bool:
    """Whether it was sent. An answer may be faster than our own note of that, or the worker died before it: then the answer is the note."""
    if job.state == Job.State.QUEUED and mapping is not None:
        jobs.job_sent(job_id=job.id, remote_id=str(job.uuid), surrogate_uid=mapping.study_uid, wait=0)
        disclosure_taken(job_uuid=str(job.uuid))
        job.refresh_from_db(fields=["state", "sent_at", "surrogate_uid"])
    return bool(job.state == Job.State.SENT)


def _sent(asked: _Asked) -> Sent:
    if asked.mapping is None:
        return Sent(study_uid=asked.job.study.study_uid, series_uid=asked.series_uid, sop_uids=tuple(sorted(asked.sop_uids)))
    series = sorted({source.series_uid for source in asked.mapping.sources.values()})
    return Sent(study_uid=asked.mapping.study_uid, series_uid=series[0], sop_uids=tuple(asked.mapping.sources))


def _gate(asked: _Asked, payload: Payload, kept: Sequence[Kept]) -> _Passed:
    """Validate, reverse, check again. Raises PlatformError."""
    platform = platforms()[asked.job.connection.platform]
    answer = platform.parse(payload, asked.job.algorithm)
    if answer.wording is not None:
        return _Passed(answer=answer)
    if answer.receipt is not None and not payload.files:
        return _Passed(answer=answer)
    try:
        if asked.mapping is None:
            if not platform.card.is_in_house:
                raise GateError("what was sent is not known, so nothing can be an answer to it")
            gate_check(asked, answer)
            return _masked(asked, platform, payload, _Passed(answer=answer))
        uids = {document.sop_uid for document in answer.documents} | {document.series_uid for document in answer.documents}
        tracked = {one.tracking_uid for part in (answer.measurements, answer.findings, answer.regions) for one in part}
        own = frozenset(uids | tracked - {""})
        if payload.data:
            uids_check(payload.data, mapping=asked.mapping, own=own)
        uids_check(asdict(answer), mapping=asked.mapping, own=own)
        # A triage algorithm's own pictures and documents say more than its flag: no reader is shown them.
        objects = _objects(asked, kept, own) if payload.kind == "dicom" and not _is_triage(platform, asked.job.algorithm) else ()
        restored = _answer.validate_python(uids_reverse(asdict(answer), mapping=asked.mapping))
    except GateRefused as error:
        raise GateError(error.words) from None
    if restored.is_seen or restored.not_analysable is not None:
        gate_check(asked, restored)
    return _masked(asked, platform, payload, _Passed(answer=_named(asked, restored), objects=objects))


def _is_triage(platform: Platform, algorithm: str) -> bool:
    return any(one.name == algorithm and one.role == "triage" for one in platform.card.algorithms)


def _masked(asked: _Asked, platform: Platform, payload: Payload, passed: _Passed) -> _Passed:
    """With the mask of its regions as an object over our images, where they have none. Raises PlatformError."""
    if not is_unmasked(passed.answer):
        return passed
    mask = platform.mask(payload, passed.answer)
    if asked.mapping is not None:
        mask = replace(mask, sop_uids=tuple(asked.mapping.original(uid, "sop") or uid for uid in mask.sop_uids))
    try:
        content, answer = mask_encode(
            mask=mask, answer=passed.answer, job=asked.job, time_zone=asked.time_zone, originals=asked.originals
        )
    except MaskImpossible as error:
        if not passed.answer.measurements:
            raise GateError(error.words) from None
        note = Note(code="no_mask", text=f"the mask was not kept: {error.words}")
        return replace(passed, answer=replace(passed.answer, regions=(), notes=(*passed.answer.notes, note)))
    return _Passed(answer=answer, objects=(*passed.objects, content))


def _objects(asked: _Asked, kept: Sequence[Kept], own: frozenset[str]) -> tuple[bytes, ...]:
    """Each object, passed by the gate and given back to its person. Raises GateRefused."""
    if not kept or asked.mapping is None or not asked.originals:
        return ()
    folder = copies_folder(tenant_id=asked.job.tenant_id, job_uuid=asked.job.uuid)
    header = dcmread(fspath(next(iter(asked.originals.values()))), stop_before_pixels=True)
    with TemporaryDirectory() as scratch:
        made = []
        for number, one in enumerate(kept):
            references_check(folder / one.name, mapping=asked.mapping, own=own)
            target = Path(scratch) / f"{number}.dcm"
            object_reidentify(
                folder / one.name, target, mapping=asked.mapping, original=header, now=asked.job.sent_at or asked.job.created_at, own=own
            )
            made.append(target.read_bytes())
    return tuple(made)


def gate_check(asked: _Asked, answer: Answer) -> None:
    """Same study, same series, only instances that were sent, the algorithm that was asked, finite numbers. Raises GateError."""
    numbers = [m.value for m in answer.measurements] + [f.probability for f in answer.findings if f.probability is not None]
    said = [answer.is_seen, answer.not_analysable is not None, answer.receipt is not None]
    checks = (
        (answer.study_uid == asked.job.study.study_uid, "the answer names another study"),
        (answer.series_uid in ("", asked.series_uid), "the answer names another series"),
        (bool(answer.sop_uids) and set(answer.sop_uids) <= asked.sop_uids, "the answer refers to images that were not sent"),
        (answer.algorithm.name == asked.job.algorithm, "the answer comes from another algorithm"),
        (all(math.isfinite(number) for number in numbers), "a value of the answer is no number"),
        (sum(said) == 1, "the answer says both something and nothing"),
    )
    for is_right, words in checks:
        if not is_right:
            raise GateError(words)


def _named(asked: _Asked, answer: Answer) -> Answer:
    """A stand-in's result bears the stand-in's name, and a connection that is not marked as test takes none of its results."""
    is_stand_in = answer.algorithm.manufacturer == STAND_IN
    if is_stand_in and not asked.job.connection.is_test:
        raise GateError("a stand-in answered, and the connection is not marked as test")
    if asked.job.connection.is_test and not is_stand_in:
        return replace(answer, algorithm=replace(answer.algorithm, manufacturer=STAND_IN))
    return answer


def _keep(job_id: int, answer: Answer, kept: Sequence[Kept]) -> bool:
    job = Job.objects.select_for_update(of=("self",)).get(id=job_id)
    state, reason = Job.State.DONE, ""
    if answer.not_analysable is not None:
        state, reason = Job.State.NOT_ANALYSABLE, answer.not_analysable.text
    elif answer.receipt is not None:
        silence = (note.text for note in answer.notes if note.code == NOT_FLAGGED)
        reason = next(silence, _receipt_words(answer.receipt))
    if not jobs.job_end(job_id=job_id, state=state, reason=reason):
        return False  # somebody was faster, or nobody waits any more
    returned_drop(connection_id=job.connection_id, study_uid=job.surrogate_uid)
    Job.objects.filter(id=job_id).update(version_said=answer.algorithm.version[:64])
    result, _ = Result.objects.update_or_create(  # in the place of what was kept back, when the job was sent again
        job=job, defaults={
            "payload": asdict(answer), "files": copies_rows(kept), "is_analysable": answer.not_analysable is None,
            "received_at": timezone.now(),
        },
    )  # fmt: skip
    flag_raise(job=job, answer=answer)
    event_publish(name="result.received", ids={"result_id": result.id})
    fault("results.before_commit")
    return True


def _receipt_words(receipt: Receipt) -> str:
    """Of a store of DICOM objects, of resources, or of both."""
    said = {"objects": receipt.instances, "resources": receipt.resources}
    return f"delivered: {', '.join(f'{count} {name}' for name, count in said.items() if count) or 'nothing'}"


def _quarantine(job_id: int, payload: Payload, kept: Sequence[Kept], reason: str) -> bool:
    job = Job.objects.select_for_update(of=("self",)).get(id=job_id)
    if not jobs.job_end(job_id=job_id, state=Job.State.QUARANTINED, reason=reason):
        return False
    if kept:  # copies of them are safe: what came by itself must not be taken for the answer when the job is sent again
        returned_drop(connection_id=job.connection_id, study_uid=job.surrogate_uid)
    event_publish(name="job.changed", ids={"job_id": job_id})
    Result.objects.update_or_create(
        job=job, defaults={
            "payload": _bounded(payload.data), "files": copies_rows(kept), "is_analysable": False, "received_at": timezone.now(),
        },
    )  # fmt: skip
    return True


def _bounded(data: dict[str, Any]) -> dict[str, Any]:
    """What a quarantined answer said, unless it is a book."""
    return data if len(str(data)) < 1_000_000 else {"left_out": "more than a million characters"}
