"""One OperationOutcome for all problems of a resource, each with its place."""

import json
from dataclasses import replace

import pytest

from fhirapi.outcomes import outcome_response
from fhirapi.validation import InvalidResourceError, Issue, resource_check, resource_validate

UNREAD = Issue(severity="fatal", code="structure", diagnostics="The body is no JSON")


def test_each_problem_is_an_issue_with_its_expression() -> None:
    """ "OperationOutcome with many issues with `expression`"."""
    with pytest.raises(InvalidResourceError) as error:
        resource_check(resource={"resourceType": "Patient", "id": "p", "gender": "Zzyzx", "name": [{"family": 1}]})
    response = outcome_response(error.value, {})
    outcome = json.loads(response.data)
    assert response.status_code == 422
    assert [(issue["severity"], issue["code"], issue["expression"]) for issue in outcome["issue"]] == [
        ("error", "code-invalid", ["Patient.gender"]),
        ("error", "structure", ["Patient.name[0].family"]),
    ]
    assert "Zzyzx" not in response.data.decode()
    assert [issue.code for issue in resource_validate(resource=outcome)] == ["invariant"]  # dom-6 alone


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidResourceError("Patient is not valid"), 422),
        (InvalidResourceError("x", issues=(UNREAD,), is_unreadable=True), 400),
        (InvalidResourceError("x", issues=(replace(UNREAD, code="too-long"),), is_unreadable=True), 413),
    ],
)
def test_the_status_follows_the_problem(error: InvalidResourceError, status: int) -> None:
    """ "422 for invalid by rules, 400 for what is no FHIR JSON at all"."""
    assert outcome_response(error, {}).status_code == status
