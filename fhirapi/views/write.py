"""Create, update, patch and delete, by id and by criteria (FHIR R4 3.1.0.4 to 3.1.0.8)."""

from collections.abc import Callable

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.access import LETTER_OF
from fhirapi.interactions import is_writable
from fhirapi.outcomes import FhirError
from fhirapi.patch.patches import patch_make
from fhirapi.subscriptions.known import is_watched
from fhirapi.views.answers import done_of, done_response
from fhirapi.views.base import WritingView, base_url, type_check
from fhirapi.views.bodies import (
    body_read,
    if_match,
    is_absent_wanted,
    media_of,
    preference,
    raw_binary,
    resource_of,
    tree_of,
    tree_read,
)
from fhirapi.views.formats import JSON_PATCH, JSON_TYPES, XML_TYPES
from fhirapi.views.read import ReadView
from fhirapi.views.search import SearchView
from fhirapi.writing.conditional import FORM, Criteria, criteria_lock, criteria_make, criteria_match, criteria_read
from fhirapi.writing.writes import HEARD, Change, Done, Resource, change_write, fhir_id_new, fresh_write
from journal.audit import audit_record
from journal.wall.scope import is_in_scope


class WriteView(WritingView):
    """What writing by id and by criteria share."""

    def write(self, change: Change) -> Done:
        done = change_write(change=change, author=self.author)
        audit_record(actor=self.actor, action=done.action, object_type=done.rtype, object_id=done.fhir_id)
        return done

    def answer_done(self, request: Request, slug: str, done: Done) -> Response:
        return done_response(done=done, base=base_url(request, slug), wanted=preference(request, "return"))


class ResourceView(WriteView, ReadView):
    """[base]/[type]/[id]."""

    letters = LETTER_OF

    def put(self, request: Request, slug: str, rtype: str, fhir_id: str) -> Response:
        writable_check(rtype)
        change = Change(
            rtype=rtype, fhir_id=fhir_id, resource=body_resource(request, rtype, fhir_id=fhir_id), version=if_match(request),
            is_absent=is_absent_wanted(request),
        )  # fmt: skip
        return self.answer_done(request, slug, self.settled(lambda: self.write(change)))

    def patch(self, request: Request, slug: str, rtype: str, fhir_id: str) -> Response:
        writable_check(rtype)
        change = Change(rtype=rtype, fhir_id=fhir_id, patch=body_patch(request), version=if_match(request))
        return self.answer_done(request, slug, self.settled(lambda: self.write(change)))

    def delete(self, request: Request, slug: str, rtype: str, fhir_id: str) -> Response:
        writable_check(rtype)
        change = Change(rtype=rtype, fhir_id=fhir_id, is_deletion=True, version=if_match(request))
        return self.answer_done(request, slug, self.settled(lambda: self.write(change)))


