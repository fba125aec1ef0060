"""From a job's rows to what its platform is handed: files without identity, surrogate UIDs, or findings without identity for wording."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from pydantic import TypeAdapter

from ai.connections import connection_keys
from ai.contract import Handle, PlatformError, platforms
from ai.findings import ReportContent
from ai.governance.disclosures import FINDINGS, disclosure_begin
from ai.models import Connection, Job, Report, Result
from ai.outgoing import PROFILES, input_digest, job_folder, mapping_keep, mapping_of, objects_deidentify
from ai.wires.roles import role_of
from imaging.models import Instance, Series
from imaging.selectors import slices_of
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_get
from tenants.services import performer_token_create

PULL_WITHIN = timedelta(hours=1)
REPORT_WITHIN = timedelta(minutes=1)
WHAT = {"storage": "images, a record, or both", "wording": "findings as text"}  # by the algorithm's role; else images
_content = TypeAdapter(ReportContent)


@dataclass(frozen=True, kw_only=True)
class Sending:
    """A job with everything that its next step needs; made in a scope, used outside of one."""

    job_id: int
    job_uuid: str
    tenant_slug: str
    connection: Connection
    algorithm: str
    remote_id: str
    trace_id: str
    study_id: int
    study_object: str  # our id of the study, for the audit trail
    study_uid: str
    series_uid: str
    modality: str
    body_part: str
    patient_key: str
    sources: tuple[Path, ...]
    sop_uids: tuple[str, ...]
    digests: tuple[str, ...]
    is_stat: bool = False

    @property
    def is_in_house(self) -> bool:
        return platforms()[self.connection.platform].card.is_in_house

    @property
    def role(self) -> str:
        return role_of(platforms()[self.connection.platform].card, self.algorithm)


def sending_read(job: Job) -> Sending:
    """In a scope; `job` with its connection, study and patient."""
    series = Series.objects.filter(id=job.series or 0).first()
    slices = [item for item in slices_of(series_id=series.id) if item.is_image] if series else []
    digests = dict(Instance.objects.filter(series_id=series.id).values_list("id", "sha256")) if series else {}
    return Sending(
        job_id=job.id, job_uuid=str(job.uuid), tenant_slug=tenant_get(tenant_id=job.tenant_id).slug, connection=job.connection,
        algorithm=job.algorithm, remote_id=job.remote_id, trace_id=job.trace_id, study_id=job.study.id,
        study_object=str(job.study.uuid), study_uid=job.study.study_uid, series_uid=series.series_uid if series else "",
        modality=series.modality if series else "", body_part=series.body_part if series else "", patient_key=str(job.study.patient_id),
        sources=tuple(Path(str(item.path)) for item in slices), sop_uids=tuple(item.sop_instance_uid for item in slices),
        digests=tuple(digests[item.instance_id] for item in slices), is_stat=job.is_stat,
    )  # fmt: skip


def handle_make(*, tenant_id: int, sending: Sending) -> Handle | None:
    """What is sent, with its way back and its line in the audit trail committed. None: there is nothing to word yet.

    Outside a scope. Raises PlatformError, permanent, where nothing may leave.
    """
    if sending.role == "wording":
        return _wording(tenant_id, sending)
    if not sending.sources:
        raise PlatformError("not sent: the series has no images any more", is_permanent=True)
    if sending.is_in_house:
        with tenant_scope(tenant_id):
            _note(sending, "none: nothing leaves the house")
        return replace(_plain(sending), files=sending.sources)
    platform = platforms()[sending.connection.platform]
    folder = job_folder(tenant_id=tenant_id, job_id=sending.job_id)
    out = objects_deidentify(
        sources=sending.sources, folder=folder, profile=PROFILES[platform.deidentification],
        # A store knows a study again when more of it comes; whoever answers must not confuse two questions about it.
        keys=connection_keys(sending.connection, job_uuid="" if sending.role == "storage" else sending.job_uuid),
        patient=sending.patient_key,
    )  # fmt: skip
    with tenant_scope(tenant_id):
        mapping_keep(job_id=sending.job_id, mapping=out.mapping)
        _note(sending, " ".join(sorted(out.codes)))
        _disclose(sending, instances=len(out.files), profile=platform.deidentification, codes=sorted(out.codes))
        return replace(handle_asked(sending=sending), files=out.files, pull_token=_pull_token(tenant_id, sending))


def handle_asked(*, sending: Sending) -> Handle:
    """The same without files, for asking. In a scope."""
    if sending.role == "wording":
        return replace(_plain(sending), report=_report(sending), study_uid="", series_uid="", sop_uids=())
    if sending.is_in_house:
        return _plain(sending)
    mapping = mapping_of(job_id=sending.job_id)
    if mapping is None:
        raise PlatformError("what was sent is not known any more", is_permanent=True)
    series = {source.series_uid for source in mapping.sources.values()}
    return replace(
        _plain(sending), study_uid=mapping.study_uid, series_uid=next(iter(sorted(series)), ""), sop_uids=tuple(mapping.sources),
        patient_id=mapping.patient,
    )  # fmt: skip


def _plain(sending: Sending) -> Handle:
    base = f"{settings.MEDHUB_PUBLIC_URL}/t/{sending.tenant_slug}/performer/{sending.job_uuid}/dicomweb"
    return Handle(
        idempotency_key=sending.job_uuid, algorithm=sending.algorithm, study_uid=sending.study_uid, series_uid=sending.series_uid,
        files=(), sop_uids=sending.sop_uids, is_stat=sending.is_stat, modality=sending.modality, body_part=sending.body_part, pull_url=base,
        hook_url=f"{settings.MEDHUB_PUBLIC_URL}/hooks/ai/{sending.connection.uuid}",
    )  # fmt: skip


def _note(sending: Sending, profile: str) -> None:
    """Written before a byte leaves: what goes where, under which profile (CID 7050)."""
    audit_record(
        actor=Actor(name="system:dispatch"), action="ai.send", object_type="Study", object_id=sending.study_object,
        detail={
            "platform": sending.connection.platform, "algorithm": sending.algorithm, "instances": len(sending.sources),
            "deidentification": profile, "input": input_digest(sending.digests)[:16],
        },
    )  # fmt: skip
    Job.objects.filter(id=sending.job_id).update(input_sha256=input_digest(sending.digests))


def _disclose(sending: Sending, *, instances: int, profile: str, codes: Sequence[str] = ()) -> None:
    """The audit trail keeps one line a study and five minutes; of disclosures each one is kept."""
    disclosure_begin(
        job_uuid=sending.job_uuid, study_id=sending.study_id, connection=sending.connection, algorithm=sending.algorithm,
        what=WHAT.get(sending.role, "images"), instances=instances, profile=profile, codes=codes,
        input_sha256=input_digest(sending.digests),
    )  # fmt: skip


def _pull_token(tenant_id: int, sending: Sending) -> str:
    """A key to this one job's objects, as long as its answer is waited for; none where nobody fetches with one."""
    platform = platforms()[sending.connection.platform]
    if not platform.is_pulling(sending.connection.settings):
        return ""
    return performer_token_create(
        tenant=tenant_get(tenant_id=tenant_id), name=f"job {sending.job_uuid}", connection_id=sending.connection.id,
        job=UUID(sending.job_uuid), lives=PULL_WITHIN,
    )  # fmt: skip


