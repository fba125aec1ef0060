"""Log lines keep the route, never what was in the path."""

import json
import logging

import pytest

from imaging.dicomweb import wado
from medhub.logs import LineFormatter

pytestmark = pytest.mark.database


def test_a_request_that_fails_leaves_its_route(client, mercy, monkeypatch, caplog) -> None:
    """"access logs keep the route template, never path values": an error on our side names no study."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("DOE^JANE")

    monkeypatch.setattr(wado.RetrieveView, "rows", broken)
    client.raise_request_exception = False
    with caplog.at_level(logging.ERROR, logger="django.request"):
        assert client.get(f"/t/{mercy.slug}/dicomweb/studies/1.2.3.4?PatientID=77", headers=mercy.auth).status_code == 500
    lines = [json.loads(LineFormatter().format(record)) for record in caplog.records if record.name == "django.request"]
    assert [line["message"] for line in lines] == ["500 GET /t/<slug:slug>/dicomweb/studies/<str:study_uid>"]
    assert "1.2.3.4" not in json.dumps(lines)
    assert "DOE" not in json.dumps(lines)
