"""What came by itself for a job: objects by C-STORE or STOW-RS, and the word of its workitem. Dispatch looks, in a scope."""

from ai.contract import Payload, PlatformError, Sent
from ai.models import Workitem
from ai.returned.keeping import returned_objects
from ai.workitems.ended import workitem_outcome


def answer_gather(*, job_id: int, connection_id: int, sent: Sent) -> Payload | None:
    """The answer, once it is whole: the workitem has ended, or, where there is none, nothing more seems to be coming.

    Raises PlatformError, permanent, when the performer gave the work back.
    """
    outcome = workitem_outcome(job_id=job_id)
    if outcome is not None and outcome.state == "CANCELED":
        code = outcome.reason_code[0]
        raise PlatformError("the performer gave the work back" + (f" ({code})" if code else ""), is_permanent=True)
    if outcome is None and Workitem.objects.filter(job_id=job_id).exists():
        return None
    found = returned_objects(connection_id=connection_id, study_uid=sent.study_uid, job_id=job_id)
    named = {one.sop_instance_uid for one in outcome.objects} if outcome else set()
    if named - {one.sop_instance_uid for one in found}:
        return None  # told of, and not here yet
    if found:
        return Payload(kind="dicom", files=tuple(one.path for one in found), sent=sent)
    return Payload(kind="none", sent=sent) if outcome else None