def _wording(tenant_id: int, sending: Sending) -> Handle | None:
    with tenant_scope(tenant_id):
        report = _report(sending)
        if report is None:
            others = Job.objects.filter(study_id=sending.study_id, state__in=["queued", "sent"]).exclude(id=sending.job_id)
            if others.exclude(connection=sending.connection).exists() or _is_report_due(sending.study_id):
                return None
            raise PlatformError("no algorithm has found anything that could be worded", is_permanent=True)
        _note(sending, "findings only: no identity, no image")
        _disclose(sending, instances=0, profile=FINDINGS)
    return replace(_plain(sending), report=report, study_uid="", series_uid="", sop_uids=())


def _is_report_due(study_id: int) -> bool:
    """A result is there, and its report is issued a moment later: by a subscriber."""
    since = timezone.now() - REPORT_WITHIN
    results = Result.objects.filter(job__study_id=study_id, job__state=Job.State.DONE, report__isnull=True, received_at__gt=since)
    return any(not said.get("receipt") and not said.get("wording") for said in results.values_list("payload", flat=True)[:20])


def _report(sending: Sending) -> ReportContent | None:
    """What was found last, by whom; no identity in it."""
    row = report_to_word(study_id=sending.study_id)
    if row is None:
        return None
    found = _content.validate_python(row.content)
    bare: dict[str, Any] = {"images": (), "outlines": (), "tracking_uid": ""}
    return replace(
        found, study_uid="", series_uid="", sop_uids=(), input_sha256="", documents=(), regions=(), wording=None,
        measurements=tuple(replace(one, **bare) for one in found.measurements),
        findings=tuple(replace(one, **bare, words="") for one in found.findings),
    )  # fmt: skip


def report_to_word(*, study_id: int) -> Report | None:
    """The newest report that has something to word, in its newest version. What a person changed or rejected is not worded."""
    newest: dict[object, Report] = {}
    for row in Report.objects.filter(study_id=study_id).order_by("-issued_at", "-version")[:60]:
        newest.setdefault(row.uuid, row)
    kept = [row for row in newest.values() if row.status in {Report.Status.PRELIMINARY, Report.Status.FINAL}]
    return next((row for row in kept if row.content.get("measurements") or row.content.get("findings")), None)
