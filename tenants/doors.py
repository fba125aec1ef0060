"""The doors that HTTP comes in by: signed-in pages and machine views. They authenticate, open the scope and check a capability.

Foreign or unknown hospitals answer 404, alike. Capabilities are named on the view, so a test can walk every URL.
"""

import functools
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.authentication import SessionAuthentication as CsrfEnforcer
from rest_framework.request import Request
from rest_framework.views import APIView

from journal.audit import Actor
from journal.trace import trace
from journal.wall.scope import tenant_scope
from tenants import selectors
from tenants.known import TokenHolder
from tenants.models import Tenant
from tenants.permissions import is_allowed


def address_of(request: HttpRequest) -> str | None:
    """The peer's address. A proxy's header is not believed; a deployment behind one sets REMOTE_ADDR there.

    Without the zone of a link-local one, and None for what is no address: PostgreSQL refuses both, and what an upload brings is
    written by the index worker long after its answer.
    """
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))
    except ValueError:
        return None


class HospitalRequest(HttpRequest):
    """What a signed-in page gets: the hospital, the role and who acts."""

    tenant: Tenant
    role: str
    actor: Actor


def hospital_page(
    capability: str, *, is_scoped: bool = True
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponseBase]]:
    """A page of one hospital: login, membership (404 for strangers), capability (403), scope, site time zone, never cached.

    `is_scoped=False` is for a page that talks to the outside: it opens short scopes itself.
    """

    def wrap(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(view)
        def run(request: HttpRequest, slug: str, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                login = redirect_to_login(request.get_full_path())
                add_never_cache_headers(login)
                return login
            membership = selectors.membership_get(user_id=request.user.pk, slug=slug)
            if membership is None:
                raise Http404
            if not is_allowed(role=membership.role, capability=capability):
                raise PermissionDenied
            request.tenant, request.role = membership.tenant, membership.role  # type: ignore[attr-defined]
            request.actor = Actor(name=f"user:{request.user.pk}", address=address_of(request))  # type: ignore[attr-defined]
            scope = tenant_scope(membership.tenant_id) if is_scoped else nullcontext()
            with trace(""), scope, timezone.override(membership.tenant.time_zone):
                response = view(request, **kwargs)
            add_never_cache_headers(response)
            return response

        run.capability = capability  # type: ignore[attr-defined]
        return run

    return wrap


class TokenAuthentication(BaseAuthentication):
    """RFC 6750 bearer tokens of a hospital."""

    def authenticate(self, request: Request) -> tuple[None, TokenHolder] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != 2:
            raise exceptions.AuthenticationFailed("malformed bearer token")
        holder = selectors.token_holder(text=parts[1].decode("latin-1"))
        if holder is None:
            raise exceptions.AuthenticationFailed("unknown or revoked token")
        return None, holder

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="medhub"'


@dataclass(frozen=True)
class SessionHolder:
    """Whom a browser's session stands for, in the hospital of the address."""

    user_id: UUID
    tenant_id: int
    slug: str
    role: str


class SessionAuthentication(BaseAuthentication):
    """The session that the pages use, for what a viewer in the browser reads. Unsafe methods need the CSRF token as well."""

    def authenticate(self, request: Request) -> tuple[None, SessionHolder] | None:
        user = getattr(request._request, "user", None)
        if user is None or not user.is_authenticated or is_foreign(request):
            return None
        CsrfEnforcer().enforce_csrf(request)
        membership = selectors.membership_get(user_id=user.pk, slug=request.parser_context["kwargs"].get("slug", ""))
        if membership is None:
            raise exceptions.NotFound
        return None, SessionHolder(user.pk, membership.tenant_id, membership.tenant.slug, membership.role)


def actor_name(holder: TokenHolder) -> str:
    """Who acts: the person for whom an app does, a client whatever its token of the hour, else the key."""
    if holder.user_id:
        return f"user:{holder.user_id}"
    return f"client:{holder.client_id}" if holder.client_id else f"token:{holder.token_id}"


def is_foreign(request: Request) -> bool:
    """Does a page of another origin ask? Such a page needs a token: a cookie would make every site act as its reader."""
    origin = request.META.get("HTTP_ORIGIN", "")
    return bool(origin) and urlsplit(origin).netloc != request._request.get_host()


TOKEN_OR_SESSION: list[type[BaseAuthentication]] = [TokenAuthentication, SessionAuthentication]


class HospitalAPIView(APIView):
    """A machine door of one hospital. `capabilities` maps HTTP methods to what the token's role must allow."""

    authentication_classes: list[type[BaseAuthentication]] = [TokenAuthentication]
    permission_classes: list[Any] = []
    capabilities: dict[str, str] = {}
    takes_scopes = False  # True for doors that look at a token's SMART scopes themselves
    is_scoped = True  # False for views that take long from outside: they open short scopes themselves
    tenant_id: int
    actor: Actor
    _stack: ExitStack

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with ExitStack() as self._stack:
            response = super().dispatch(request, *args, **kwargs)
            # Rendered inside the scope, so a failure still rolls back before a byte leaves.
            if hasattr(response, "render"):
                response.render()
        add_never_cache_headers(response)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        holder = request.auth
        if not isinstance(holder, TokenHolder | SessionHolder):
            raise exceptions.NotAuthenticated
        if holder.slug != kwargs.get("slug"):
            raise exceptions.NotFound
        method = "GET" if request.method == "HEAD" else request.method or ""
        if method not in self.capabilities:  # fails closed: a method without a named capability is no method
            raise exceptions.MethodNotAllowed(method)
        if not is_allowed(role=holder.role, capability=self.capabilities[method]):
            raise exceptions.PermissionDenied
        if getattr(holder, "scopes", "") and not self.takes_scopes:  # scopes speak of FHIR resources, and of nothing else
            raise exceptions.PermissionDenied
        self.tenant_id = holder.tenant_id
        name = f"user:{holder.user_id}" if isinstance(holder, SessionHolder) else actor_name(holder)
        self.actor = Actor(name=name, address=address_of(request))
        self._stack.enter_context(trace(""))
        if self.is_scoped:
            self._stack.enter_context(tenant_scope(holder.tenant_id))

    def handle_exception(self, exc: Exception) -> Any:
        if connection.in_atomic_block:
            transaction.set_rollback(True)
        return super().handle_exception(exc)
