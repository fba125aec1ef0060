"""Which presentation contexts we accept (PS3.8 7.1.1.13, PS3.4 B.3, C.4, K.4): every storage class, every syntax we can keep,
query and retrieve in the two roots and the modality worklist, whose identifiers are little endian.

`wire` asks when a request has arrived. Nothing is transcoded on arrival, so the peer's own order decides.
"""

from dataclasses import dataclass

from imaging.dimse.associate import ACCEPTED, CLASS_UNKNOWN, NO_REASON, SYNTAX_UNKNOWN, Answered, AssociateRequest

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"  # push model, well-known instance
COMBINED_CLASSES = frozenset((f"{PATIENT_ROOT}.1", f"{STUDY_ROOT}.1"))  # whose extended negotiation has combined matching
FIND_CLASSES = COMBINED_CLASSES | {WORKLIST_FIND}
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
    # of no patient and no study: offered, so that the refusal of each object says why
    "1.2.840.10008.1.3.10",  # Media Storage Directory
    "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
    "1.2.840.10008.5.1.4.39.1",  # Color Palette
    "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
    "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
    "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
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


@dataclass(frozen=True, slots=True)
class Offer:
    """Which services this listener has besides storage and verification."""

    is_queried: bool = False
    others: frozenset[str] = frozenset()  # SOP classes that pynetdicom serves


def _syntaxes_of(abstract_syntax: str, offer: Offer) -> frozenset[str]:
    """What a context of this class may be encoded in; nothing for a class that we do not serve."""
    if abstract_syntax in QUERY_CLASSES:
        return IDENTIFIER_SYNTAXES if offer.is_queried else frozenset()
    if abstract_syntax in offer.others:
        return IDENTIFIER_SYNTAXES
    is_known = abstract_syntax == VERIFICATION or is_storage(abstract_syntax)
    return STORABLE_SYNTAXES if is_known else frozenset()


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a negotiation came to."""

    answers: list[Answered]
    contexts: dict[int, tuple[str, str]]  # accepted: context id -> abstract syntax, transfer syntax
    returned: dict[tuple[str, str], int]  # where the peer is SCP, so that a C-GET can send to it (PS3.7 D.3.3.4)
    roles: dict[str, tuple[bool, bool]]
    extended: dict[str, bytes]

    @property
    def combined(self) -> frozenset[str]:
        """SOP classes with combined date-time matching (PS3.4 C.5.1.1)."""
        return frozenset(sop_class for sop_class, taken in self.extended.items() if any(taken))


def contexts_agree(request: AssociateRequest, offer: Offer) -> Agreement:
    """Our side of the negotiation: each context in the peer's own order of syntaxes, both roles as the peer wants them.

    Of the options of a C-FIND we take combined date-time matching.
    """
    agreement = Agreement([], {}, {}, {}, {})
    for proposed in request.contexts:
        ours = _syntaxes_of(proposed.abstract_syntax, offer)
        syntax = next((syntax for syntax in proposed.transfer_syntaxes if syntax in ours), "")
        if proposed.context_id % 2 == 0:
            result = NO_REASON  # ids are odd (PS3.8 9.3.2.2)
        elif not ours:
            result = CLASS_UNKNOWN
        else:
            result = ACCEPTED if syntax else SYNTAX_UNKNOWN
        agreement.answers.append(Answered(proposed.context_id, result, syntax or IMPLICIT_LITTLE))
        if result != ACCEPTED:
            continue
        agreement.contexts[proposed.context_id] = proposed.abstract_syntax, syntax
        role = request.roles.get(proposed.abstract_syntax)
        if role is not None:
            agreement.roles[proposed.abstract_syntax] = role
            if role[1]:
                agreement.returned.setdefault((proposed.abstract_syntax, syntax), proposed.context_id)
        asked = request.extended.get(proposed.abstract_syntax)
        if asked and proposed.abstract_syntax in COMBINED_CLASSES:
            taken = bytes(int(at == 1 and flag == 1) for at, flag in enumerate(asked))
            agreement.extended[proposed.abstract_syntax] = taken
    return agreement
