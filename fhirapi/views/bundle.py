"""POST [base]: batch and transaction (FHIR R4 3.1.0.11)."""

from collections.abc import Mapping
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpResponseBase
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.bundles import entry_text, response_bundle
from fhirapi.outcomes import FhirError, outcome_response
from fhirapi.store import instant
from fhirapi.views.answers import done_of, version_url
from fhirapi.views.base import WritingView, base_url
from fhirapi.views.bodies import preference, resource_of, tree_read
from fhirapi.views.dispatch import entry_dispatch
from fhirapi.views.formats import FHIR_JSON
from fhirapi.views.search import SystemSearchView
from fhirapi.writing.entries import Entry, EntryRefusedError, entries_read, entry_read
from fhirapi.writing.transactions import transaction_write
from fhirapi.writing.writes import Done
from journal.audit import audit_facts_append
from tenants.permissions import is_allowed

READS = {"GET", "HEAD"}


class BundleView(WritingView):
    """Whoever may only read may send a bundle of reads; each entry that writes needs its own capability."""

    capabilities = {"POST": "fhir.read"}
    letters: Mapping[str, str] = {}  # each entry's own

    def post(self, request: Request, slug: str) -> HttpResponseBase:
        bundle = resource_of(tree_read(request, limit=settings.MEDHUB_FHIR_BUNDLE_BYTES), rtype="Bundle")
        kind = bundle.get("type")
        if kind == "transaction":
            return self.transaction(request, slug, bundle)
        if kind == "batch":
            return self.batch(request, slug, bundle)
        raise FhirError(400, "Only a Bundle of type batch or transaction is taken here.", code="value")

    def batch(self, request: Request, slug: str, bundle: dict[str, Any]) -> Response:
        """Each entry on its own, in the order of the bundle."""
        base, limit = base_url(request, slug), settings.MEDHUB_FHIR_BUNDLE_ENTRIES
        raw = bundle.get("entry", [])
        if not isinstance(raw, list):
            raise FhirError(400, "Bundle.entry is no list.", code="structure")
        if len(raw) > limit:
            raise FhirError(413, f"A bundle has at most {limit} entries.")

        def answer() -> list[str]:
            return [self.alone(request, slug, base, position, one) for position, one in enumerate(raw)]

        return Response(response_bundle(kind="batch", entries=self.settled(answer)))

    def alone(self, request: Request, slug: str, base: str, position: int, raw: Any) -> str:
        try:
            entry = entry_read(position=position, raw=raw, base=base)
            return _dispatched(entry_dispatch(request, slug=slug, entry=entry), is_full=_is_full(request, entry))
        except EntryRefusedError as error:
            return _dispatched(outcome_response(error.cause, {}))
        except FhirError as error:
            return _dispatched(outcome_response(error, {}))

    def transaction(self, request: Request, slug: str, bundle: dict[str, Any]) -> Response:
        base = base_url(request, slug)
        try:
            entries = entries_read(bundle=bundle, base=base, limit=settings.MEDHUB_FHIR_BUNDLE_ENTRIES)
            if any(entry.method not in READS for entry in entries):
                self.writer_check(request)
            if self.scoped:
                self.scoped.entries_check(entries)
            return Response(self.settled(lambda: self.all_or_nothing(request, slug, base, entries)))
        except EntryRefusedError as error:
            return _refusal(error)

    def writer_check(self, request: Request) -> None:
        holder: Any = request.auth
        if not is_allowed(role=holder.role, capability="fhir.write"):
            raise PermissionDenied

    def all_or_nothing(self, request: Request, slug: str, base: str, entries: list[Entry]) -> bytes:
        done, matched = transaction_write(entries=entries, base=base, author=self.author)
        facts = [(one.action, one.rtype, one.fhir_id) for one in done.values()]
        facts += [("fhir.read", document.rtype, document.fhir_id) for document in matched.values()]
        if facts:
            audit_facts_append(tenant_id=self.tenant_id, actor=self.actor, facts=list(dict.fromkeys(facts)))
        results = done | {position: done_of(document) for position, document in matched.items()}
        is_full = preference(request, "return") == "representation"
        return response_bundle(
            kind="transaction",
            entries=[
                _written(results[entry.position], base, is_full=is_full)
                if entry.position in results
                else self.fetched(request, slug, entry)
                for entry in entries
            ],
        )

    def fetched(self, request: Request, slug: str, entry: Entry) -> str:
        """A read within a transaction sees what it wrote; one that fails fails all of it."""
        response = entry_dispatch(request, slug=slug, entry=entry)
        if response.status_code >= 400:
            raise EntryRefusedError(entry.position, FhirError(response.status_code if response.status_code < 500 else 500))
        return _dispatched(response, is_full=True)


class SystemView(BundleView, SystemSearchView):
    """[base]: bundles by POST, a search over all types by GET."""

    capabilities = SystemSearchView.capabilities
    letters = {"GET": "s", "HEAD": "s"}


def _is_full(request: Request, entry: Entry) -> bool:
    """Writes answer shortly unless the bundle prefers otherwise."""
    return entry.method in READS or preference(request, "return") in {"representation", "OperationOutcome"}


def _written(done: Done, base: str, *, is_full: bool) -> str:
    response: dict[str, Any] = {"status": str(done.status)}
    if done.last_updated:
        response |= {"etag": f'W/"{done.version}"', "lastModified": instant(done.last_updated)}
        response["location"] = version_url(done=done, base=base)
    return entry_text(head={"response": response}, members={"resource": done.content if is_full else ""})


def _dispatched(response: HttpResponseBase, *, is_full: bool = True) -> str:
    """An answer of a view as an entry of a response bundle."""
    told: dict[str, Any] = {"status": str(response.status_code)}
    if "Location" in response or "Content-Location" in response:
        told["location"] = response.get("Location") or response["Content-Location"]
    if "ETag" in response:
        told["etag"] = response["ETag"]
    text = _text(response)
    is_outcome = text.startswith('{"resourceType":"OperationOutcome"')
    if is_outcome:
        told["outcome"] = orjson.Fragment(text)
    head = {"response": told}
    return entry_text(head=head, members={"resource": text if is_full and not is_outcome else ""})


def _text(response: HttpResponseBase) -> str:
    if isinstance(response, Response) and not response.is_rendered:
        return (response.data or b"").decode()
    content: bytes = getattr(response, "content", b"") if response.get("Content-Type") == FHIR_JSON else b""
    return content.decode()


def _refusal(error: EntryRefusedError) -> Response:
    """The cause as it would have been told alone, with the entry's place before each of its issues."""
    response = outcome_response(error.cause, {})
    told = orjson.loads(response.data)
    place = f"Bundle.entry[{error.position}]"
    for issue in told["issue"]:
        issue["diagnostics"] = f"{place}: {issue.get('diagnostics', '')}"
        inner = [f"{place}.resource{path[len(path.split('.')[0]) :]}" for path in issue.get("expression", [])]
        issue["expression"] = inner or [place]
    response.data = orjson.dumps(told)
    return response
