"""C-FIND responses (PS3.4 C.4.1.3, PS3.7 9.1.2): Pending ones in as few sends as their size allows, C-CANCEL looked for before each.

A worklist is short and asked for by a person who waits: each of its answers goes by itself.

`serving` calls it. A match costs a few microseconds here: its command set is the same for the whole query.
"""

from imaging.dimse import messages
from imaging.dimse.contexts import WORKLIST_FIND
from imaging.dimse.contract import InquiryRefused
from imaging.dimse.inquiries import Session

SEND_BYTES = 32 << 10
FIRST_BYTES = 4 << 10  # the peer reads the first ones while the others are written


def find_serve(session: Session) -> None:
    """Raises InquiryRefused, behind the answers made so far if there were any."""
    responder, find = session.responder, session.services.find
    assert find is not None  # noqa: S101 - contexts are offered only with it
    found = find(admission=session.admission, inquiry=session.inquiry)
    pending = responder.pending(found.pending_status)
    is_worklist = session.request.abstract_syntax == WORKLIST_FIND
    send_bytes = 0 if is_worklist else FIRST_BYTES
    unsent = bytearray()
    try:
        for identifier in found.identifiers:
            unsent += pending(identifier)
            if len(unsent) < send_bytes:
                continue
            if responder.is_cancelled():
                responder.respond(messages.CANCELLED)
                return
            session.wire.send(unsent)
            unsent, send_bytes = bytearray(), 0 if is_worklist else SEND_BYTES
    except InquiryRefused:
        session.wire.send(unsent)
        raise
    if responder.is_cancelled():
        responder.respond(messages.CANCELLED)
    else:
        session.wire.send(unsent + responder.encoded(messages.SUCCESS))
