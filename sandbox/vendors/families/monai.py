"""MONAI Deploy's Informatics Gateway at /monai: STOW with a workflow, /inference with its status."""

import threading
from typing import Any

from sandbox.http import Refusal, Reply, Request, Router, json_reply
from sandbox.vendors.archive import Archive
from sandbox.vendors.work import Waiting, answer_sr, computed, handed, images_of, objects_push, study_pull
from sandbox.vendors.world import World


class Gateway:
    """RFC 7807 errors, 409 for a transactionID that is known, a state that moves from Queued to Completed."""

    def __init__(self, router: Router, world: World) -> None:
        self._world = world
        self._waiting = Waiting(world, self._study_done)
        self.archive = Archive(arrived=self._waiting.arrived)
        self._states: dict[str, str] = {}
        self._lock = threading.Lock()
        self.archive.mount(router, "/monai/dicomweb(?:/w1)?", lambda _: None)
        router.add("POST", "/monai/inference", self._inference)
        router.add("GET", r"/monai/inference/status/(?P<job>[A-Za-z0-9._:-]{1,128})", self._status)
        router.add("GET", "/monai/health/ready", lambda _: json_reply({"status": "Healthy"}))

    def _inference(self, request: Request) -> Reply:
        body = request.json
        job, study, source, target = _read(body)
        with self._lock:
            if job in self._states:
                return _problem(409, "transactionID was used before")
            self._states[job] = "Queued"
        self._world.pool.submit(self._perform, job, study, source, target)
        return json_reply({"transactionId": job})

    def _status(self, _: Request, job: str) -> Reply:
        if job not in self._states:
            return _problem(404, "no such transaction")
        state = self._states[job]
        success = {"Completed": "Success", "Failed": "Fail"}.get(state, "Unknown")
        return json_reply({"transactionId": job, "state": state, "status": success})

    def _perform(self, job: str, study: str, source: dict[str, Any], target: dict[str, Any]) -> None:
        self._states[job] = "InProcess"
        try:
            study_pull(self._world, self.archive, base=source["uri"], token=source.get("authID", ""), study=study)
            images = images_of(self.archive, study)
            contents = answer_sr(self._world, computed(self._world, images), images)
            if contents:
                given = handed(self._world, contents, study)
                objects_push(self._world, given, base=target["uri"], token=target.get("authID", ""))
            self._states[job] = "Completed"
        except Exception:  # noqa: BLE001 the status tells
            self._states[job] = "Failed"

    def _study_done(self, study: str) -> None:
        images = images_of(self.archive, study)
        if images:
            contents = answer_sr(self._world, computed(self._world, images), images)
            self.archive.results_put(study, contents, handed(self._world, contents, study))


def _read(body: Any) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Job, study, where from, where to; a Refusal of 422 where the request lacks one."""
    try:
        details = body["inputMetadata"]["details"]
        study = details["studies"][0]["StudyInstanceUID"]
        web = [one["connectionDetails"] for one in body["inputResources"] if one["interface"] == "DICOMweb"]
        named = [one for one in body["inputResources"] if one["interface"] == "Algorithm"]
        out = [one["connectionDetails"] for one in body["outputResources"] if one["interface"] == "DICOMweb"]
        if details["type"] != "DICOM_UID" or not named or not 0 <= body.get("priority", 128) <= 255:
            raise Refusal(422, "not a request for inference")
        return body["transactionID"], study, web[0], out[0]
    except (KeyError, IndexError, TypeError) as error:
        raise Refusal(422, "not a request for inference") from error


def _problem(status: int, title: str) -> Reply:
    return json_reply({"title": title, "status": status}, status, "application/problem+json")


def mount(router: Router, world: World) -> None:
    Gateway(router, world)
