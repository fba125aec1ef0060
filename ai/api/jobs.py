"""`jobs` of the API: what was asked of which platform, how it went, and the buttons. No identity of a patient passes here."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.contract import platforms
from ai.dispatch import job_cancel
from ai.jobs import RequeueRefused, job_requeue, job_resend
from ai.models import Job
from ai.selectors import exchanges_of, job_get, jobs_page, result_of
from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer, page_of, page_response
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from tenants.permissions import is_allowed

MAX_ID = 2**63 - 1


class JobSerializer(serializers.Serializer[Any]):
    """One algorithm on one version of a study."""

    id = serializers.UUIDField()
    study = serializers.UUIDField()
    study_version = serializers.IntegerField()
    series = serializers.CharField(allow_null=True)
    platform = serializers.CharField()
    algorithm = serializers.CharField()
    is_test = serializers.BooleanField()
    state = serializers.ChoiceField(choices=Job.State.values)
    reason = serializers.CharField()
    attempts = serializers.IntegerField()
    input_sha256 = serializers.CharField(help_text="of the objects' own digests; empty until it was sent")
    trace_id = serializers.CharField()
    created_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Job) -> dict[str, Any]:
        plain = ("study_version", "algorithm", "state", "reason", "attempts", "input_sha256", "trace_id", "created_at", "sent_at")
        return {
            **{name: getattr(instance, name) for name in plain}, "id": str(instance.uuid), "study": str(instance.study.uuid),
            "series": str(instance.series) if instance.series else None, "platform": instance.connection.platform,
            "is_test": instance.connection.is_test, "ended_at": instance.ended_at, "due_at": instance.due_at,
        }  # fmt: skip


class JobPageSerializer(serializers.Serializer[Any]):
    items = JobSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class ExchangeSerializer(serializers.Serializer[Any]):
    """One conversation: what was tried and what came of it."""

    kind = serializers.CharField(help_text="send, ask, hook, objects or cancel")
    is_good = serializers.BooleanField()
    words = serializers.CharField()
    milliseconds = serializers.IntegerField()
    at = serializers.DateTimeField()


class JobDetailSerializer(JobSerializer):
    exchanges = ExchangeSerializer(many=True, help_text="the newest two hundred")
    quarantine = serializers.DictField(
        allow_null=True, help_text="`payload` and `objects` of an answer that the gate kept back, for roles that may read studies"
    )


class RequeueSerializer(StrictSerializer):
    series = serializers.CharField(max_length=19)
    algorithm = serializers.CharField(max_length=64)


def _job(job_uuid: UUID) -> Job:
    job = job_get(job_uuid=job_uuid)
    if job is None:
        raise exceptions.NotFound
    return job


def _quarantine(job: Job, role: str) -> dict[str, Any] | None:
    result = result_of(job_id=job.id) if job.state == Job.State.QUARANTINED else None
    if result is None or not is_allowed(role=role, capability="study.read"):
        return None
    return {"payload": result.payload, "objects": result.files, "received_at": result.received_at}


class JobsView(ApiView):
    """Newest first."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(
        operation_id="jobs_list", responses=JobPageSerializer,
        parameters=[
            OpenApiParameter("state", str, enum=Job.State.values), OpenApiParameter("platform", str), OpenApiParameter("cursor", str),
            OpenApiParameter("limit", int),
        ],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        state, platform = (request.query_params.get(name, "") for name in ("state", "platform"))
        if state and state not in Job.State.values:
            raise exceptions.ValidationError({"state": [f"one of {', '.join(Job.State.values)}"]})
        if platform and platform not in platforms():
            raise exceptions.ValidationError({"platform": ["no platform of that name"]})
        cursor, limit = page_of(request)
        page = jobs_page(before=min(cursor, MAX_ID), size=limit, state=state, platform=platform)
        kept = {name: value for name, value in (("state", state), ("platform", platform)) if value}
        return page_response(request, list(JobSerializer(page.jobs, many=True).data), page.older, **kept)


class JobView(ApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="jobs_read", responses={200: JobDetailSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, job_uuid: UUID) -> Response:
        job = _job(job_uuid)
        found = _quarantine(job, getattr(request.auth, "role", ""))
        if found:
            audit_record(actor=self.actor, action="job.view", object_type="Job", object_id=str(job.uuid))
        exchanges = ExchangeSerializer(exchanges_of(job_id=job.id), many=True).data
        return Response({**JobSerializer(job).data, "exchanges": exchanges, "quarantine": found})


class JobCancelView(ApiView):
    """Nobody waits any more; the platform is told where it has a word for it. 409 for one that has ended."""

    capabilities = {"POST": "ai.write"}
    is_scoped = False

    @extend_schema(
        operation_id="jobs_cancel", request=None, responses={200: JobSerializer, 404: ProblemSerializer, 409: ProblemSerializer}
    )
    def post(self, request: Request, slug: str, job_uuid: UUID) -> Response:
        with tenant_scope(self.tenant_id):
            job = _job(job_uuid)
            audit_record(actor=self.actor, action="job.cancel", object_type="Job", object_id=str(job_uuid))
        if not job_cancel(tenant_id=self.tenant_id, job_id=job.id):
            raise Conflict("the job has ended")
        with tenant_scope(self.tenant_id):
            return Response(JobSerializer(_job(job_uuid)).data)


class JobResendView(ApiView):
    """From the start, as it was. 409 for one that is open or has its answer."""

    capabilities = {"POST": "ai.write"}

    @extend_schema(
        operation_id="jobs_resend", request=None, responses={200: JobSerializer, 404: ProblemSerializer, 409: ProblemSerializer}
    )
    def post(self, request: Request, slug: str, job_uuid: UUID) -> Response:
        if not job_resend(job_id=_job(job_uuid).id):
            raise Conflict("the job is open or has its answer")
        audit_record(actor=self.actor, action="job.resend", object_type="Job", object_id=str(job_uuid))
        return Response(JobSerializer(_job(job_uuid)).data)


class JobRequeueView(ApiView):
    """With another series of its study, or for another algorithm of its platform. Answers the job that is queued: its id is a new one."""

    capabilities = {"POST": "ai.write"}

    @extend_schema(
        operation_id="jobs_requeue", request=RequeueSerializer,
        responses={200: JobSerializer, 400: ProblemSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, job_uuid: UUID) -> Response:
        job = _job(job_uuid)
        body = RequeueSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        series = body.validated_data["series"]
        try:
            found = job_requeue(
                job_id=job.id, series_id=int(series) if series.isascii() and series.isdigit() else 0,
                algorithm=body.validated_data["algorithm"], actor=self.actor,
            )  # fmt: skip
        except RequeueRefused as refused:
            if not refused.field:
                raise Conflict(refused.user_message) from None
            raise exceptions.ValidationError({refused.field: [refused.user_message]}) from None
        return Response(JobSerializer(found).data)
