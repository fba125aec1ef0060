"""The hospital's own page: how to connect to us, and what has connected."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from ai.selectors import rules
from imaging.selectors import associations_recent, nodes
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page
from tenants.permissions import is_allowed
from tenants.selectors import called_aes

OUTCOMES = {"open": "wait", "released": "ok", "aborted": "bad", "lost": "bad", "refused": "bad"}


@hospital_page("hospital.view")
def hospital(request: HospitalRequest) -> HttpResponse:
    context: dict[str, object] = {"is_manager": is_allowed(role=request.role, capability="node.manage")}
    if context["is_manager"]:
        base = request.build_absolute_uri(f"/t/{request.tenant.slug}")
        context |= {
            "called": called_aes(tenant_id=request.tenant.id), "port": settings.MEDHUB_DIMSE_PORT,
            "secure_port": settings.MEDHUB_DIMSE_TLS_PORT, "host": request.get_host().split(":")[0],
            "fhir": f"{base}/fhir/r4", "dicomweb": f"{base}/dicomweb", "nodes": nodes(), "rules": rules(),
            "associations": [
                (row, StateWords(OUTCOMES.get(row.outcome, "note"), row.outcome, row.reason))
                for row in associations_recent(limit=20)
            ],
        }  # fmt: skip
    return render(request, "portal/hospital.html", context)
