"""Which presentation contexts we accept (PS3.8 7.1.1.13, PS3.4 B.3, C.4): every storage class, every syntax we can keep, and
query and retrieve in the two roots, whose identifiers are little endian.

`association` asks when a request has arrived. Nothing is transcoded on arrival, so the peer's own order decides.
"""

from collections.abc import Iterable

from pynetdicom.presentation import PresentationContext

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
FIND_CLASSES = frozenset((f"{PATIENT_ROOT}.1", f"{STUDY_ROOT}.1"))
MOVE_CLASSES = frozenset((f"{PATIENT_ROOT}.2", f"{STUDY_ROOT}.2"))
GET_CLASSES = frozenset((f"{PATIENT_ROOT}.3", f"{STUDY_ROOT}.3"))
QUERY_CLASSES = FIND_CLASSES | MOVE_CLASSES | GET_CLASSES
IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
IDENTIFIER_SYNTAXES = frozenset((EXPLICIT_LITTLE, IMPLICIT_LITTLE))
_STANDARD = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_STORAGE_ELSEWHERE = frozenset((
    "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
    "1.2.840.10008.5.1.4.34.10",  # RT Brachy Application Setup Delivery Instruction
))
_GE_PRIVATE = "1.2.840.113619.5.2"

# Not here: JPIP (94, 95, 204, 205), whose pixels stay at the sender; SMPTE ST 2110, a live stream; and the retired
# encodings of Papyrus, MIME and XML, whose data sets are none.
STORABLE_SYNTAXES = frozenset((
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    *(f"1.2.840.10008.1.2.4.{number}" for number in range(50, 67)),  # JPEG, retired processes too
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    *(f"1.2.840.10008.1.2.4.{number}" for number in range(90, 94)),  # JPEG 2000
    *(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)),  # MPEG-2, MPEG-4, HEVC
    *(f"1.2.840.10008.1.2.4.{number}.1" for number in range(100, 107)),  # the same in fragments
    *(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112)),  # JPEG XL
    *(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)),  # HTJ2K
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.8.1",
    _GE_PRIVATE,
))


def is_storage(abstract_syntax: str) -> bool:
    """Standard storage classes, also those younger than any list, and every private class."""
    return (
        abstract_syntax.startswith(_STORAGE)
        or abstract_syntax in _STORAGE_ELSEWHERE
        or not abstract_syntax.startswith(_STANDARD)
    )


def _syntaxes_of(abstract_syntax: str, *, is_queried: bool) -> frozenset[str]:
    """What a context of this class may be encoded in; nothing for a class that we do not serve."""
    if abstract_syntax in QUERY_CLASSES:
        return IDENTIFIER_SYNTAXES if is_queried else frozenset()
    is_known = abstract_syntax == VERIFICATION or is_storage(abstract_syntax)
    return STORABLE_SYNTAXES if is_known else frozenset()


def contexts_supported(proposed: Iterable[PresentationContext], *, is_queried: bool = False) -> list[PresentationContext]:
    """Our side of the negotiation for just these proposals: one context a class, syntaxes in the peer's order.

    Both roles are ours to play, so that a peer that proposes itself as SCP for C-GET keeps its answer.
    """
    syntaxes: dict[str, list[str]] = {}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        ours = _syntaxes_of(abstract_syntax, is_queried=is_queried)
        if not ours:
            continue
        known = syntaxes.setdefault(abstract_syntax, [])
        known += [uid for uid in context.transfer_syntax if uid in ours and uid not in known]
    supported = []
    for abstract_syntax, known in syntaxes.items():
        context = PresentationContext()
        context.abstract_syntax = abstract_syntax
        # with none of theirs known, one that they have not proposed makes the answer "transfer syntax", not "class"
        context.transfer_syntax = known or ["1.2.840.10008.1.2.1"]
        context.scu_role = context.scp_role = True
        supported.append(context)
    return supported
