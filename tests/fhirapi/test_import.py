"""`manage.py fhir_import`: NDJSON, validated, in parallel, repeatable."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from bench.fhir_make import resources_make
from fhirapi.writing.imports import lines_import
from journal.models import AuditEvent
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer

pytestmark = pytest.mark.database


def resources(patients: range) -> list[dict[str, Any]]:
    return [one for one in resources_make(patients=patients) if one["resourceType"] != "ImagingStudy"]


def file_of(folder: Path, lines: list[str], name: str = "all.ndjson") -> str:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def run(hospital: Hospital, *files: str, **options: Any) -> tuple[str, str]:
    """(what it said, what was wrong)."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("fhir_import", *files, hospital=hospital.slug, stdout=out, stderr=err, **options)
    except CommandError as error:
        return out.getvalue(), err.getvalue() + str(error)
    return out.getvalue(), err.getvalue()


def count(hospital: Hospital) -> int:
    with hospital.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM fhir_resource WHERE tenant_id = %s", [hospital.tenant.id])
        return int(cursor.fetchone()[0])


def test_thousands_of_lines_and_again(mercy: Hospital, olaf: Hospital, tmp_path) -> None:
    """ "`manage.py fhir_import --hospital <slug>` (NDJSON, validated)": numbers as written, found by search; a second run: no change."""
    made = resources(range(70))
    lines = [json.dumps(one) for one in made]
    lines[0] = lines[0].replace('"active": true', '"active": true, "multipleBirthInteger": 2')
    exact = '{"resourceType":"Observation","id":"exact","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00}}'
    path = file_of(tmp_path, [*lines, "", exact])
    said, wrong = run(mercy, path)
    assert (wrong, count(mercy), count(olaf)) == ("", len(made) + 1, 0)
    assert f"{len(made) + 1} of them new or changed" in said
    fhir = Writer(mercy)
    assert '"value":1.00' in fhir.get("Observation/exact").content.decode()
    assert fhir.get("Observation?patient=p3&_summary=count").json()["total"] == 12
    assert ", 0 of them new or changed" in run(mercy, path)[0]
    with mercy.scope():
        told = AuditEvent.objects.filter(action="fhir.import", actor="system:fhir_import")
        people = {("Patient", one["id"]) for one in made if one["resourceType"] == "Patient"}
        assert set(told.values_list("object_type", "object_id")) == people | {("Observation", "exact")}


def test_bad_lines_are_named_without_their_values(mercy: Hospital, tmp_path) -> None:
    """ "an OperationOutcome that names the expression for each problem", and no value in what is said."""
    good = [json.dumps(one) for one in resources(range(2))]
    bad = [
        '{"resourceType":"Observation","id":"a","status":"Smith","code":{"text":"x"}}', '{"resourceType":"Patient","gender":"male"}',
        "not json Smith", '{"resourceType":"ImagingStudy","id":"i"}', '{"resourceType":"Smith","id":"i"}', "[1]",
    ]  # fmt: skip
    path = file_of(tmp_path, [*good, *bad])
    _, wrong = run(mercy, path)
    assert f"{len(bad)} lines were refused: nothing was kept" in wrong or "lines were refused: nothing was kept" in wrong
    assert count(mercy) == 0
    _, wrong = run(mercy, path, keep_going=True)
    assert f"line {len(good) + 1}: Observation.status:" in wrong
    for number in range(len(good) + 1, len(good) + len(bad) + 1):
        assert f"line {number}: " in wrong
    assert "Smith" not in wrong
    assert f"{len(bad)} lines were refused: all other lines were written" in wrong
    assert count(mercy) == len(good)


def test_what_the_hub_wrote_and_what_comes_twice(mercy: Hospital, tmp_path) -> None:
    """Lines are written in their order; a resource that is there twice has its last line."""
    lines = [
        (n, json.dumps({"resourceType": "Patient", "id": "twice", "birthDate": f"19{n}0"}).encode()) for n in range(5, 8)
    ]
    done = lines_import(tenant_id=mercy.tenant.id, lines=lines, is_going_on=False)
    assert (done.written, done.changed, done.refused) == (3, 3, ())
    found = Writer(mercy).get("Patient/twice").json()
    assert (found["birthDate"], found["meta"]["versionId"]) == ("1970", "3")


def test_no_such_hospital_and_no_such_file(mercy: Hospital, tmp_path) -> None:
    with pytest.raises(CommandError, match="no active hospital"):
        call_command("fhir_import", "-", hospital="nobody")
    assert "cannot be read" in run(mercy, str(tmp_path / "none.ndjson"))[1]
