"""One C-FIND, C-MOVE or C-GET from its request to its final response (PS3.4 C.4): permission, dispatch, failures.

`wire` calls `inquiry_serve` on the association's own thread.
"""

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from imaging.dimse import messages
from imaging.dimse.contexts import FIND_CLASSES, GET_CLASSES, MOVE_CLASSES, WORKLIST_FIND
from imaging.dimse.contract import Admission, AssociationLimits, Inquiry, InquiryRefused, Services
from imaging.dimse.find import find_serve
from imaging.dimse.inquiries import AssociationError, Request, Responder, Session, Wire
from imaging.dimse.retrieve import get_serve, move_serve

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    response_field: int
    classes: frozenset[str]
    serve: Callable[[Session], None]


_SERVICES = {
    messages.C_FIND_RQ: _Service("find", messages.C_FIND_RSP, FIND_CLASSES, find_serve),
    messages.C_MOVE_RQ: _Service("move", messages.C_MOVE_RSP, MOVE_CLASSES, move_serve),
    messages.C_GET_RQ: _Service("get", messages.C_GET_RSP, GET_CLASSES, get_serve),
}


def inquiry_serve(
    request: Request, *, wire: Wire, admission: Admission, services: Services, limits: AssociationLimits, is_combined: bool,
) -> None:
    """Answer one request to its final response, whatever happens. Raises AssociationError and nothing else."""
    service = _SERVICES[request.field]
    responder = Responder(request, wire, service.response_field)
    inquiry = Inquiry(request.sop_class_uid, request.transfer_syntax_uid, bytes(request.identifier), is_combined)
    try:
        _check(request, service, admission)
        service.serve(Session(responder, inquiry, admission, services, limits))
    except AssociationError:
        raise
    except InquiryRefused as refused:
        responder.respond(refused.status, comment=refused.comment)
    except Exception as error:  # noqa: BLE001 - whatever it was, the peer gets its final response
        # the exception's own text may hold patient data: only its type and the lines of code are logged
        lines = "".join(traceback.format_tb(error.__traceback__))
        logger.error("dimse: %s failed, trace %s: %s\n%s", service.name, admission.trace_id, type(error).__name__, lines)
        responder.respond(messages.UNABLE_TO_PROCESS, comment=f"failed, trace {admission.trace_id}")


def _check(request: Request, service: _Service, admission: Admission) -> None:
    """Raises InquiryRefused."""
    if request.sop_class_uid != request.abstract_syntax or request.abstract_syntax not in service.classes:
        raise InquiryRefused(messages.CLASS_NOT_SUPPORTED, "SOP class is not that of the context and command")
    is_worklist = request.abstract_syntax == WORKLIST_FIND
    if ("worklist" if is_worklist else service.name) not in admission.services:
        asked = "ask for the worklist" if is_worklist else service.name
        raise InquiryRefused(messages.NOT_AUTHORIZED, f"this AE title may not {asked} here")
    if not request.identifier:
        raise InquiryRefused(messages.IDENTIFIER_MISMATCH, "no identifier follows the command")
