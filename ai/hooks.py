"""`POST /hooks/ai/<connection>`: a platform's answer, signed with the connection's secret. The job_id in it names the job."""

import time
from typing import Any
from uuid import UUID

import orjson
from django.http import Http404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ai import jobs
from ai.connections import connection_settings
from ai.contract import Payload, PlatformError, platforms
from ai.models import Connection, Job
from ai.results import result_take
from ai.wires.tasks import HookRefused, hook_verify
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope
from tenants.selectors import hook_tenant

MAX_BYTES = 4 << 20


class AiHookView(APIView):
    """202 when it was taken, for a repeat, and for one that the gate keeps back, with its reason; 401 for a signature that is none;
    404 for a job of somebody else."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    def post(self, request: Request, connection: UUID) -> Response:
        tenant_id = hook_tenant(hook_id=connection)
        if tenant_id is None:
            raise Http404
        body = request._request.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            return Response({"error": f"more than {MAX_BYTES} bytes"}, status=413)
        found = _connection(tenant_id, connection)
        if found is None or not _is_signed(found, request, body):
            return Response({"error": "the signature is missing, wrong or older than five minutes"}, status=401)
        data = _json(body)
        if data is None:
            return Response({"error": "a JSON object with a job_id is needed"}, status=400)
        job_id = _job(tenant_id, found, str(data["job_id"]))
        if job_id is None:
            raise Http404
        began = time.monotonic()
        with tenant_scope(tenant_id):
            jobs.exchange_keep(job_id=job_id, kind="hook", is_good=True, words="a signed answer came", began=began)
        is_taken = result_take(tenant_id=tenant_id, job_id=job_id, payload=Payload(kind="json", data=data))
        with tenant_scope(tenant_id):
            kept_back = jobs.job_kept_back(job_id=job_id) if is_taken else ""
        if kept_back:  # it is with us, so sending it again helps nobody; but whoever sent it is told
            return Response({"status": "kept back", "reason": kept_back}, status=202)
        return Response({"status": "taken" if is_taken else "known"}, status=202)


def _connection(tenant_id: int, uuid: UUID) -> Connection | None:
    with tenant_scope(tenant_id):
        return Connection.objects.filter(uuid=uuid).first()


def _is_signed(connection: Connection, request: Request, body: bytes) -> bool:
    """By this connection's secret; one whose answers are asked for takes none by hook."""
    try:
        values = connection_settings(connection)
        hook_verify(request.headers, body, values.get("hook_secret", ""), time.time())
        return platforms()[connection.platform].is_pushed(values)
    except (HookRefused, PlatformError):
        return False


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) and isinstance(data.get("job_id"), str) else None


def _job(tenant_id: int, connection: Connection, text: str) -> int | None:
    """The job of this connection alone: another one's is not there."""
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    with tenant_scope(tenant_id):
        found = Job.objects.filter(uuid=uuid, connection=connection).values_list("id", flat=True).first()
        if found is not None:
            audit_record(
                actor=Actor(name=f"platform:{connection.platform}"), action="ai.answer", object_type="Job", object_id=str(uuid)
            )
        return found
