"""A vendor that follows the Hub Performer Profile, at /performer: DICOMweb in, tasks, results in its store, as FHIR, as a signed hook."""

import time
from collections.abc import Callable
from typing import Any

from sandbox.http import Refusal, Reply, Request, Router, json_reply
from sandbox.vendors.archive import Archive
from sandbox.vendors.computing import Outcome
from sandbox.vendors.families.dimse import dimse_start
from sandbox.vendors.fhirstore import FhirStore
from sandbox.vendors.proofs import hub_check, key_check
from sandbox.vendors.results import fhir_resources, hook_json
from sandbox.vendors.work import Waiting, answer_sr, computed, handed, hook_ping, hook_post, images_of, study_pull
from sandbox.vendors.world import World

NEEDED = ("job_id", "algorithm", "study_uid")
FAILED = {"status": "failed"}


class Performer:
    """`pushes` are told of the objects of each answer (the DIMSE node, which sends them to the hospital's return AE)."""

    def __init__(self, router: Router, world: World) -> None:
        self.world = world
        self._waiting = Waiting(world, self._study_done)
        self.archive = Archive(arrived=self._waiting.arrived)
        self._fhir = FhirStore(arrived=self._recorded)
        self._outcomes: dict[str, Outcome] = {}
        self.pushes: list[Callable[[str, list[bytes]], None]] = []
        self._jobs: dict[str, dict[str, Any] | None] = {}
        key = world.credentials.performer_key
        self.archive.mount(router, "/performer/dicomweb", lambda request: key_check(request, key))
        # A store that nobody watches: the hospital's own, from which tasks fetch and to which results are stored.
        Archive().mount(router, "/performer/store", lambda request: key_check(request, key))
        self._fhir.mount(router, "/performer/fhir", lambda request: key_check(request, key))
        router.add("POST", "/performer/tasks", self._task)
        router.add("GET", r"/performer/tasks/(?P<job>[A-Za-z0-9._:-]{1,128})", self._state)
        router.add("DELETE", r"/performer/tasks/(?P<job>[A-Za-z0-9._:-]{1,128})", self._forget)
        router.add("GET", "/performer/healthz", lambda _: json_reply({"status": "ok"}))

    def arrived(self, study: str) -> None:
        """More of this study came by another way than STOW-RS."""
        self._waiting.arrived(study)

    def _task(self, request: Request) -> Reply:
        key_check(request, self.world.credentials.performer_key)
        hub_check(request, self.world.credentials.hub_secret)
        task = request.json
        if not isinstance(task, dict) or not all(isinstance(task.get(name), str) and task[name] for name in NEEDED):
            raise Refusal(422, "the task lacks " + ", ".join(NEEDED))
        if (known := self._jobs.get(task["job_id"], FAILED)) is not None and known["status"] == "failed":  # what failed is tried anew
            self._jobs[task["job_id"]] = None
            self.world.pool.submit(self._perform, task)
        return json_reply({"job_id": task["job_id"], "status": "queued"}, 202)

    def _state(self, request: Request, job: str) -> Reply:
        key_check(request, self.world.credentials.performer_key)
        if job not in self._jobs:
            raise Refusal(404, "no such job")
        answer = self._jobs[job]
        return json_reply(answer or {"job_id": job, "status": "running"})

    def _forget(self, request: Request, job: str) -> Reply:
        key_check(request, self.world.credentials.performer_key)
        self._jobs.pop(job, None)
        return Reply(204)

    def _perform(self, task: dict[str, Any]) -> None:
        study, series = task["study_uid"], str(task.get("series_uid", ""))
        try:
            if not images_of(self.archive, study, series):
                study_pull(
                    self.world, self.archive, base=task["pull_url"], token=task["pull_token"], study=study, series=series
                )
            images = images_of(self.archive, study, series)
            outcome = computed(self.world, images)
            answer = hook_json(task["job_id"], outcome, images)
            if fault := self.world.faults.take("foreign", study):
                answer["findings"] = [{**one, "sop_refs": [fault.uid or "2.25.999"]} for one in answer["findings"]]
            if fault := self.world.faults.take("misjob", study):
                answer["job_id"] = fault.uid
        except Exception:  # noqa: BLE001 a performer that fails says so
            answer = {"job_id": task["job_id"], "status": "failed", "findings": [], "model": {"name": "double", "version": "1"}}
        self._jobs[task["job_id"]] = answer
        if task.get("hook_url"):
            hook_post(self.world, task["hook_url"], answer)

    def _study_done(self, study: str) -> None:
        images = images_of(self.archive, study)
        if images:
            outcome = computed(self.world, images)
            self._keep(outcome, study)

    def _keep(self, outcome: Outcome, study: str) -> None:
        images = images_of(self.archive, study)
        self._outcomes[study] = outcome
        self._report(study)
        contents = answer_sr(self.world, outcome, images)
        given = handed(self.world, contents, study)
        self.archive.results_put(study, contents, given)
        self.world.times[study] = [*self.world.times.get(study, ())[:1], time.time()]
        for push in self.pushes:
            push(study, given)

    def _report(self, study: str) -> None:
        """As FHIR, once both the outcome and the hub's record of the study are there, whichever comes last."""
        record, outcome = self._fhir.named("ImagingStudy", f"urn:oid:{study}"), self._outcomes.get(study)
        if record is None or outcome is None:
            return
        patient = record["subject"]["reference"].partition("/")[2]
        for resource in fhir_resources(outcome, images_of(self.archive, study), patient, record["id"]):
            self._fhir.put(resource)
        self._tell()

    def _recorded(self, resource: dict[str, Any]) -> None:
        if resource["resourceType"] == "ImagingStudy":
            self._report(str(resource["identifier"][0]["value"]).removeprefix("urn:oid:"))

    def _tell(self) -> None:
        """Call whoever subscribed (R4 Subscription, rest-hook), without content."""
        for one in self._fhir.of("Subscription"):
            hook_ping(self.world, one["channel"]["endpoint"])



def mount(router: Router, world: World) -> None:
    dimse_start(world, Performer(router, world))
