"""Transfers on the pages: the live panel, cancel and retry, and a study sent to a node."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from imaging.models import Transfer
from imaging.selectors import node_get, study_by_uuid, transfer_get
from imaging.transfers.rows import TransferError, transfer_cancel, transfer_create, transfer_retry
from portal.views.nodes import panel_context
from tenants.doors import HospitalRequest, hospital_page


def _transfer(transfer_id: int) -> Transfer:
    transfer = transfer_get(transfer_id=transfer_id)
    if transfer is None:
        raise Http404
    return transfer


@hospital_page("transfer.manage")
def panel(request: HospitalRequest) -> HttpResponse:
    """The live part: 304 when it would look the same."""
    context = panel_context(request)
    if request.GET.get("seen") == context["mark"]:
        return HttpResponse(status=304)
    return render(request, "portal/transfers_panel.html", context)


@require_POST
@hospital_page("transfer.manage")
def cancel(request: HospitalRequest, transfer_id: int) -> HttpResponse:
    transfer_cancel(actor=request.actor, transfer=_transfer(transfer_id))
    return redirect("nodes", slug=request.tenant.slug)


@require_POST
@hospital_page("transfer.manage")
def retry(request: HospitalRequest, transfer_id: int) -> HttpResponse:
    transfer_retry(actor=request.actor, transfer=_transfer(transfer_id))
    return redirect("nodes", slug=request.tenant.slug)


@require_POST
@hospital_page("transfer.manage")
def study_send(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    study = study_by_uuid(uuid=uuid)
    if study is None:
        raise Http404
    node_id = request.POST.get("node", "")
    node = node_get(node_id=int(node_id)) if node_id.isascii() and node_id.isdigit() and len(node_id) < 20 else None
    if node is None:
        messages.error(request, _("Choose a node to send to."))
        return redirect("study", slug=request.tenant.slug, uuid=uuid)
    try:
        transfer_create(actor=request.actor, node=node, kind="send", study_uids=[study.study_uid])
    except TransferError as error:
        messages.error(request, str(error))
        return redirect("study", slug=request.tenant.slug, uuid=uuid)
    return redirect("nodes", slug=request.tenant.slug)
