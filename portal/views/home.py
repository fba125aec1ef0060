"""The front door: to the one hospital of a person, or a choice among several."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from tenants.permissions import is_allowed
from tenants.selectors import memberships_of


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that is too old, or that another site posted."""
    return render(request, "403_csrf.html", status=403)


@never_cache
@login_required
def home(request: HttpRequest) -> HttpResponse:
    memberships = memberships_of(user_id=request.user.pk)
    if len(memberships) == 1:
        only = memberships[0]
        page = "worklist" if is_allowed(role=only.role, capability="study.read") else "hospital"
        return redirect(page, slug=only.tenant.slug)
    return render(request, "portal/home.html", {"memberships": memberships})
