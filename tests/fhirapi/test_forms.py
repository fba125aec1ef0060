"""What the models are not asked twice: resources of one form."""

import json
import random
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirapi.validation import InvalidResourceError, _walk, models, resource_check
from fhirapi.validation.forms import MOMENT, PLAIN, form_of
from fhirapi.validation.primitives import CHECKS
from fhirapi.validation.walk import Walk
from tests.fhirapi.official import official_examples

TEXTS = sorted(name for name, (types, _) in CHECKS.items() if types == (str,) and name != "xhtml")


def value_name(kind: str) -> str:
    return f"value{kind[0].upper()}{kind[1:]}"


def with_value(kind: str, value: Any) -> dict[str, Any]:
    extension = {"url": "urn:test:one", value_name(kind): value}
    return {"resourceType": "Patient", "id": "p1", "extension": [extension]}


def is_accepted_by_model(resource: dict[str, Any]) -> bool:
    models._accepted.clear()
    return models.model_issues(resource, types={"Patient"}, has_model_fault=False) == []


moments = st.from_regex(MOMENT, fullmatch=True)
plain = st.from_regex(PLAIN, fullmatch=True) | st.sampled_from([word + "=" * n for word in ("QUJD", "QUI", "Q0") for n in range(3)])


@pytest.mark.parametrize("kind", TEXTS)
@settings(max_examples=150)
@given(value=moments | plain)
def test_models_accept_each_text_that_the_walk_accepts(kind: str, value: str) -> None:
    """Texts that a form does not hold are of no interest to the models: whatever the walk takes of them, they take."""
    resource = with_value(kind, value)
    if not _walk(resource, Walk()).issues and form_of(resource) is not None:
        assert is_accepted_by_model(resource), (kind, value)


@settings(max_examples=200)
@given(kind=st.sampled_from(["decimal", "integer", "unsignedInt", "positiveInt"]), value=st.integers() | st.floats())
def test_models_accept_each_number_that_the_walk_accepts(kind: str, value: float) -> None:
    resource = with_value(kind, value)
    if not _walk(resource, Walk()).issues:
        assert is_accepted_by_model(resource), (kind, value)


def test_forms_of_official_examples() -> None:
    """A form says the same as the model: each official example, and each with a member taken out, renamed or of another type."""
    chance = random.Random(7)
    seen: dict[Any, bool] = {}
    for name, text in sorted(official_examples().items())[::4]:
        whole = json.loads(text)
        for resource in (whole, *(_bent(whole, chance) for _ in range(6))):
            walk = _walk(resource, Walk())
            if walk.issues or walk.types & models.CHANGED or walk.is_beyond_models:
                continue
            form = form_of(resource)
            models._accepted.clear()
            verdict = models.model_issues(resource, types=walk.types, has_model_fault=walk.has_model_fault) == []
            assert form is None or seen.setdefault(form, verdict) == verdict, name


def _bent(resource: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    bent: dict[str, Any] = json.loads(json.dumps(resource))
    key = chance.choice(sorted(bent.keys() - {"resourceType", "id"}) or ["id"])
    if isinstance(bent.get(key), str):
        bent[key] = "".join(chance.choices(string.ascii_letters, k=5))
    else:
        bent.pop(key, None)
    return bent


def test_what_a_form_keeps() -> None:
    """Types of resources, members and their order, JSON types, how much of a date is there, texts that are not plain."""
    one = {"resourceType": "Patient", "id": "a", "birthDate": "2001-02-03", "active": True, "name": [{"family": "One"}]}
    assert form_of(one) == form_of(one | {"id": "b-2", "birthDate": "1999-12-31", "active": False, "name": [{"family": "Other"}]})
    for other in ({"birthDate": "2001-02"}, {"active": 1}, {"name": [{"text": "One"}]}, {"name": ["One"]}, {"resourceType": "Group"},
                  {"name": [{"family": "Ö"}]}, {"name": [{"family": "One"}, {"family": "Two"}]}, {"id": None}):  # fmt: skip
        assert form_of(one | other) != form_of(one)
    assert form_of(one | {"name": [{"family": "Ö" * 65}]}) is None
    assert form_of(one | {"name": [{"family": "One"}] * 500}) is None


def test_a_known_form_does_not_excuse_a_wrong_value() -> None:
    """The walk looks at every value, whatever is known of its form."""
    good = with_value("date", "2024-02-29")
    resource_check(resource=good)
    bad = with_value("date", "2023-02-29")
    assert form_of(bad) == form_of(good)
    assert form_of(good) in models._accepted
    with pytest.raises(InvalidResourceError):
        resource_check(resource=bad)
