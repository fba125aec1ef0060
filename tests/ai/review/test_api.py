"""`reports/<id>/verdicts`: the same decisions for who automates, with the person's own session."""

import orjson
import pytest

from tests.ai.delivery.reports import issued
from tests.ai.review.reviewing import person_of
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database


def test_a_verdict_and_its_history(client, mercy, olaf) -> None:
    """"API: POST /t/<slug>/api/v1/reports/<uuid>/verdicts, GET history"; "a report of another version than the one seen is refused"."""
    first = issued(mercy)
    person_of(mercy)
    path = f"/t/{mercy.slug}/api/v1/reports/{first.uuid}/verdicts"

    def give(**values):
        return client.post(path, orjson.dumps(values), content_type="application/json")

    signed_in(client, mercy)
    wrong = give(version=1, action="reject")
    assert (wrong.status_code, wrong.json()["errors"]) == (400, {"reason": ["choose a reason"]})
    assert give(version=1, action="reject", reason="x").status_code == 400
    assert give(version=1, action="accept", colour="red").json()["errors"] == {"colour": ["unknown"]}
    made = give(version=1, action="correct", reason="wrong-value", corrections=[{"item": "measurement/0", "value": 5000}])
    assert (made.status_code, made.json()["version"], made.json()["status"]) == (201, 2, "amended")
    late = give(version=1, action="accept")
    assert (late.status_code, late.json()["detail"]) == (409, "there is a newer version: 2, amended. Look at it first")
    [item] = client.get(path).json()["items"]
    assert (item["by"], item["version"], item["made_version"], item["reason"]) == ("Jane Q Roe", 1, 2, "wrong-value")
    assert item["corrections"] == [{"item": "measurement/0", "value": 5000.0, "words": ""}]
    client.logout()
    assert client.get(path).status_code == 401
    assert client.post(path, b"{}", content_type="application/json", headers=mercy.auth).status_code == 403, "an integrator decides nothing"
    signed_in(client, olaf)
    assert client.get(path.replace(mercy.slug, olaf.slug)).status_code == 404


def test_a_key_decides_nothing(client, mercy) -> None:
    """"Whoever reviews is the person's name": the token of a radiologist's program is nobody who can answer for a report."""
    from tenants.services import token_create

    first = issued(mercy)
    auth = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='x', role='radiologist')}"}
    body = orjson.dumps({"version": 1, "action": "accept"})
    path = f"/t/{mercy.slug}/api/v1/reports/{first.uuid}/verdicts"
    refused = client.post(path, body, content_type="application/json", headers=auth)
    assert (refused.status_code, refused.json()["detail"]) == (409, "a verdict is a person's: sign in as the one who decides")
    assert client.get(path, headers=auth).json() == {"items": []}
