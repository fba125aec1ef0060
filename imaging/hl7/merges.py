"""ADT^A40 (merge patient, patient identifier list): PID survives, MRG is gone; a message may have several pairs."""

from imaging.hl7.errors import MessageRefused
from imaging.hl7.reading import Told, patient_facts
from imaging.merging.services import MergeRefused, patient_find, patient_merge
from imaging.people import person_resolve
from journal.audit import Actor
from tenants.models import Hl7Source


def merge_message_take(*, actor: Actor, told: Told, source: Hl7Source, body: bytes) -> None:
    """All pairs or none. A number that nobody has had yet is merged too: images may come under it later. Raises MessageRefused."""
    surviving, pairs = None, 0
    for segment in told.message:
        name = str(segment[0])
        if name == "PID":
            surviving = patient_facts(segment)
        elif name == "MRG":
            if surviving is None:
                raise MessageRefused("PID", "is not there before MRG")
            gone = patient_facts(segment, 1, name_field=7)
            if (gone.issuer, gone.patient_id) == (surviving.issuer, surviving.patient_id):
                raise MessageRefused("MRG-1", "names the number that stays")
            if patient_find(facts=gone) is None:
                person_resolve(patient=gone)
            try:
                patient_merge(actor=actor, surviving=surviving, gone=gone, origin="hl7", message=body)
            except MergeRefused as error:
                raise MessageRefused("MRG-1", error.user_message) from None
            pairs += 1
    if not pairs:
        raise MessageRefused("MRG", "is not there")
