"""The pages of a hospital that a role may open, in order."""

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from tenants.permissions import is_allowed

BESIDE_NODES = {
    "query-tags", "query-tag-create", "certificates", "certificate-sign", "certificate-make", "certificate-revoke", "hl7",
    "hl7-source-create", "hl7-destination-create", "hl7-destination-test",
    "ehr", "ehr-new", "ehr-edit", "ehr-push", "subscriptions",
}  # fmt: skip
AI_PAGES = {
    "platforms", "platform", "platform-connect", "platform-terms", "algorithms", "algorithm", "algorithm-recall", "recall-lift", "usage",
    "disclosures",
}  # fmt: skip

RULES = {"rules", "rules-version", "rules-draft", "rule-new", "rule-edit", "rules-try", "rules-try-file", "stages", "stage-set"}


@dataclass(frozen=True)
class NavItem:
    url: str
    label: str
    is_here: bool


def nav_items(request: HttpRequest) -> list[NavItem]:
    """Nothing outside a hospital; inside, only what the role opens."""
    tenant, role = getattr(request, "tenant", None), getattr(request, "role", "")
    if tenant is None or request.resolver_match is None:
        return []
    here = request.resolver_match.url_name
    pages = (
        ("worklist", "study.read", _("Worklist"), {"worklist", "worklist-filter", "worklist-study", "study"}),
        ("nodes", "transfer.manage", _("Nodes"), {"nodes", "node", "node-new", "node-edit", "node-query", "node-migrate", *BESIDE_NODES}),
        ("platforms", "ai.read", _("Platforms"), AI_PAGES),
        # Under the platforms for whoever sees those; an auditor does not.
        *(() if is_allowed(role=role, capability="ai.read") else (("disclosures", "audit.read", _("Disclosures"), {"disclosures"}),)),
        ("rules", "ai.read", _("Rules"), RULES),
        ("jobs", "ai.read", _("Jobs"), {"jobs", "job", "job-requeue"}),
        ("insights", "ai.read", _("Insights"), {"insights", "insights-cases"}),
        ("hospital", "hospital.view", _("Hospital"), {"hospital", "clients", "client-create"}),
        ("attention", "delivery.manage", _("Needs attention"), {"attention", "workitem", "merges", "merge-find"}),
    )
    return [
        NavItem(url=reverse(name, args=[tenant.slug]), label=label, is_here=here in names)
        for name, capability, label, names in pages
        if is_allowed(role=role, capability=capability)
    ]


def nav(request: HttpRequest) -> dict[str, list[NavItem]]:
    """Context processor."""
    return {"nav": nav_items(request)}
