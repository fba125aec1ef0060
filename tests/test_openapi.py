"""The published OpenAPI against what is really there: schemathesis sends what the schema allows, and what it does not."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from medhub.wsgi import application
from tenants.services import token_create
from tests.conftest import Hospital

pytestmark = [pytest.mark.openapi, pytest.mark.xdist_group("openapi")]
QUICKLY = settings(
    max_examples=int(os.environ.get("MEDHUB_OPENAPI_EXAMPLES", "2")), deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def api(mercy: Hospital) -> Any:
    """The document of one hospital, as an administrator's program gets it."""
    token = token_create(tenant=mercy.tenant, name="fuzz", role="admin")
    auth = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_wsgi(f"/t/{mercy.slug}/api/v1/schema?format=json", application, headers=auth)
    schema.auth_headers, schema.slug = auth, mercy.slug
    return schema


@schemathesis.serializer("application/dicom")
def dicom_bytes(context: Any, value: Any) -> Any:
    return value


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@QUICKLY
def test_the_api_is_what_its_document_says(api: Any, case: Any) -> None:
    """ "schemathesis over the published OpenAPI": no answer that is not documented, none of the server's own failing."""
    case.path_parameters["slug"] = api.slug
    case.call_and_validate(headers=api.auth_headers, checks=CHECKS)
