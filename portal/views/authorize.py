"""An app asks to act for somebody (SMART App Launch 2.2): who it is, what it may, on which patient. And opening one from a study."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from authlib.oauth2 import OAuth2Error
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from fhirapi.patients import PatientFacts, patient_facts, patients_find, study_patient
from imaging.selectors import study_by_uuid
from journal.audit import audit_record
from portal.smart import form_source, is_writing, scope_words, stay_words
from tenants.doors import HospitalRequest, hospital_page
from tenants.oauth.asked import Asked, asked_read
from tenants.oauth.grants import LaunchContext, launch_apps, launch_create, launch_end
from tenants.oauth.server import Server, server_make


@require_http_methods(["GET", "POST"])
@hospital_page("app.open")
def authorize(request: HospitalRequest) -> HttpResponse:
    """GET and POST /t/<slug>/oauth/authorize: a POST looks for a patient, or answers."""
    server = server_make(request=request, tenant=request.tenant)
    try:
        grant = server.get_consent_grant(request=request, end_user=request.user)
        asked = asked_read(grant=grant, fhir_url=_fhir_url(request), role=request.role)
    except OAuth2Error as error:
        return _refused(request, server, error)
    decision = request.POST.get("decision", "")
    chosen = _chosen(request, asked)
    if decision == "deny":
        return _answered(server, grant, None)
    if decision == "allow" and (chosen is not None or not asked.needs_patient):
        context = asked.launched if asked.launched.patient else LaunchContext(patient=chosen.fhir_id if chosen else "")
        return _allowed(request, server, grant, asked, context)
    response = _page(request, grant, asked, chosen, is_missing=decision == "allow")
    # What django-csp's decorator sets; the decorator takes no address that is known only now.
    response._csp_update = {"form-action": [form_source(grant.request.payload.redirect_uri)]}  # type: ignore[attr-defined]
    return response


def _page(request: HospitalRequest, grant: Any, asked: Asked, chosen: PatientFacts | None, *, is_missing: bool) -> HttpResponse:
    text = request.POST.get("q", "")
    context = {
        "app": grant.request.client.row, "asked": asked, "scopes": [scope_words(scope) for scope in asked.scopes],
        "is_writing": is_writing(asked.scopes), "stay": stay_words(asked.words), "chosen": chosen, "text": text, "is_missing": is_missing,
        "patients": patients_find(text=text) if asked.needs_patient else [], "host": form_source(grant.request.payload.redirect_uri),
    }  # fmt: skip
    return render(request, "portal/authorize.html", context)


def _chosen(request: HospitalRequest, asked: Asked) -> PatientFacts | None:
    fhir_id = asked.launched.patient or (request.POST.get("patient", "") if asked.needs_patient else "")
    return patient_facts(fhir_id=fhir_id) if fhir_id else None


def _allowed(request: HospitalRequest, server: Server, grant: Any, asked: Asked, context: LaunchContext) -> HttpResponse:
    grant.request.context, grant.request.granted = context, asked.text
    response = _answered(server, grant, request.user)
    if launch := grant.request.payload.data.get("launch", ""):
        launch_end(text=launch)
    row = grant.request.client.row
    audit_record(
        actor=request.actor, action="client.grant", object_type="OAuthClient", object_id=row.client_id, detail={"scopes": asked.text[:500]},
    )  # fmt: skip
    if context.patient:
        audit_record(actor=request.actor, action="client.launch", object_type="Patient", object_id=context.patient)
    return response


def _answered(server: Server, grant: Any, user: Any) -> HttpResponse:
    response: HttpResponse = server.create_authorization_response(request=grant.request, grant_user=user, grant=grant)
    return response


def _refused(request: HospitalRequest, server: Server, error: OAuth2Error) -> HttpResponse:
    """Back to the app, where its address is known to be its own; else a page for whoever is here."""
    if error.redirect_uri:
        error.state = request.GET.get("state", "")
        response: HttpResponse = server.handle_error_response(None, error)
        return response
    return render(request, "portal/authorize_refused.html", {"reason": error.get_error_description()}, status=400)


@require_GET
@hospital_page("app.open")
def study_app(request: HospitalRequest, uuid: UUID, client_id: str) -> HttpResponse:
    """EHR launch: the app's own launch address, with our FHIR base and a launch that is this person's for five minutes."""
    row = next((one for one in launch_apps() if one.client_id == client_id), None)
    if row is None or study_by_uuid(uuid=uuid) is None:
        raise Http404
    patient = study_patient(study=str(uuid))
    if not patient:
        messages.warning(request, _("The study is not in FHIR yet; try again in a moment."))
        return redirect("study", slug=request.tenant.slug, uuid=uuid)
    launch = launch_create(row=row, user_id=request.user.pk, context=LaunchContext(patient=patient, study=str(uuid)))
    audit_record(actor=request.actor, action="client.launch", object_type="Study", object_id=str(uuid))
    mark = "&" if "?" in row.launch_url else "?"
    return HttpResponseRedirect(f"{row.launch_url}{mark}{urlencode({'iss': _fhir_url(request), 'launch': launch})}")


def _fhir_url(request: HospitalRequest) -> str:
    return request.build_absolute_uri(f"/t/{request.tenant.slug}/fhir/r4")
