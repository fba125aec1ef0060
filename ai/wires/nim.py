"""Wire family "async inference", NVIDIA's VISTA-3D NIM: one POST that takes minutes, an image by address, a zip with a label map.

The NIM knows no job: it answers in the request. So the request runs beside the worker (`ai.contract.Room`), `poll` looks whether it has
ended, and a worker's death only means that it is asked again, with an address of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ai.contract import Handle, Http, Mask, Payload, PlatformError, Room, Sent, Volume, Ways
from ai.findings import Algorithm, Answer, Coding, Measurement, Note, Region
from ai.reading.part10 import hostile, refusal
from ai.volume.archive import is_zip, label_map_take
from ai.volume.nifti import labels_most, labels_read
from ai.wires.answers import UNSTATED
from ai.wires.replies import object_read, status_check
from ai.wires.structures import ANATOMY, BY_NUMBER, SCT, Structure

MAX_ANSWER = 256 << 20
VOLUME = Coding(system=SCT, code="118565006", display="Volume")
METHOD = "voxels that the model labelled x voxel volume"
JSON = {"Accept": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a NIM says of itself, as far as it says it. `labels`: its names and numbers."""

    version: str
    maker: str
    labels: Mapping[str, int]


def ready_check(*, base_url: str, http: Http) -> None:
    """GET /v1/health/ready. Raises PlatformError."""
    status, _, _ = http.request("GET", f"{base_url}/v1/health/ready", headers=JSON)
    status_check(status, what="the question for its health")


def info_read(*, base_url: str, http: Http) -> Info:
    """GET /v1/vista3d/info. Raises PlatformError."""
    status, _, body = http.request("GET", f"{base_url}/v1/vista3d/info", headers=JSON)
    status_check(status, what="the question for its model")
    said = object_read(body)
    version = next((said[name] for name in ("version", "model_version") if isinstance(said.get(name), str)), "")
    return Info(version=_words(version), maker=_words(said.get("manufacturer", "")), labels=_labels(said.get("labels")))


def labels_check(info: Info, structures: Sequence[Structure]) -> None:
    """A model that says how it numbers its labels numbers them as ours; else a liver might be reported as a spleen."""
    if any(info.labels.get(one.name, one.number) != one.number for one in structures):
        raise PlatformError("the model numbers its labels otherwise than VISTA-3D does", is_permanent=True)


def volume_offer(handle: Handle, *, base_url: str, structures: Sequence[Structure], ways: Ways) -> str:
    """Make the volume and see that the NIM is there; nothing leaves yet. Returns the job's id. Raises PlatformError."""
    _room(ways).volume()
    ready_check(base_url=base_url, http=ways.http)
    labels_check(info_read(base_url=base_url, http=ways.http), structures)
    return handle.idempotency_key


def labels_ask(handle: Handle, *, base_url: str, structures: Sequence[Structure], ways: Ways) -> Payload | None:
    """The answer, or None while it computes. Raises PlatformError."""
    room = _room(ways)
    told = room.ask(
        f"{base_url}/v1/vista3d/inference", headers={"Content-Type": "application/json", "Accept": "*/*"},
        content=lambda: _request(room, structures), max_bytes=MAX_ANSWER,
    )  # fmt: skip
    if told is None:
        return None
    status_check(told.status, what="the volume")
    if not is_zip(told.file):
        room.forget()
        raise PlatformError("the platform's answer is no archive", is_permanent=False)
    info, volume = info_read(base_url=base_url, http=ways.http), room.volume()
    data = {
        "structures": [one.number for one in structures], "version": info.version, "manufacturer": info.maker,
        "volume": {"sop_uids": volume.sop_uids, "rows": volume.rows, "columns": volume.columns, "affine": volume.affine},
    }  # fmt: skip
    return Payload(kind="labels", data=data, files=(told.file,), sent=handle.sent)


