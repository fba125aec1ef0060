"""The operations $validate, $match, $meta, $meta-add and $meta-delete (FHIR R4 3.2)."""

from typing import Any

import orjson
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.jsontext import json_dump, json_load
from fhirapi.operations.known import parameter_one, parameters_read, returned
from fhirapi.operations.matching import match_bundle, patients_match
from fhirapi.operations.metas import meta_change, metas_gather
from fhirapi.outcomes import FhirError, outcome_of
from fhirapi.registry import COUNT_MAX, TYPES
from fhirapi.store import Document, instant, resource_read
from fhirapi.validation import ID, InvalidResourceError, resource_validate
from fhirapi.validation.operation import validate_operation
from fhirapi.views.base import FhirView, WritingView, base_url, type_check
from fhirapi.views.bodies import has_body, if_match, tree_read
from fhirapi.views.write import writable_check
from journal.audit import audit_record

MATCHES = 10  # people, where no count is asked for


class ValidateView(FhirView):
    """POST [base]/[type]/$validate and [base]/[type]/[id]/$validate; GET looks at the stored resource."""

    letters = {"GET": "r", "HEAD": "r"}

    def get(self, request: Request, slug: str, rtype: str, fhir_id: str) -> Response:
        return self.answer(request, rtype, self.stored(rtype, fhir_id))

    def post(self, request: Request, slug: str, rtype: str, fhir_id: str = "") -> Response:
        if rtype != "Parameters":  # which is an operation's body and never stored, but may be looked at
            type_check(rtype)
        if fhir_id and not has_body(request):
            return self.answer(request, rtype, self.stored(rtype, fhir_id))
        try:
            tree = tree_read(request)
        except InvalidResourceError as error:
            if error.is_unreadable:
                raise
            return Response(orjson.dumps(outcome_of(issues=error.issues)))
        return self.answer(request, rtype, tree)

    def answer(self, request: Request, rtype: str, resource: Any) -> Response:
        parameters = request.query_params
        told = validate_operation(
            resource=resource, mode=parameters.get("mode", ""), rtype=rtype, has_profile="profile" in parameters
        )
        return Response(orjson.dumps(told))

    def stored(self, rtype: str, fhir_id: str) -> Any:
        document = found(rtype, fhir_id)
        if self.scoped:
            self.scoped.whole_check(rtype, "r")
        audit_record(actor=self.actor, action="fhir.read", object_type=rtype, object_id=fhir_id)
        return json_load(document.content.encode())


class MatchView(FhirView):
    """POST [base]/Patient/$match."""

    letters = dict.fromkeys(["GET", "HEAD", "POST"], "rs")
    implied = "Patient"

    def post(self, request: Request, slug: str) -> Response:
        tree = tree_read(request)
        given: list[tuple[str, Any]] = list(request.query_params.items())
        is_bare = isinstance(tree, dict) and tree.get("resourceType") == "Patient"
        given += [("resource", tree)] if is_bare else parameters_read(tree)
        patient = parameter_one(given, "resource")
        if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
            raise FhirError(400, "resource must be one Patient.", code="required")
        if errors := tuple(issue for issue in resource_validate(resource=patient) if issue.is_error):
            raise InvalidResourceError(errors[0].diagnostics, issues=errors)
        matches = patients_match(patient=patient, is_certain_only=_is_true(parameter_one(given, "onlyCertainMatches")))
        shown = matches[: _count(parameter_one(given, "count"))]
        audit_record(actor=self.actor, action="fhir.match", object_type="Patient", object_id="-")
        now = instant(timezone.now())
        return Response(match_bundle(matches=shown, base=base_url(request, slug), total=len(matches), now=now))


def _is_true(value: Any) -> bool:
    if value not in (None, True, False, "true", "false"):
        raise FhirError(400, "onlyCertainMatches is neither true nor false.", code="value")
    return value in (True, "true")


def _count(value: Any) -> int:
    if value is None:
        return MATCHES
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) == 0:
        raise FhirError(400, "count is no positive number.", code="value")
    return min(int(text), COUNT_MAX)


class MetaView(FhirView):
    """GET [base]/$meta, [base]/[type]/$meta and [base]/[type]/[id]/$meta."""

    def get(self, request: Request, slug: str, rtype: str = "", fhir_id: str = "") -> Response:
        if rtype:
            type_check(rtype)
        self.whole_check()
        if fhir_id:
            meta = json_load(found(rtype, fhir_id).content.encode())["meta"]
        else:
            meta = metas_gather(rtypes=[rtype] if rtype else [name for name in TYPES if name not in self.hidden])
        audit_record(actor=self.actor, action="fhir.read", object_type=rtype or "-", object_id=fhir_id or "-")
        return Response(json_dump(returned(name="valueMeta", value=meta)).encode())

    def post(self, request: Request, slug: str, rtype: str = "", fhir_id: str = "") -> Response:
        return self.get(request, slug, rtype, fhir_id)


class MetaChangeView(WritingView):
    """POST [base]/[type]/[id]/$meta-add and $meta-delete."""

    capabilities = {"POST": "fhir.write"}
    letters = {"POST": "u"}
    is_deletion = False

    def post(self, request: Request, slug: str, rtype: str, fhir_id: str) -> Response:
        writable_check(rtype)
        if not ID.fullmatch(fhir_id):
            raise FhirError(404)
        meta = parameter_one(parameters_read(tree_read(request)), "meta")
        meta_check(meta)
        version = if_match(request)

        def change() -> Any:
            changed = meta_change(
                rtype=rtype, fhir_id=fhir_id, meta=meta, is_deletion=self.is_deletion, version=version
            )
            audit_record(actor=self.actor, action="fhir.meta", object_type=rtype, object_id=fhir_id)
            return changed

        return Response(json_dump(returned(name="valueMeta", value=self.settled(change))).encode())


def meta_check(meta: Any) -> None:
    """Raise InvalidResourceError for what is no Meta, as a part of the smallest resource that has one."""
    if not isinstance(meta, dict):
        raise FhirError(400, "meta must be one Meta.", code="required")
    problems = resource_validate(resource={"resourceType": "Basic", "meta": meta, "code": {"text": "meta"}})
    if errors := tuple(issue for issue in problems if issue.is_error):
        raise InvalidResourceError(errors[0].diagnostics, issues=errors)


def found(rtype: str, fhir_id: str) -> Document:
    """The current version. Raises FhirError 404, ResourceGoneError."""
    type_check(rtype)
    document = resource_read(rtype=rtype, fhir_id=fhir_id) if ID.fullmatch(fhir_id) else None
    if document is None:
        raise FhirError(404)
    return document
