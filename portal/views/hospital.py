"""The hospital's own page: how to connect to us, and what has connected."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.routing.sets import ruleset_active
from imaging.selectors import associations_recent, nodes
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page
from tenants.models import DuplicatePolicy
from tenants.permissions import is_allowed
from tenants.selectors import called_aes
from tenants.services import duplicate_policy_set, us_core_set

OUTCOMES = {"open": "wait", "released": "ok", "aborted": "bad", "lost": "bad", "refused": "bad"}


@hospital_page("hospital.view")
def hospital(request: HospitalRequest) -> HttpResponse:
    context: dict[str, object] = {"is_manager": is_allowed(role=request.role, capability="node.manage")}
    if context["is_manager"]:
        base = request.build_absolute_uri(f"/t/{request.tenant.slug}")
        context |= {
            "called": called_aes(tenant_id=request.tenant.id), "port": settings.MEDHUB_DIMSE_PORT,
            "secure_port": settings.MEDHUB_DIMSE_TLS_PORT, "host": request.get_host().split(":")[0],
            "fhir": f"{base}/fhir/r4", "dicomweb": f"{base}/dicomweb", "nodes": nodes(), "ruleset": ruleset_active(),
            "associations": [
                (row, StateWords(OUTCOMES.get(row.outcome, "note"), row.outcome, row.reason))
                for row in associations_recent(limit=20)
            ],
        }  # fmt: skip
    context["may_store"] = is_allowed(role=request.role, capability="storage.manage")
    context["may_fhir"] = is_allowed(role=request.role, capability="fhir.manage")
    context["policies"] = DuplicatePolicy.choices
    return render(request, "portal/hospital.html", context)


@require_POST
@hospital_page("storage.manage")
def duplicate_policy(request: HospitalRequest) -> HttpResponse:
    """Choose what becomes of an object whose UID is taken by other content."""
    try:
        duplicate_policy_set(policy=request.POST.get("policy", ""), actor=request.actor)
    except ValueError:
        messages.error(request, _("Nothing was changed: choose one of the three."))
    else:
        messages.success(request, _("Saved. It holds for what arrives from now on."))
    return redirect("hospital", slug=request.tenant.slug)


@require_POST
@hospital_page("fhir.manage")
def us_core(request: HospitalRequest) -> HttpResponse:
    """Let FHIR resources name US Core's profiles, or not."""
    us_core_set(is_on=request.POST.get("us_core") == "on", actor=request.actor)
    messages.success(request, _("Saved. It holds for what is written from now on."))
    return redirect("hospital", slug=request.tenant.slug)
