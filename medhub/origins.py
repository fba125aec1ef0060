"""Which browser apps of other origins may ask for FHIR and for tokens: those whose redirect addresses a hospital has registered.

They bring a token; a cookie is never taken from them (tenants.doors).
"""

import re
from typing import Any

from corsheaders.signals import check_request_enabled
from django.http import HttpRequest

from tenants.oauth.clients import origin_is_known

_OPEN = re.compile(r"/t/([-\w]+)/(?:fhir/r4(?:/|$)|oauth/(?:token|introspect|revoke)$)")


def is_open(sender: Any, request: HttpRequest, **_: Any) -> bool:
    origin, found = request.headers.get("Origin", ""), _OPEN.match(request.path_info)
    return bool(origin and found) and origin_is_known(slug=found[1] if found else "", origin=origin)


def origins_open() -> None:
    check_request_enabled.connect(is_open, dispatch_uid="medhub.origins")
