"""A performer that pulls (IHE AIW-I): claims workitems of a UPS-RS worklist, fetches, computes, stores, completes (PS3.18 chapter 11)."""

import io
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from pydicom import dcmread

from sandbox.http import Reply, Request, json_reply
from sandbox.vendors.archive import Archive
from sandbox.vendors.work import answer_sr, computed, handed, images_of, objects_push, study_pull, world_context
from sandbox.vendors.world import World

KIND = "application/dicom+json"
STATE, TRANSACTION, WORKITEM, STUDY, SERIES = "00741000", "00081195", "00080018", "0020000D", "0020000E"
INPUT, RETRIEVAL, RETRIEVE_URL = "00404021", "0040E025", "00081190"


@dataclass(frozen=True)
class Worklist:
    """Where to pull from, as whom, for how long."""

    base: str
    token: str
    seconds: float = 10.0
    store: str = ""  # DICOMweb base of results where it is not `base`


class Puller:
    """`POST /control/ups` {base, token, seconds, store}: works for that long, then answers what became of each workitem."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._archive = Archive()

    def control(self, request: Request) -> Reply:
        worklist = Worklist(**request.json)
        ended: dict[str, str] = {}
        end = time.monotonic() + worklist.seconds
        with httpx.Client(
            verify=world_context(self._world), timeout=30, trust_env=False, headers={"Authorization": f"Bearer {worklist.token}"}
        ) as client:
            while time.monotonic() < end and not ended:
                for uid in self._scheduled(client, worklist):
                    ended[uid] = self._perform(client, worklist, uid)
                time.sleep(0.1)
        return json_reply(ended)

    def _scheduled(self, client: httpx.Client, worklist: Worklist) -> list[str]:
        query = {"ProcedureStepState": "SCHEDULED"}
        answer = client.get(f"{worklist.base}/workitems", params=query, headers={"Accept": KIND}).raise_for_status()
        rows = answer.json() if answer.status_code == 200 and answer.content else []
        return [first(row, WORKITEM) for row in rows]

    def _perform(self, client: httpx.Client, worklist: Worklist, uid: str) -> str:
        """Whose it is now: lost to another performer, completed, or canceled with what went wrong."""
        transaction, address = f"2.25.{uuid.uuid4().int}", f"{worklist.base}/workitems/{uid}"
        if _state(client, address, transaction, "IN PROGRESS") not in {200, 204}:
            return "lost"
        item = client.get(address, headers={"Accept": KIND}).raise_for_status().json()
        given = (item[0] if isinstance(item, list) else item)[INPUT]["Value"][0]
        begun = _now()
        try:
            made = self._computed(worklist, given)
        except Exception:  # noqa: BLE001 a performer that cannot says so and gives the workitem back as canceled
            return f"canceled {_state(client, address, transaction, 'CANCELED')}"
        body = [_performed(given, made, begun)]
        updated = client.post(address, params={"transaction-uid": transaction}, json=body, headers={"Content-Type": KIND})
        return f"completed {updated.status_code} {_state(client, address, transaction, 'COMPLETED')}"

    def _computed(self, worklist: Worklist, given: dict[str, Any]) -> list[bytes]:
        """Fetch the input, compute, store the results; returns their bytes."""
        study, series = first(given, STUDY), first(given, SERIES)
        urls = given.get(RETRIEVAL, {}).get("Value") or [{}]
        base = (first(urls[0], RETRIEVE_URL) or f"{worklist.base}/studies/{study}").partition("/studies/")[0]
        study_pull(self._world, self._archive, base=base, token=worklist.token, study=study, series=series)
        images = images_of(self._archive, study, series)
        made = answer_sr(self._world, computed(self._world, images), images)
        objects_push(self._world, handed(self._world, made, study), base=worklist.store or worklist.base, token=worklist.token)
        return made


def first(item: dict[str, Any], tag: str) -> str:
    """The first value of an attribute of DICOM JSON, as text."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _state(client: httpx.Client, address: str, transaction: str, state: str) -> int:
    body = [{TRANSACTION: {"vr": "UI", "Value": [transaction]}, STATE: {"vr": "CS", "Value": [state]}}]
    return client.put(f"{address}/state", json=body, headers={"Content-Type": KIND}).status_code


def _performed(given: dict[str, Any], made: list[bytes], begun: str) -> dict[str, Any]:
    """Unified Procedure Step Performed Procedure Sequence: who, when, and the Output Information Sequence (PS3.4 CC.2.5.1.1)."""
    outputs = []
    for content in made:
        ds = dcmread(io.BytesIO(content), stop_before_pixels=True)
        reference = {"00081150": _value("UI", str(ds.SOPClassUID)), "00081155": _value("UI", str(ds.SOPInstanceUID))}
        outputs.append(
            {
                "0040E020": _value("CS", "DICOM"), STUDY: given[STUDY], SERIES: _value("UI", str(ds.SeriesInstanceUID)),
                "00081199": {"vr": "SQ", "Value": [reference]},
            }
        )  # fmt: skip
    station = {"00080100": _value("SH", "DOUBLE"), "00080102": _value("SH", "99MCAIHUB"), "00080104": _value("LO", "Test double")}
    performed = {
        "00404028": {"vr": "SQ", "Value": [station]}, "00404050": _value("DT", begun), "00404051": _value("DT", _now()),
        "00404033": {"vr": "SQ", "Value": outputs}, "00404019": {"vr": "SQ", "Value": [station]},  # a final state needs it (CC.2.5)
    }  # fmt: skip
    return {"00741216": {"vr": "SQ", "Value": [performed]}}


def _value(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%d%H%M%S")
