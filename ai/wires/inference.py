"""Wire family "async inference", MONAI Deploy's Informatics Gateway: POST /inference (after ACR DSI), its status, results by DICOMweb."""

from collections.abc import Mapping
from typing import Any

import orjson

from ai.contract import Handle, Http, PlatformError
from ai.wires.replies import object_read, page_refuse, status_check

NORMAL, IMMEDIATE = 128, 255
ENDED = {"success": True, "completed": True, "fail": False, "failed": False, "faulted": False}


def request_of(handle: Handle, *, workflow: str, results_url: str, results_token: str) -> dict[str, Any]:
    """The body: pull this one study from us with this one token, run `workflow`, store the results there."""
    pull = {"operations": ["QIDO", "WADO"], "uri": handle.pull_url, "authID": handle.pull_token, "authType": "Bearer"}
    put = {"operations": ["STOW"], "uri": results_url, "authID": results_token, "authType": "Bearer" if results_token else "None"}
    study = {"StudyInstanceUID": handle.study_uid, "series": [{"SeriesInstanceUID": handle.series_uid}]}
    return {
        "transactionID": handle.idempotency_key,
        "priority": IMMEDIATE if handle.is_stat else NORMAL,
        "inputMetadata": {"details": {"type": "DICOM_UID", "studies": [study]}},
        "inputResources": [
            {"interface": "DICOMweb", "connectionDetails": pull},
            {"interface": "Algorithm", "connectionDetails": {"name": workflow, "id": workflow}},
        ],
        "outputResources": [{"interface": "DICOMweb", "connectionDetails": put}],
    }


def inference_ask(handle: Handle, *, base_url: str, http: Http, workflow: str, results_url: str, results_token: str) -> str:
    """POST it; a transactionID that is known already (409) is our own, sent before. Returns it. Raises PlatformError."""
    if not handle.pull_url:
        raise PlatformError("this job has no address to fetch its images from", is_permanent=True)
    body = orjson.dumps(request_of(handle, workflow=workflow, results_url=results_url, results_token=results_token))
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    status, _, answer = http.request("POST", f"{base_url}/inference", headers=headers, content=body)
    if status != 409:
        status_check(status, what="the job")
        page_refuse(answer)
    return handle.idempotency_key


def inference_ended(remote_id: str, *, base_url: str, http: Http) -> bool:
    """Whether it is done. Raises PlatformError when it failed there, or is unknown there."""
    status, _, body = http.request("GET", f"{base_url}/inference/status/{remote_id}", headers={"Accept": "application/json"})
    status_check(status, what="the question for the job")
    answer = object_read(body)
    words = [str(answer.get(name, "")).lower() for name in ("status", "state")]
    found = [ENDED[word] for word in words if word in ENDED]
    if False in found:
        raise PlatformError("the computation failed", is_permanent=True)
    return bool(found)


def gateway_check(*, base_url: str, http: Http) -> str:
    """The gateway's own health page. Raises PlatformError."""
    status, _, _ = http.request("GET", f"{base_url}/health/ready", headers={"Accept": "application/json"})
    status_check(status, what="the question for its health")
    return "the gateway is up"


def settings_results(handle: Handle, settings: Mapping[str, str]) -> tuple[str, str]:
    """Where results go: the store that the connection names, else back to us with the job's own token."""
    named = settings.get("results_url", "")
    return (named, settings.get("results_token", "")) if named else (handle.pull_url, handle.pull_token)
