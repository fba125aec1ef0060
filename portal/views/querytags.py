"""Query attributes: what the hospital's systems may ask for beyond the standard keys, and how far each is built."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from imaging.models import QueryTag
from imaging.querytags.declare import (
    TAGS_CAP,
    QueryTagError,
    query_tag_create,
    query_tag_delete,
    query_tag_get,
    query_tag_reindex,
    query_tags,
)
from portal.forms import QueryTagForm
from portal.querytags import query_tag_row, query_tags_mark
from tenants.doors import HospitalRequest, hospital_page


def _panel() -> dict[str, Any]:
    tags = query_tags()
    return {"rows": [query_tag_row(tag) for tag in tags], "mark": query_tags_mark(tags), "most": TAGS_CAP}


def _found(tag_id: int) -> QueryTag:
    tag = query_tag_get(tag_id=tag_id)
    if tag is None:
        raise Http404
    return tag


@hospital_page("query.manage")
def query_tags_page(request: HospitalRequest) -> HttpResponse:
    return render(request, "portal/query_tags.html", {"form": QueryTagForm(), **_panel()})


@hospital_page("query.manage")
def panel(request: HospitalRequest) -> HttpResponse:
    """The live part: 304 when it would look the same."""
    context = _panel()
    if request.GET.get("seen") == context["mark"]:
        return HttpResponse(status=304)
    return render(request, "portal/query_tags_panel.html", context)


@require_POST
@hospital_page("query.manage")
def create(request: HospitalRequest) -> HttpResponse:
    form = QueryTagForm(request.POST)
    if form.is_valid():
        try:
            tag = query_tag_create(actor=request.actor, **form.cleaned_data)
        except QueryTagError as error:
            form.add_error(error.field, str(error))
        else:
            messages.success(request, _("%(tag)s can be asked for now.") % {"tag": query_tag_row(tag).title})
            return redirect("query-tags", slug=request.tenant.slug)
    return render(request, "portal/query_tags.html", {"form": form, **_panel()})


@require_POST
@hospital_page("query.manage")
def reindex(request: HospitalRequest, tag_id: int) -> HttpResponse:
    query_tag_reindex(actor=request.actor, row=_found(tag_id))
    return redirect("query-tags", slug=request.tenant.slug)


@require_POST
@hospital_page("query.manage")
def remove(request: HospitalRequest, tag_id: int) -> HttpResponse:
    tag = _found(tag_id)
    query_tag_delete(actor=request.actor, row=tag)
    messages.success(request, _("%(tag)s cannot be asked for any more.") % {"tag": query_tag_row(tag).title})
    return redirect("query-tags", slug=request.tenant.slug)
