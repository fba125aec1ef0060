"""The states of a workitem and who may change them: PS3.4 tables CC.1.1-2 and CC.2.1, pure. `services` asks before it writes."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class State(StrEnum):
    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        return self in (State.COMPLETED, State.CANCELED)


@dataclass(frozen=True)
class Word:
    """What is said of a request: the DICOM status (PS3.4 CC.2), the HTTP status (PS3.18 11) and words for the Warning header."""

    code: int
    status: int
    text: str


_CONFLICT = "The submitted request is inconsistent with the current state of the UPS Instance"

NO_LONGER = Word(0xC300, 409, f"{_CONFLICT}: it may no longer be updated")
WRONG_TRANSACTION = Word(0xC301, 400, "The Transaction UID is incorrect")
MISSING_TRANSACTION = Word(0xC301, 400, "The Transaction UID is missing")
ALREADY_CLAIMED = Word(0xC302, 409, f"{_CONFLICT}: it is already IN PROGRESS")
ONLY_BY_CREATE = Word(0xC303, 409, "The UPS may only become SCHEDULED by being created")
NOT_FINAL = Word(0xC304, 409, "The UPS does not meet the requirements of its final state")
NOT_FOUND = Word(0xC307, 404, "There is no such UPS")
NOT_SCHEDULED = Word(0xC309, 400, "The Procedure Step State of a new UPS is SCHEDULED")
NOT_CLAIMED = Word(0xC310, 409, f"{_CONFLICT}: it is not IN PROGRESS")
ALREADY_COMPLETED = Word(0xC311, 409, f"{_CONFLICT}: it is already COMPLETED")
IS_CANCELED = Word(0xB304, 200, "The UPS is already in the requested state of CANCELED")
IS_COMPLETED = Word(0xB306, 200, "The UPS is already in the requested state of COMPLETED")
DUPLICATE = Word(0x0111, 409, "There is a UPS with this UID already")


class UpsRefused(Exception):
    """A request that is not done. `word` is what the door answers; it never holds a value of the request."""

    def __init__(self, word: Word) -> None:
        super().__init__(word.text)
        self.word = word


@dataclass(frozen=True)
class Lock:
    """What a request shows against what was shown when the workitem was claimed."""

    is_given: bool
    is_right: bool

    def check(self) -> None:
        if not self.is_given:
            raise UpsRefused(MISSING_TRANSACTION)
        if not self.is_right:
            raise UpsRefused(WRONG_TRANSACTION)


def state_check(*, now: State, wanted: State, lock: Lock, is_complete: bool = True) -> Word | None:
    """May the state change (CC.1.1-2)? None: yes. A Word: nothing is to be done, and that is said. Raises UpsRefused.

    `lock.is_right` of a SCHEDULED workitem means nothing: nobody has claimed it. `is_complete`: its final state's needs are met.
    """
    if wanted is State.SCHEDULED:
        raise UpsRefused(ONLY_BY_CREATE)
    if not lock.is_given:
        raise UpsRefused(MISSING_TRANSACTION)
    if wanted is State.IN_PROGRESS:
        _claim_check(now)
        return None
    if now is State.SCHEDULED:
        raise UpsRefused(NOT_CLAIMED)
    lock.check()
    if now is wanted:
        return IS_COMPLETED if now is State.COMPLETED else IS_CANCELED
    if now.is_final:
        raise UpsRefused(NO_LONGER)
    if not is_complete:
        raise UpsRefused(NOT_FINAL)
    return None


def _claim_check(now: State) -> None:
    if now is State.IN_PROGRESS:
        raise UpsRefused(ALREADY_CLAIMED)
    if now.is_final:
        raise UpsRefused(NO_LONGER)


def update_check(*, now: State, lock: Lock, is_performer: bool) -> None:
    """May attributes be set (CC.2.6)? Of a claimed workitem by who holds its lock; a performer claims first. Raises UpsRefused."""
    if now.is_final:
        raise UpsRefused(NO_LONGER)
    if now is State.IN_PROGRESS:
        lock.check()
    elif is_performer:
        raise UpsRefused(NOT_CLAIMED)


class Cancel(Enum):
    """What a request to cancel comes to (CC.2.2)."""

    AT_ONCE = "at once"  # nobody has claimed it: we are its performer
    ASK = "ask"  # its performer is told, and decides
    DONE = "done"  # it is canceled already


def cancel_check(*, now: State) -> Cancel:
    """Raises UpsRefused when it is completed."""
    if now is State.COMPLETED:
        raise UpsRefused(ALREADY_COMPLETED)
    return {State.SCHEDULED: Cancel.AT_ONCE, State.IN_PROGRESS: Cancel.ASK, State.CANCELED: Cancel.DONE}[now]
