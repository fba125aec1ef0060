"""/t/<slug>/oauth/token, introspect and revoke: open, since they authenticate clients themselves. Unknown hospitals are 404."""

from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from tenants.oauth.server import Server, server_make
from tenants.selectors import tenant_by_slug

BODY_MAX = 64 << 10


def _door(answer: Callable[[Server, HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    @csrf_exempt
    @require_POST
    def view(request: HttpRequest, slug: str) -> HttpResponse:
        tenant = tenant_by_slug(slug=slug)
        if tenant is None:
            raise Http404
        if len(request.body) > BODY_MAX:
            return HttpResponse(status=413)
        response = answer(server_make(request=request, tenant=tenant), request)
        if response.status_code == 400 and b'"invalid_client"' in response.content:
            response.status_code = 401  # RFC 6749 5.2: who could not be authenticated
        response["Content-Type"] = response.get("Content-Type", "application/json").replace("text/html; charset=utf-8", "application/json")
        add_never_cache_headers(response)
        return response

    return view


token = _door(lambda server, request: server.create_token_response(request))
introspect = _door(lambda server, request: server.create_endpoint_response("introspection", request))
revoke = _door(lambda server, request: server.create_endpoint_response("revocation", request))
