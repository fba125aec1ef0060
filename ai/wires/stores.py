"""The base of platforms that keep what they are sent: DICOMweb for the images, FHIR for the record. They answer with a receipt."""

from collections.abc import Mapping
from datetime import UTC, datetime
from time import time
from typing import ClassVar

from ai.cards import AlgorithmCard
from ai.contract import Handle, Http, Payload, Platform, PlatformError, Ways
from ai.findings import Algorithm, Answer, Receipt
from ai.wires import dicomweb, fhir
from ai.wires.roles import role_apply, role_of

STORE = AlgorithmCard(
    name="store",
    title="Copy to the store",
    modalities=frozenset(),
    body_parts=frozenset(),
    role="storage",
    clearance="none: a store finds nothing",
    intended_use="keeps a de-identified copy; the answer is a receipt, never a finding",
    out_of_scope="findings of any kind",
)


class StorePlatform(Platform):
    """A subclass says where its DICOMweb and its FHIR are, each with its authentication; None where a connection has none."""

    wire = "dicomweb"
    max_request_bytes: ClassVar[int] = 500 * 1024**2
    can_make_ids: ClassVar[bool] = True  # whether the FHIR server creates on PUT
    bundle_end: ClassVar[str] = ""  # what follows the FHIR base where transactions are posted

    def images_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        return None

    def records_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        return None

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        """Returns when it began and where the record is: "<seconds>/<Patient id>/<ImagingStudy id>"."""
        began = int(time())
        images, records = self._both(settings, ways)
        if images:
            dicomweb.instances_store(handle, base_url=images[0], http=images[1], max_request_bytes=self.max_request_bytes)
        place = ""
        if records:
            place = fhir.bundle_send(
                handle, base_url=records[0], http=records[1], can_make_ids=self.can_make_ids, end=self.bundle_end
            )
        return f"{began}/{place}"

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        """What the store lists of ours when it is asked afterwards; None while something is missing."""
        began, _, place = remote_id.partition("/")
        images, records = self._both(settings, ways)
        count = 0
        if images and not handle.sop_uids:
            raise PlatformError("what was sent is not known, so nothing can be counted", is_permanent=True)
        if images:
            count = self.images_listed(handle, datetime.fromtimestamp(int(began), UTC), images)
            if count < len(handle.sop_uids):
                return None
        if records and not fhir.record_is_there(place, base_url=records[0], http=records[1]):
            return None
        said = {"instances": count, "resources": 2 if records else 0, "place": place}
        return Payload(kind="json", data=said, sent=handle.sent)

    def images_listed(self, handle: Handle, since: datetime, images: tuple[str, Http]) -> int:
        """How many of our instances the store lists. Raises PlatformError."""
        return dicomweb.instances_count(handle, base_url=images[0], http=images[1])

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        """A Receipt. Raises PlatformError for whatever else a store says."""
        said, sent = payload.data, payload.sent
        kinds = {"instances": int, "resources": int, "place": str}
        is_receipt = all(isinstance(said.get(name), kind) for name, kind in kinds.items())
        if payload.kind != "json" or sent is None or not is_receipt:
            raise PlatformError("a store may say what it has, and nothing else", is_permanent=True)
        answer = Answer(
            algorithm=Algorithm(name=algorithm, version="", manufacturer=""),
            study_uid=sent.study_uid, series_uid=sent.series_uid, sop_uids=sent.sop_uids, input_sha256="",
            receipt=Receipt(instances=said["instances"], resources=said["resources"], place=said["place"]),
        )  # fmt: skip
        return role_apply(answer, role_of(self.card, algorithm))

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        images, records = self._both(settings, ways)
        said = [dicomweb.store_check(base_url=images[0], http=images[1])] if images else []
        said += [fhir.server_check(base_url=records[0], http=records[1])] if records else []
        return "; ".join(said)

    def _both(self, settings: Mapping[str, str], ways: Ways) -> tuple[tuple[str, Http] | None, tuple[str, Http] | None]:
        found = self.images_at(settings, ways.http), self.records_at(settings, ways.http)
        if not any(found):
            raise PlatformError("the connection names neither a DICOM nor a FHIR store", is_permanent=True)
        return found

