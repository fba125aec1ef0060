"""PATCH in both of its forms (FHIR R4 3.1.0.6): a list is a JSON Patch, Parameters are a FHIRPath Patch."""

import copy
from collections.abc import Callable
from typing import Any

from fhirapi.jsontext import DEPTH_MAX, is_deeper
from fhirapi.outcomes import FhirError
from fhirapi.patch.fhirpath import fhirpath_patch_apply
from fhirapi.patch.jsonpatch import PatchError, json_patch_apply

OPERATIONS_MAX = 1000
Resource = dict[str, Any]


def patch_make(*, tree: Any) -> Callable[[Resource], Resource]:
    """What the patch does to a resource, as a function that raises FhirError 422 where it cannot be done."""
    if isinstance(tree, list):
        operations: Any = tree
        apply: Callable[[Any, dict[str, Any]], Any] = json_patch_apply
    elif isinstance(tree, dict) and tree.get("resourceType") == "Parameters":
        operations, apply = tree.get("parameter", []), fhirpath_patch_apply
    else:
        raise FhirError(400, "A patch is a list of JSON Patch operations, or FHIR Parameters.", code="structure")
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise FhirError(400, "The operations of the patch are no list of objects.", code="structure")
    if len(operations) > OPERATIONS_MAX:
        raise FhirError(413, f"A patch has at most {OPERATIONS_MAX} operations.")

    def patch(resource: Resource) -> Resource:
        found: Any = copy.deepcopy(resource)
        for position, operation in enumerate(operations):
            try:
                found = apply(found, operation)
            except PatchError as error:
                raise FhirError(error.status, f"Operation {position} of the patch: {error.user_message}") from None
        if not isinstance(found, dict) or is_deeper(found, DEPTH_MAX):
            raise FhirError(422, f"The patch leaves no resource, or one nested deeper than {DEPTH_MAX} levels.")
        return found

    return patch
