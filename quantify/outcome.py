"""The JSON of a job's findings in each state; written by the worker and the runner, completed by the job store."""

import base64
import hashlib
import zlib
from typing import Any

from quantify.findings import Analysis, InputRecord, Mask, Measurement, Remark

MAX_MASK_BYTES = 16 * 1024**2  # packed and deflated; lungs take a hundredth of it


def pending(instances: int, *, is_started: bool) -> dict[str, Any]:
    """A job that has not ended: nobody has read its input yet."""
    return _findings("running" if is_started else "queued", InputRecord(None, None, instances))


def failure(instances: int, code: str, text: str) -> dict[str, Any]:
    """A failed job: nothing is said about the images."""
    return _findings("failed", InputRecord(None, None, instances)) | {"error": {"code": code, "text": text}}


def finding(analysis: Analysis, *, is_masked: bool = False) -> dict[str, Any]:
    """What an algorithm found, or why it refused; with the mask of what it measured when that was asked for."""
    findings = _findings("not_analysable" if analysis.reason else "done", analysis.input)
    findings["measurements"] = [_measurement(measurement) for measurement in analysis.measurements]
    findings["notes"] = [vars(note) for note in analysis.notes]
    if is_masked and analysis.mask:
        mask = _mask(analysis.mask)
        if mask is None:
            findings["notes"].append(vars(Remark("no_mask", "the mask is larger than an outcome may be")))
        else:
            findings["mask"] = mask
    return findings | ({"reason": vars(analysis.reason)} if analysis.reason else {})


def _findings(status: str, record: InputRecord) -> dict[str, Any]:
    given = {**vars(record), "sop_uids": list(record.sop_uids)}
    return {"status": status, "input": given, "measurements": [], "notes": []}


def _mask(mask: Mask) -> dict[str, Any] | None:
    bits = mask.bits()
    packed = zlib.compress(bits, 6)
    if len(packed) > MAX_MASK_BYTES:
        return None
    return {
        "label": mask.label,
        "site": vars(mask.site),
        "sop_uids": list(mask.sop_uids),
        "rows": mask.rows,
        "columns": mask.columns,
        "sha256": hashlib.sha256(bits).hexdigest(),
        "bits": base64.b64encode(packed).decode("ascii"),
    }


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
