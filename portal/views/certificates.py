"""Certificates: what devices need to speak TLS with us, what was issued to whom, until when, and what was taken back."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from imaging.certificates import selectors
from imaging.certificates.authority import CertificateError, password_check
from imaging.certificates.contexts import listener_ends, trust_bundle
from imaging.certificates.services import certificate_make, certificate_revoke, certificate_sign, revocations
from imaging.models import Certificate
from imaging.selectors import nodes
from portal.forms import REASON_WORDS, MakeForm, RevokeForm, SignForm
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page

PEM = "application/x-pem-file"
MAKE_ID = "make_%s"  # two forms on a page: ids of their own
KINDS = {"valid": "ok", "ending": "note", "ended": "bad", "revoked": "off"}


@dataclass(frozen=True)
class CertificateRow:
    certificate: Certificate
    state: StateWords
    is_alive: bool
    form: RevokeForm


def _row(certificate: Certificate) -> CertificateRow:
    now = timezone.now()
    state = selectors.certificate_state(certificate, now=now)
    days = (certificate.not_after - now).days
    words = {"revoked": _("revoked"), "ended": _("has ended")}.get(state) or ngettext("%(days)d day left", "%(days)d days left", days)
    reason = str(REASON_WORDS.get(certificate.reason, "")) if state == "revoked" else ""
    form = RevokeForm(auto_id=f"revoke_{certificate.id}_%s")
    return CertificateRow(certificate, StateWords(KINDS[state], words % {"days": days}, reason), state != "revoked", form)


def _page(request: HospitalRequest, **extra: Any) -> HttpResponse:
    before = request.GET.get("before", "")
    page = selectors.certificates_page(before=int(before) if before.isascii() and before.isdigit() and len(before) < 20 else 0)
    bindable = nodes()
    context = {
        "rows": [_row(certificate) for certificate in page.certificates], "older": page.older, "is_first": not before,
        "listener_ends": listener_ends(),
        "sign": SignForm(nodes=bindable), "make": MakeForm(nodes=bindable, auto_id=MAKE_ID), **extra,
    }  # fmt: skip
    return render(request, "portal/certificates.html", context)


@hospital_page("node.manage")
def certificates_page(request: HospitalRequest) -> HttpResponse:
    return _page(request)


@require_POST
@hospital_page("certificate.manage")
def sign(request: HospitalRequest) -> HttpResponse:
    form = SignForm(request.POST, nodes=nodes())
    if form.is_valid():
        try:
            certificate = certificate_sign(actor=request.actor, **form.cleaned_data)
        except CertificateError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        else:
            messages.success(request, _("%(name)s has a certificate now: download it below.") % {"name": certificate.name})
            return redirect("certificates", slug=request.tenant.slug)
    return _page(request, sign=form)


@require_POST
@hospital_page("certificate.manage")
def make(request: HospitalRequest) -> HttpResponse:
    """The key is in this answer and nowhere else."""
    form = MakeForm(request.POST, nodes=nodes(), auto_id=MAKE_ID)
    if not form.is_valid():
        return _page(request, make=form)
    facts = form.cleaned_data
    try:
        if facts["format"] == "pkcs12":
            password_check(facts["password"])
        made = certificate_make(actor=request.actor, name=facts["name"], hosts=facts["hosts"].split(","), node=facts["node"])
        packed = made.pkcs12(password=facts["password"]) if facts["format"] == "pkcs12" else b""
    except CertificateError as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
        return _page(request, make=form)
    if packed:
        return _file(packed, "application/x-pkcs12", f"{made.certificate.id}.p12")
    return render(request, "portal/certificate_made.html", {"certificate": made.certificate, "pem": made.pem})


@hospital_page("node.manage")
def trust(request: HospitalRequest) -> HttpResponse:
    return _file(trust_bundle().encode(), PEM, f"medhub-{request.tenant.slug}-trust.pem")


@hospital_page("node.manage")
def revoked(request: HospitalRequest) -> HttpResponse:
    return _file(revocations(), PEM, f"medhub-{request.tenant.slug}-revoked.pem")


@hospital_page("node.manage")
def certificate_file(request: HospitalRequest, certificate_id: int) -> HttpResponse:
    return _file(_certificate(certificate_id).pem.encode(), PEM, f"{certificate_id}.pem")


@require_POST
@hospital_page("certificate.manage")
def revoke(request: HospitalRequest, certificate_id: int) -> HttpResponse:
    certificate = _certificate(certificate_id)
    try:
        certificate_revoke(actor=request.actor, certificate=certificate, reason=request.POST.get("reason") or "unspecified")
    except CertificateError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("%(name)s is refused from its next association on.") % {"name": certificate.name})
    return redirect("certificates", slug=request.tenant.slug)


def _certificate(certificate_id: int) -> Certificate:
    certificate = selectors.certificate_get(certificate_id=certificate_id)
    if certificate is None:
        raise Http404
    return certificate


def _file(content: bytes, media_type: str, name: str) -> HttpResponse:
    return HttpResponse(content, content_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
