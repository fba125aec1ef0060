"""Retrieve Capabilities (PS3.18 8.9): what the addresses are and what each can be asked for, read from the doors themselves."""

import re
from typing import Any
from xml.sax.saxutils import quoteattr

from django.http import HttpResponse, HttpResponseBase
from django.urls import URLPattern, get_resolver
from rest_framework.request import Request

from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.reading import ReadView, json_response, methods_of

WADL, WADL_JSON = "application/vnd.sun.wadl+xml", "application/vnd.sun.wadl+json"
OFFERS = [Offer(WADL_JSON, is_plain=True), Offer("application/json", is_plain=True), Offer(WADL, is_plain=True)]


class CapabilitiesView(ReadView):
    """OPTIONS or GET of the hospital's DICOMweb root: of every door that is mounted there, the worklist's (UPS-RS) too."""

    produces = (WADL_JSON, "application/json", WADL)

    def get(self, request: Request, slug: str) -> HttpResponseBase:
        form = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        resources, base = resources_of(_mounted(request.resolver_match.route)), self.base(request)
        if form.media_type == WADL:
            return HttpResponse(_wadl(resources, base), content_type=WADL)
        response = json_response({"application": {"resources": {"base": base, "resource": resources}}})
        response["Content-Type"] = form.media_type
        return response

    def options(self, request: Request, slug: str) -> HttpResponseBase:  # type: ignore[override]
        response = self.get(request, slug)
        response["Allow"] = ", ".join(methods_of(self))
        return response


def _mounted(root: str) -> list[URLPattern]:
    """Whatever the project has put under this root: apps that are above this one as well."""
    return [door for place in get_resolver().url_patterns if str(place.pattern) == root for door in place.url_patterns]


def resources_of(patterns: list[URLPattern]) -> list[dict[str, Any]]:
    found = []
    for pattern in patterns:
        door: Any = pattern.callback.view_class  # type: ignore[attr-defined]
        path = re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
        methods = [name for name in methods_of(door) if name not in ("HEAD", "OPTIONS")]  # which everybody has
        found.append({"path": path, "method": methods, "representation": list(getattr(door, "produces", ()))})
    return found


def _wadl(resources: list[dict[str, Any]], base: str) -> str:
    lines = ['<?xml version="1.0" encoding="UTF-8"?><application xmlns="http://wadl.dev.java.net/2009/02">']
    lines.append(f"<resources base={quoteattr(base)}>")
    for one in resources:
        kinds = "".join(f"<representation mediaType={quoteattr(kind)}/>" for kind in one["representation"])
        answer = f"<response status=\"200\">{kinds}</response>" if kinds else ""
        methods = "".join(f"<method name={quoteattr(name)}>{answer if name == 'GET' else ''}</method>" for name in one["method"])
        lines.append(f"<resource path={quoteattr(one['path'])}>{methods}</resource>")
    return "".join([*lines, "</resources></application>"])