def labels_answer(payload: Payload, *, algorithm: str) -> Answer:
    """Volumes and regions of what the model labelled. Raises PlatformError, permanent, for a map that is not of this job."""
    read = _read(payload)
    sent = payload.sent or Sent(study_uid="", series_uid="", sop_uids=())
    found = [one for one in read.structures if read.counts[one.number]]
    missing = [one.name for one in read.asked if not {one.number, *one.parts} & {part.number for part in found}]
    answer = Answer(
        algorithm=Algorithm(name=algorithm, version=read.version, manufacturer=read.maker or UNSTATED), study_uid=sent.study_uid,
        series_uid=sent.series_uid, sop_uids=sent.sop_uids, input_sha256="",
    )  # fmt: skip
    if not found:
        reason = Note(code="nothing_labelled", text="none of the structures asked for was labelled")
        return replace(answer, not_analysable=reason)
    notes = []
    if missing:
        words = f"not labelled: {', '.join(missing)}; that does not say that it is not there"
        notes.append(Note(code="not_labelled", text=words[:300]))
    if cut := [one.name for one in found if one.number in read.cut]:
        words = f"reaches the first or last slice, so its volume is a lower bound: {', '.join(cut)}"
        notes.append(Note(code="cut", text=words[:300]))
    return replace(
        answer, notes=tuple(notes), measurements=tuple(_measurement(one, read) for one in found),
        regions=tuple(_region(place, one) for place, one in enumerate(found, 1)),
    )


def labels_mask(payload: Payload) -> Mask:
    """The same map with the numbers of the answer's regions. Raises PlatformError."""
    read = _read(payload)
    table = np.zeros(256, np.uint8)
    for place, one in enumerate((one for one in read.structures if read.counts[one.number]), 1):
        table[one.number] = place
    return Mask(sop_uids=read.volume.sop_uids, labels=table[read.labels])


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A label map, checked. `structures`: what may be in it, `counts`: voxels by number, `cut`: numbers at either end."""

    volume: Volume
    asked: tuple[Structure, ...]
    structures: tuple[Structure, ...]
    labels: NDArray[Any]
    counts: NDArray[np.int64]
    cut: frozenset[int]
    version: str
    maker: str


def _read(payload: Payload) -> _Read:
    data = payload.data
    with hostile("what was asked for is not known any more"):
        facts = data["volume"]
        volume = Volume(
            sop_uids=tuple(facts["sop_uids"]), rows=int(facts["rows"]), columns=int(facts["columns"]),
            affine=tuple(tuple(float(value) for value in row) for row in facts["affine"]),
        )  # fmt: skip
        asked = tuple(BY_NUMBER[number] for number in data["structures"])
        (file,) = payload.files
    allowed = sorted({number for one in asked for number in (one.number, *one.parts)})
    labels = labels_read(label_map_take(file, most=labels_most(volume)), volume=volume)
    if labels.min() < 0 or labels.max() > 255:
        raise refusal("the label map holds labels that were not asked for")
    small = labels.astype(np.uint8, copy=False)
    counts = np.zeros(256, np.int64)
    for one in small:
        counts += np.bincount(one.ravel(), minlength=256)
    if counts[[number for number in range(1, 256) if number not in allowed]].any():
        raise refusal("the label map holds labels that were not asked for")
    return _Read(
        volume=volume, asked=asked, structures=tuple(BY_NUMBER[number] for number in allowed), labels=small, counts=counts,
        cut=frozenset(int(number) for end in (small[0], small[-1]) for number in np.unique(end)),
        version=_words(data.get("version")), maker=_words(data.get("manufacturer")),
    )  # fmt: skip


def _measurement(one: Structure, read: _Read) -> Measurement:
    millilitres = int(read.counts[one.number]) * abs(float(np.linalg.det(np.array(read.volume.affine)[:, :3]))) / 1000
    return Measurement(
        code=VOLUME, value=round(millilitres, 2), unit="mL", unit_display="mL", body_site=one.site, laterality=one.laterality, method=METHOD
    )


def _region(place: int, one: Structure) -> Region:
    return Region(sop_uid="", segment_number=place, label=one.label, category=ANATOMY, type=one.site, body_site=None)


def _request(room: Room, structures: Sequence[Structure]) -> bytes:
    return orjson.dumps({"image": room.offer(), "prompts": {"classes": [one.name for one in structures]}})


def _room(ways: Ways) -> Room:
    if ways.room is None:
        raise PlatformError("there is no job to ask for", is_permanent=True)
    return ways.room


def _labels(said: object) -> dict[str, int]:
    """Names to numbers, whichever way round the NIM lists them; what it does not list so is not known."""
    if not isinstance(said, dict):
        return {}
    found: dict[str, int] = {}
    for key, value in list(said.items())[:1_000]:
        if isinstance(value, int):
            found[str(key)] = value
        elif isinstance(value, str) and str(key).isascii() and str(key).isdigit():
            found[value] = int(key)
    return found


def _words(value: object) -> str:
    text = " ".join(str(value or "").split())
    return text[:64] if text.isprintable() else ""
