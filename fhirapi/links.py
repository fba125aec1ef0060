"""Patient.link of a Patient whom the EHR has written: a merge is told there as well, and everything else stays as the EHR said it."""

from fhirapi.jsontext import json_load
from fhirapi.registry import TYPES
from fhirapi.store import REST, draft_make, drafts_write, is_same, lock_name, lock_take, rows_read

REPLACED = "replaced-by"


def patient_link_write(*, fhir_id: str, replaced_by: str) -> None:
    """The current version of this Patient with the one link of that kind, inactive; without both where `replaced_by` is empty.

    Nothing for a Patient of the hub's own, or one that is not there. A link to somebody else is the EHR's own word and stays.
    """
    key = (TYPES["Patient"].number, fhir_id)
    lock_take(names=[lock_name(key=key)])
    row = rows_read(keys=[key], is_content_wanted=True).get(key)
    if row is None or row.writer != REST:
        return
    resource = json_load(row.content.encode())
    links = [link for link in resource.get("link", ()) if link.get("type") != REPLACED]
    was_replaced = len(links) < len(resource.get("link", ()))
    if replaced_by:
        links.append({"other": {"reference": f"Patient/{replaced_by}"}, "type": REPLACED})
        resource["active"] = False
    elif was_replaced:
        resource["active"] = True
    resource.pop("link", None)
    draft = draft_make(resource=resource | ({"link": links} if links else {}), writer=REST)
    if not is_same(draft=draft, row=row):
        drafts_write(drafts=[draft], rows={key: row}, graves={})
