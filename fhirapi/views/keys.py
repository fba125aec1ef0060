"""The public halves of the keys that we sign in at hospitals' EHRs with, as a JWK Set (RFC 7517): open, for the EHR reads it."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from fhirapi.push.servers import ehr_server_get, server_jwks
from fhirapi.sources import hospital_id
from journal.wall.scope import tenant_scope


@require_safe
def jwks(request: HttpRequest, slug: str, server: UUID) -> HttpResponse:
    """GET [base]/ehr/[server]/jwks.json."""
    tenant_id = hospital_id(slug=slug)
    if tenant_id is None:
        raise Http404
    with tenant_scope(tenant_id):
        row = ehr_server_get(server_uuid=server)
    if row is None:
        raise Http404
    return HttpResponse(server_jwks(row), content_type="application/jwk-set+json", headers={"Cache-Control": "max-age=300"})
