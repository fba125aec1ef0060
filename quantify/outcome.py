"""The JSON of a job's findings in each state; written by the worker and the runner, completed by the job store."""

from typing import Any

from quantify.findings import Analysis, InputRecord, Measurement


def pending(instances: int, *, is_started: bool) -> dict[str, Any]:
    """A job that has not ended: nobody has read its input yet."""
    return _findings("running" if is_started else "queued", InputRecord(None, None, instances))


def failure(instances: int, code: str, text: str) -> dict[str, Any]:
    """A failed job: nothing is said about the images."""
    return _findings("failed", InputRecord(None, None, instances)) | {"error": {"code": code, "text": text}}


def finding(analysis: Analysis) -> dict[str, Any]:
    """What an algorithm found, or why it refused."""
    findings = _findings("not_analysable" if analysis.reason else "done", analysis.input)
    findings["measurements"] = [_measurement(measurement) for measurement in analysis.measurements]
    findings["notes"] = [vars(note) for note in analysis.notes]
    return findings | ({"reason": vars(analysis.reason)} if analysis.reason else {})


def _findings(status: str, record: InputRecord) -> dict[str, Any]:
    given = {**vars(record), "sop_uids": list(record.sop_uids)}
    return {"status": status, "input": given, "measurements": [], "notes": []}


def _measurement(measurement: Measurement) -> dict[str, Any]:
    return {
        "code": vars(measurement.code),
        "value": measurement.value,
        "unit": measurement.unit.code,
        "unit_display": measurement.unit.display,
        "body_site": vars(measurement.body_site),
        "method": measurement.method,
        "parameters": [
            {"code": vars(parameter.code), "value": parameter.value, "unit": parameter.unit.code}
            for parameter in measurement.parameters
        ],
    }
