"""Nodes: whom the hospital exchanges images with, whether they answer, what they have, and what is on its way."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from imaging.models import Node
from imaging.nodes import NodeError, node_create, node_delete, node_update, services_of
from imaging.scu.association import NotPossibleError, NotReachedError, peer_of
from imaging.scu.check import node_check
from imaging.scu.query import Matches, node_query
from imaging.selectors import node_get, nodes, studies_held, transfers_page
from imaging.transfers.rows import Pace, TransferError, transfer_create
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from portal.forms import (
    AUTH_WORDS,
    RESULTS_BY_WORDS,
    RESULTS_WORDS,
    SERVICE_WORDS,
    MigrationForm,
    NodeForm,
    SearchForm,
    node_initial,
)
from portal.transfers import transfer_row, transfers_mark
from portal.words import StateWords, hop_words
from tenants.doors import HospitalRequest, hospital_page

SHOWN = 20
MATCHES = 100
MIGRATE_ID = "migrate_%s"  # two forms on a page: ids of their own


@dataclass(frozen=True)
class NodeRow:
    node: Node
    state: StateWords
    services: str
    results: str
    web_auth: str


@dataclass(frozen=True)
class MatchRow:
    """A study at the node, and how many of its images are here."""

    values: dict[str, str]  # by DICOM keyword
    here: int


def panel_context(request: HospitalRequest) -> dict[str, object]:
    found = transfers_page(size=SHOWN).transfers
    return {"transfers": [transfer_row(transfer) for transfer in found], "mark": transfers_mark(found)}


def node_or_404(node_id: int) -> Node:
    node = node_get(node_id=node_id)
    if node is None:
        raise Http404
    return node


def _row(node: Node) -> NodeRow:
    services = ", ".join(str(SERVICE_WORDS[name]) for name in SERVICE_WORDS if name in services_of(node))
    results = str(RESULTS_WORDS.get(node.results_as, node.results_as))
    by = str(RESULTS_BY_WORDS.get(node.results_by, node.results_by))
    return NodeRow(node, _check_words(node), services, f"{results}, {by}", str(AUTH_WORDS.get(node.web_auth, node.web_auth)))


def _check_words(node: Node) -> StateWords:
    hops = node.last_check or []
    if not hops:
        return StateWords("off", _("not checked yet") if node.host or node.web_url else _("is not called"))
    failed = next((hop for hop in hops if not hop["is_ok"]), None)
    if failed is None:
        return StateWords("ok", _("answers"))
    return StateWords("bad", _("does not answer"), f"{hop_words(failed['hop'])}: {failed['words']}")


@hospital_page("transfer.manage")
def nodes_page(request: HospitalRequest) -> HttpResponse:
    context = {"nodes": [_row(node) for node in nodes()], **panel_context(request)}
    return render(request, "portal/nodes.html", context)


@hospital_page("node.manage")
def node_new(request: HospitalRequest) -> HttpResponse:
    form = NodeForm(request.POST or None, initial={"services": ["store"], "results_by": "dimse", "web_auth": "none"})
    if request.method == "POST" and form.is_valid():
        try:
            node = node_create(actor=request.actor, **form.facts())
        except NodeError as error:
            form.add_error(error.field, str(error))
        else:
            messages.success(request, _("%(node)s is a node now.") % {"node": node.ae_title})
            return redirect("node", slug=request.tenant.slug, node_id=node.id)
    return render(request, "portal/node_form.html", {"form": form})


@hospital_page("node.manage")
def node_edit(request: HospitalRequest, node_id: int) -> HttpResponse:
    node = node_or_404(node_id)
    form = NodeForm(request.POST or None, initial=node_initial(node))
    if request.method == "POST" and form.is_valid():
        try:
            node_update(actor=request.actor, node=node, **form.facts())
        except NodeError as error:
            form.add_error(error.field, str(error))
        else:
            return redirect("node", slug=request.tenant.slug, node_id=node_id)
    return render(request, "portal/node_form.html", {"form": form, "node": node_or_404(node_id)})


@hospital_page("transfer.manage")
def node_page(request: HospitalRequest, node_id: int) -> HttpResponse:
    return _page(request, node_or_404(node_id))


def _page(request: HospitalRequest, node: Node, **extra: Any) -> HttpResponse:
    context = {"row": _row(node), "node": node, "search": SearchForm(), "migration": MigrationForm(auto_id=MIGRATE_ID), **extra}
    return render(request, "portal/node.html", context)


@require_POST
@hospital_page("node.manage")
def node_remove(request: HospitalRequest, node_id: int) -> HttpResponse:
    node = node_or_404(node_id)
    node_delete(actor=request.actor, node=node)
    messages.success(request, _("%(node)s is no node any more.") % {"node": node.ae_title})
    return redirect("nodes", slug=request.tenant.slug)


@require_POST
@hospital_page("node.manage", is_scoped=False)
def node_call(request: HospitalRequest, node_id: int) -> HttpResponse:
    """Check it now; the page then shows the hops as they were."""
    try:
        node_check(tenant_id=request.tenant.id, node_id=node_id, actor=request.actor)
    except Node.DoesNotExist:
        raise Http404 from None
    return redirect("node", slug=request.tenant.slug, node_id=node_id)


@require_POST
@hospital_page("transfer.manage", is_scoped=False)
def node_search(request: HospitalRequest, node_id: int) -> HttpResponse:
    """What was looked for travels in the body: nothing of a patient gets into an address."""
    with tenant_scope(request.tenant.id):
        node = node_or_404(node_id)
        audit_record(actor=request.actor, action="node.query", object_type="Node", object_id=str(node.id))
    form = SearchForm(request.POST)
    matches, error = Matches(), ""
    if is_valid := form.is_valid():
        try:
            matches = node_query(peer_of(node), limit=MATCHES, **form.keys())
        except (NotReachedError, NotPossibleError) as problem:
            error = problem.user_message
    with tenant_scope(request.tenant.id):
        here = studies_held(study_uids=[match["StudyInstanceUID"] for match in matches.found])
        rows = [MatchRow(match.values, here.get(match["StudyInstanceUID"], 0)) for match in matches.found]
        return _page(
            request, node, search=form, matches=rows, is_cut=matches.is_cut, search_error=error, has_searched=is_valid and not error
        )


@require_POST
@hospital_page("transfer.manage")
def node_pull(request: HospitalRequest, node_id: int) -> HttpResponse:
    node = node_or_404(node_id)
    try:
        transfer_create(actor=request.actor, node=node, kind="pull", study_uids=request.POST.getlist("study"))
    except TransferError as error:
        messages.error(request, str(error))
        return redirect("node", slug=request.tenant.slug, node_id=node_id)
    return redirect("nodes", slug=request.tenant.slug)


@require_POST
@hospital_page("node.manage")
def node_migrate(request: HospitalRequest, node_id: int) -> HttpResponse:
    node, form = node_or_404(node_id), MigrationForm(request.POST, auto_id=MIGRATE_ID)
    if not form.is_valid():
        return _page(request, node, migration=form)
    facts = form.cleaned_data
    pace = Pace(
        studies_per_minute=facts["studies_per_minute"], hour_from=facts["hour_from"], hour_to=facts["hour_to"]
    )
    try:
        transfer_create(actor=request.actor, node=node, kind="migrate", query=form.query(), pace=pace)
    except TransferError as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
        return _page(request, node, migration=form)
    return redirect("nodes", slug=request.tenant.slug)
