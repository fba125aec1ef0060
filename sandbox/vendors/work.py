"""A performer's work: wait until a study is there, compute, put the result where it belongs. Used by the performer and MONAI doubles."""

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from sandbox.vendors.archive import RESULTS, Archive, Held
from sandbox.vendors.computing import Outcome
from sandbox.vendors.proofs import hub_signature
from sandbox.vendors.results import changed, renamed, sr_bytes
from sandbox.vendors.world import World

QUIET_SECONDS = 0.2


class Waiting:
    """A study counts as there when nothing more came for a moment; then `done(study)` runs, once for each pause."""

    def __init__(self, world: World, done: Callable[[str], None]) -> None:
        self._world, self._done = world, done
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def arrived(self, study: str) -> None:
        self._world.times[study] = [time.time()]
        with self._lock:
            is_new = study not in self._last
            self._last[study] = time.monotonic()
        if is_new:
            self._world.pool.submit(self._wait, study)

    def _wait(self, study: str) -> None:
        while True:
            with self._lock:
                left = self._last[study] + QUIET_SECONDS - time.monotonic()
                if left <= 0:
                    del self._last[study]
                    break
            time.sleep(left)
        self._done(study)


def images_of(archive: Archive, study: str, series: str = "") -> list[Held]:
    """The images of the largest series, or of this one."""
    held = [item for item in archive.of(study) if item.modality not in RESULTS and series in {"", item.series}]
    sizes = {item.series: sum(one.series == item.series for one in held) for item in held}
    largest = max(sizes, key=lambda uid: (sizes[uid], uid), default="")
    return [item for item in held if item.series == largest]


def computed(world: World, images: list[Held]) -> Outcome:
    return world.quantify.compute([item.content for item in images], images[0].modality)


def answer_sr(world: World, outcome: Outcome, images: list[Held]) -> list[bytes]:
    """The SR to hand back; a mishap may leave it out, or put one of other numbers behind it."""
    study = images[0].study
    if world.faults.take("silent", study):
        return []
    made = [sr_bytes(outcome, images)]
    if world.faults.take("changed", study):
        made.append(sr_bytes(changed(outcome), images))
    return made


def handed(world: World, contents: list[bytes], study: str) -> list[bytes]:
    """The objects as the hospital gets them; a mishap may put them under another study, or cut them."""
    if fault := world.faults.take("foreign", study):
        contents = [renamed(content, fault.uid) for content in contents]
    if fault := world.faults.take("truncated", study):
        contents = [content[: int(len(content) * fault.share)] for content in contents]
    return contents


def study_pull(world: World, archive: Archive, *, base: str, token: str, study: str, series: str = "") -> None:
    """WADO-RS from the hub with the token that came with the task."""
    inner = f"/series/{series}" if series else ""
    headers = {**_bearer(token), "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    with httpx.Client(verify=world_context(world), timeout=30, trust_env=False) as client:
        answer = client.get(f"{base}/studies/{study}{inner}", headers=headers).raise_for_status()
    boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"').partition(";")[0]
    for part in answer.content.split(f"--{boundary}".encode())[1:-1]:
        archive.put(part.partition(b"\r\n\r\n")[2][:-2])


def objects_push(world: World, contents: list[bytes], *, base: str, token: str) -> None:
    """STOW-RS back to the hub."""
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(head + content + b"\r\n" for content in contents) + b"--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    headers = {**_bearer(token), "Content-Type": kind, "Accept": "application/dicom+json"}
    with httpx.Client(verify=world_context(world), timeout=30, trust_env=False) as client:
        client.post(f"{base}/studies", content=body, headers=headers).raise_for_status()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def hook_post(world: World, url: str, answer: Mapping[str, Any]) -> None:
    """The signed webhook of the performer profile; a mishap may send it twice, as a performer that missed our 2xx does."""
    answers = [dict(answer)] * (2 if world.faults.take("twice") else 1)
    if world.faults.take("changed"):
        answers.append({**answer, "findings": [{**one, "value": one["value"] + 1} for one in answer["findings"]]})
    with httpx.Client(verify=world_context(world), timeout=30, trust_env=False) as client:
        for one in answers:
            body = httpx.Request("POST", url, json=one).content
            mark = hub_signature(world.credentials.hub_secret, body, time.time())
            client.post(url, content=body, headers={"Content-Type": "application/json", "X-Hub-Signature": mark}).raise_for_status()


def hook_ping(world: World, url: str) -> None:
    """The news of a subscription, without content. A subscriber that is gone is not tried again."""
    with contextlib.suppress(httpx.HTTPError), httpx.Client(verify=world_context(world), timeout=5, trust_env=False) as client:
        client.post(url)


def world_context(world: World) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=world.ca_file)

