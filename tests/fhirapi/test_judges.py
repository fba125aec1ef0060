"""What the hub emits, before judges of npm that share no code with it: @medplum/core, fhir and fhirpath.js, each asked once."""

import json
import re
import subprocess
from collections import defaultdict
from typing import Any

import pytest

from ai.findings import Note
from fhirapi.definitions.accessors import ACCESSORS
from fhirapi.projections import diagnostic_report_project, imaging_study_project
from fhirapi.xmlformat import xml_write
from tests.conftest import Hospital
from tests.fhirapi.conftest import CLIENTS, Fhir, event, report_make, study_make
from tests.fhirapi.official import official_examples
from tests.fhirapi.test_accessors import PARAMETERS, UNSEARCHABLE, engine_expression, plain
from tests.fhirapi.test_audit_events import Auditor, sealed
from tests.fhirapi.test_projections import everything

pytestmark = pytest.mark.peers


def judged(program: str, question: str, value: Any) -> Any:
    done = subprocess.run(
        [program, "judge.mjs", question], cwd=CLIENTS, input=json.dumps(value), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expressions(text: str) -> list[str]:
    return [engine_expression(one) for one in text.split(" | ")]


def bare(tree: Any) -> Any:
    """Without narratives, numbers as texts."""
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return str(tree)
    if isinstance(tree, dict):
        return {name: bare(value) for name, value in tree.items() if name != "div"}
    return [bare(item) for item in tree] if isinstance(tree, list) else tree


def difference(one: Any, other: Any, path: str = "") -> str:
    """Where two trees part first."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        return difference(one.get(names[0]), other.get(names[0]), f"{path}.{names[0]}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        place = next(place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
        return difference(one[place], other[place], path)
    return f"{path}: {str(one)[:60]} {str(other)[:60]}"


def walked(hospital: Hospital, fhir: Fhir) -> list[dict[str, Any]]:
    """All that a study with a report of each kind leaves in the store."""
    with hospital.scope():
        study = study_make(images=3, series=2)
        reports = [report_make(study, status=status) for status in ("preliminary", "final", "entered-in-error")]
        reports.append(report_make(study, measurements=(), not_analysable=Note(code="c", text="because")))
        imaging_study_project(event=event("study.completed", hospital, study_id=study.id))
        for report in reports:
            diagnostic_report_project(event=event("report.issued", hospital, report_id=report.id))
    found = everything(fhir)
    sealed(hospital)
    return found + [one["resource"] for one in Auditor(hospital).search("AuditEvent")["entry"]]


# Where fhir has no list of a code system, or R4 only recommends one (example, preferred and extensible bindings). The reason why an
# image could not be analysed is the algorithm's own code: none of R4's says it.
OPEN = {
    "ImagingStudy.identifier.type", "ImagingStudy.modality", "ImagingStudy.series.modality", "ImagingStudy.series.bodySite",
    "ImagingStudy.series.instance.sopClass", "Observation.code", "Observation.component.code", "Observation.bodySite",
    "Observation.dataAbsentReason", "Task.code", "Endpoint.payloadType", "Endpoint.payloadMimeType",
    "DiagnosticReport.presentedForm.contentType", "AuditEvent.subtype",
    "DiagnosticReport.code", "DiagnosticReport.category",
    *(f"{rtype}.meta.security" for rtype in ("Device", "DiagnosticReport", "Observation", "Provenance")),
}  # fmt: skip


def test_what_a_study_leaves_is_fhir_to_all(mercy: Hospital, fhir: Fhir, node: str) -> None:
    """ "passes @medplum/core validateResource and npm fhir, run once by node in a pass; known false alarms named"."""
    resources = walked(mercy, fhir)
    assert len({resource["resourceType"] for resource in resources}) == 10
    broken = resources[0] | {"unheard": 1}
    told = judged(node, "validate", [*resources, broken])
    assert {judge for place, judge, severity, _ in told if place == len(resources) and severity in {"error", "fatal", "warning"}} == {
        "medplum", "fhir",
    }, "a judge is asleep"  # fmt: skip
    told = [one for one in told if one[0] < len(resources)]
    assert [one for one in told if one[2] in {"error", "fatal"}] == []
    assert {re.sub(r"\[\d+\]", "", message.split()[-1]) for _, _, _, message in told} <= OPEN
    assert all("value set" in message.lower() for _, _, _, message in told)


def test_our_xml_is_read_by_another(node: str) -> None:
    """Every official example as our XML, read by fhir's own reader: the same resource. It writes narratives in its own way."""
    texts = list(official_examples().values())
    resources = [json.loads(text, parse_float=str, parse_int=str) for text in texts]
    read = judged(node, "xml", [xml_write(text).decode() for text in texts])
    wrong = {}
    for resource, found in zip(resources, read, strict=True):
        if isinstance(found, str):
            wrong[resource["id"]] = found
        elif bare(found) != bare(resource):
            wrong[resource["id"]] = difference(bare(resource), bare(found))
    assert wrong == {"decimal": "Value should be a decimal number but got: 1E-22"}, "it knows no exponents"


def test_fhirpath_finds_the_same(node: str) -> None:
    """fhirpath.js and our compiled accessors, on what each search parameter names in each example."""
    questions, expected, names = [], [], []
    for text in official_examples().values():
        resource = json.loads(text)
        rtype = resource["resourceType"]
        if rtype not in PARAMETERS or rtype == "Bundle" or resource["id"] == "decimal":  # JavaScript has no decimals
            continue
        found = defaultdict(list)
        for number, value in ACCESSORS[rtype](resource):
            found[PARAMETERS[rtype]["leaves"][number][0]].append(value)
        params = [param for param in PARAMETERS[rtype]["params"] if param["kind"] != "composite"]
        params = [param for param in params if (rtype, param["name"]) not in UNSEARCHABLE | {("ImagingStudy", "instance")}]
        questions.append([resource, [expressions(param["expression"]) for param in params]])
        expected.append([[value for key in param["keys"] for value in found[key]] for param in params])
        names.append([f"{rtype}/{resource['id']} {param['name']}" for param in params])
    answers = judged(node, "fhirpath", questions)
    wrong = [
        name
        for ours, theirs, several in zip(expected, answers, names, strict=True)
        for one, other, name in zip(ours, theirs, several, strict=True)
        if {*plain(one)} != {*plain(other)}
    ]
    assert wrong == []
    assert sum(map(len, names)) > 3000
