"""`GET /hooks/volumes/<connection>/<job>/<ticket>.nii.gz`: the de-identified volume of one open job, for a platform without a token.

A NIM fetches by address alone. The ticket is the key (ai/room/tickets.py); whatever does not fit is 404, without saying why.
"""

from pathlib import Path
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse, HttpResponseBase
from django.utils.cache import add_never_cache_headers
from rest_framework.request import Request
from rest_framework.views import APIView

from ai.models import Job
from ai.outgoing import job_folder
from ai.room.tickets import VOLUME, ticket_take
from imaging.dicomweb.stow import AnyAccept
from imaging.dicomweb.streams import Piece, PiecesResponse
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope
from tenants.doors import address_of
from tenants.selectors import hook_tenant

OPEN = (Job.State.QUEUED, Job.State.SENT)


class VolumeView(APIView):
    """GET, and HEAD that uses nothing up."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []
    content_negotiation_class = AnyAccept

    def get(self, request: Request, connection: UUID, job: UUID, ticket: str) -> HttpResponseBase:
        tenant_id = hook_tenant(hook_id=connection)
        if tenant_id is None:
            raise Http404
        is_use = request.method != "HEAD"
        with tenant_scope(tenant_id):
            found = (
                Job.objects.filter(uuid=job, connection__uuid=connection, state__in=OPEN).values_list("id", "connection__platform").first()
            )
            if found is None:
                raise Http404
            folder = job_folder(tenant_id=tenant_id, job_id=found[0])
            try:
                size = (folder / VOLUME).stat().st_size
            except FileNotFoundError:
                raise Http404 from None
            if not ticket_take(folder, ticket, is_use=is_use):
                raise Http404
            if is_use:  # committed before the first byte leaves; what it is of and by which profile stands with ai.send
                audit_record(
                    actor=Actor(name=f"platform:{found[1]}", address=address_of(request)), action="ai.fetch", object_type="Job",
                    object_id=str(job), detail={"bytes": size},
                )
        return _answer(folder / VOLUME, size) if is_use else _headed(size)


def _answer(path: Path, size: int) -> HttpResponseBase:
    response = PiecesResponse([Piece(path=path, length=size)], length=size, content_type="application/gzip")
    add_never_cache_headers(response)
    return response


def _headed(size: int) -> HttpResponse:
    response = HttpResponse(content_type="application/gzip", headers={"Content-Length": str(size)})
    add_never_cache_headers(response)
    return response
