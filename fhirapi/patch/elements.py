"""Which members an element has, and which of them repeat: what a patch must know to build what is not there yet.

Asked of the R4B models, whose elements are R4's for the types that are held (research/fhir.md section 3).
"""

from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

from fhir.resources.R4B import get_fhir_model_class


@cache
def members(name: str) -> dict[str, tuple[bool, str, str]]:
    """JSON name -> (repeats, type of its own members or "", name of the choice it belongs to or "")."""
    try:
        fields = get_fhir_model_class(name).model_fields
    except ValueError:
        return {}
    return {
        str(field.alias or key): (*_shape(field.annotation), _choice(field.json_schema_extra)) for key, field in fields.items()
    }


def _choice(extra: Any) -> str:
    return str(extra.get("one_of_many", "")) if isinstance(extra, dict) else ""


def _shape(annotation: Any) -> tuple[bool, str]:
    is_list = get_origin(annotation) is list
    name = getattr(annotation, "__name__", "")
    if not get_args(annotation):
        # The annotation of a complex element is a placeholder class called <Type>Type.
        return is_list, name.removesuffix("Type") if name.endswith("Type") and annotation is not NoneType else ""
    shapes = [_shape(argument) for argument in get_args(annotation)]
    return is_list or any(repeats for repeats, _ in shapes), next((kind for _, kind in shapes if kind), "")