class TypeView(WriteView, SearchView):
    """[base]/[type], with criteria in the query or in If-None-Exist."""

    letters = LETTER_OF | {"GET": "s", "HEAD": "s"}

    def post(self, request: Request, slug: str, rtype: str) -> Response:
        writable_check(rtype)
        criteria = self.criteria_of_create(request, rtype)
        if criteria:
            self.criteria_check(request, rtype)
        resource = body_resource(request, rtype) | {"id": fhir_id_new()}
        change = Change(rtype=rtype, fhir_id=resource["id"], resource=resource, is_new=True)

        # Else a conditional create, an entry of a batch, or something that somebody waits for.
        if criteria is None and rtype not in HEARD and not is_in_scope() and not is_watched(tenant_id=self.tenant_id, rtype=rtype):
            return self.answer_done(request, slug, fresh_write(tenant_id=self.tenant_id, actor=self.actor, change=change))

        def create() -> Done:
            if criteria:
                criteria_lock(several=[criteria])
                if found := criteria_match(criteria=criteria, base=base_url(request, slug)):
                    audit_record(actor=self.actor, action="fhir.read", object_type=rtype, object_id=found.fhir_id)
                    return done_of(found)
            return self.write(change)

        return self.answer_done(request, slug, self.settled(create))

    def put(self, request: Request, slug: str, rtype: str) -> Response:
        writable_check(rtype)
        self.criteria_check(request, rtype)
        criteria, version = criteria_of(request, rtype), if_match(request)
        resource = body_resource(request, rtype)

        def update() -> Done:
            criteria_lock(several=[criteria])
            found = criteria_match(criteria=criteria, base=base_url(request, slug))
            return self.write(update_change(resource, rtype, found.fhir_id if found else "", version))

        return self.answer_done(request, slug, self.settled(update))

    def patch(self, request: Request, slug: str, rtype: str) -> Response:
        writable_check(rtype)
        self.criteria_check(request, rtype)
        criteria, version, patch = criteria_of(request, rtype), if_match(request), body_patch(request)

        def change() -> Done:
            fhir_id = self.found(request, slug, criteria)
            return self.write(Change(rtype=rtype, fhir_id=fhir_id, patch=patch, version=version))

        return self.answer_done(request, slug, self.settled(change))

    def delete(self, request: Request, slug: str, rtype: str) -> Response:
        writable_check(rtype)
        self.criteria_check(request, rtype)
        criteria, version = criteria_of(request, rtype), if_match(request)

        def delete() -> Done:
            fhir_id = self.found(request, slug, criteria)
            return self.write(Change(rtype=rtype, fhir_id=fhir_id, is_deletion=True, version=version))

        return self.answer_done(request, slug, self.settled(delete))

    def criteria_check(self, request: Request, rtype: str) -> None:
        """A token with scopes needs s as well. Raises FhirError 403."""
        if self.scoped:
            query = request.headers.get("If-None-Exist", "") or request._request.META.get("QUERY_STRING", "")
            self.scoped.criteria_check(rtype, query)

    def found(self, request: Request, slug: str, criteria: Criteria) -> str:
        """The id of the one that matches. Raises FhirError 404 for none, 412 for several."""
        criteria_lock(several=[criteria])
        document = criteria_match(criteria=criteria, base=base_url(request, slug))
        if document is None:
            raise FhirError(404)
        return document.fhir_id

    def criteria_of_create(self, request: Request, rtype: str) -> Criteria | None:
        """If-None-Exist; some clients put the criteria into the address instead (fhirpy's get_or_create)."""
        if header := request.headers.get("If-None-Exist", ""):
            return criteria_read(rtype=rtype, query=header)
        return criteria_of(request, rtype) if set(request.query_params) - FORM else None


def update_change(resource: Resource, rtype: str, found: str, version: int | None) -> Change:
    """The change of a conditional update (FHIR R4 3.1.0.4.3): `found` is the id that matches, or ""."""
    own = resource.get("id", "")
    if found:
        if own and own != found:
            raise FhirError(400, "The body's id is not that of the resource that matches.")
        return Change(rtype=rtype, fhir_id=found, resource=resource | {"id": found}, version=version)
    if own:  # no match: create under the client's id, unless that is somebody else's
        return Change(rtype=rtype, fhir_id=str(own), resource=resource, version=version, is_absent=True)
    fhir_id = fhir_id_new()
    return Change(rtype=rtype, fhir_id=fhir_id, resource=resource | {"id": fhir_id}, version=version, is_new=version is None)


def writable_check(rtype: str) -> None:
    type_check(rtype)
    if not is_writable(rtype):
        raise FhirError(405, f"{rtype} is written by the hub and only read over REST.")


def criteria_of(request: Request, rtype: str) -> Criteria:
    pairs = [(name, value) for name, values in request.query_params.lists() for value in values]
    return criteria_make(rtype=rtype, pairs=pairs)


def body_resource(request: Request, rtype: str, *, fhir_id: str = "") -> Resource:
    """The resource of a body. Bytes that are no FHIR become the Binary of the address."""
    media = media_of(request)
    if rtype == "Binary" and media not in JSON_TYPES | XML_TYPES:
        binary = raw_binary(request, body_read(request, limit=settings.MEDHUB_FHIR_RESOURCE_BYTES))
        return binary | ({"id": fhir_id} if fhir_id else {})
    return resource_of(tree_read(request), rtype=rtype)


def body_patch(request: Request) -> Callable[[Resource], Resource]:
    if media_of(request) == JSON_PATCH:
        return patch_make(tree=tree_of(body_read(request, limit=settings.MEDHUB_FHIR_RESOURCE_BYTES)))
    return patch_make(tree=tree_read(request))
