"""The data set of an N-ACTION of storage commitment (PS3.4 J.3.2), read with limits; `answer` reads that of an N-EVENT-REPORT."""

from imaging.commitment.rows import RESOURCE_LIMITATION, CommitmentRefused
from imaging.header import Header, HeaderError, header_read, uid_is_valid

REFERENCES_CAP = 100_000
DATA_SET_CAP = 24 << 20  # so many references, with 64 characters for each UID
TRANSACTION, REFERENCES, SOP_CLASS, SOP_INSTANCE = 0x00081195, 0x00081199, 0x00081150, 0x00081155
NO_SUCH_INSTANCE, INVALID_ARGUMENT = 0x0112, 0x0115


def references_read(encoded: bytes, *, transfer_syntax_uid: str) -> tuple[str, dict[str, list[str]]]:
    """Transaction UID, and SOP class -> SOP instances, each once. Raises CommitmentRefused."""
    try:
        header = header_read(encoded, transfer_syntax_uid=transfer_syntax_uid, wanted=frozenset((TRANSACTION, REFERENCES)))
    except HeaderError:
        raise CommitmentRefused(INVALID_ARGUMENT, "the action information cannot be read") from None
    transaction_uid = header.uid(TRANSACTION)
    if not uid_is_valid(transaction_uid):
        raise CommitmentRefused(INVALID_ARGUMENT, "TransactionUID is missing or malformed")
    found = _pairs(header)
    if not found:
        raise CommitmentRefused(INVALID_ARGUMENT, "ReferencedSOPSequence is missing or empty")
    references: dict[str, list[str]] = {}
    for uid, sop_class in found.items():
        references.setdefault(sop_class, []).append(uid)
    return transaction_uid, references


def _pairs(header: Header) -> dict[str, str]:
    """SOP instance -> SOP class. Raises CommitmentRefused."""
    items = header.items(REFERENCES)
    if len(items) > REFERENCES_CAP:
        raise CommitmentRefused(RESOURCE_LIMITATION, f"more than {REFERENCES_CAP} references in one request")
    found: dict[str, str] = {}
    for item in items:
        sop_class, uid = item.uid(SOP_CLASS), item.uid(SOP_INSTANCE)
        if not (uid_is_valid(sop_class) and uid_is_valid(uid)):
            raise CommitmentRefused(INVALID_ARGUMENT, "a reference has no class or instance, or no UID")
        if found.setdefault(uid, sop_class) != sop_class:
            raise CommitmentRefused(INVALID_ARGUMENT, "one instance is named with two classes")
    return found
