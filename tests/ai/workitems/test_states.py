"""The state machine alone: every cell of PS3.4 table CC.1.1-2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai.workitems.states import Cancel, Lock, State, UpsRefused, cancel_check, state_check, update_check

RIGHT, WRONG, NONE = Lock(True, True), Lock(True, False), Lock(False, False)
S, P, D, C = State.SCHEDULED, State.IN_PROGRESS, State.COMPLETED, State.CANCELED
# request -> what comes of it in SCHEDULED, IN PROGRESS, COMPLETED, CANCELED: 0, or the code of the refusal or warning
TABLE = {
    ("claim", P, RIGHT): (0, 0xC302, 0xC300, 0xC300),
    ("claim without a Transaction UID", P, NONE): (0xC301,) * 4,
    ("schedule", S, RIGHT): (0xC303,) * 4,
    ("schedule without", S, NONE): (0xC303,) * 4,
    ("complete", D, RIGHT): (0xC310, 0, 0xB306, 0xC300),
    ("complete with the wrong one", D, WRONG): (0xC310, 0xC301, 0xC301, 0xC301),
    ("complete without", D, NONE): (0xC301,) * 4,
    ("cancel", C, RIGHT): (0xC310, 0, 0xC300, 0xB304),
    ("cancel with the wrong one", C, WRONG): (0xC310, 0xC301, 0xC301, 0xC301),
    ("cancel without", C, NONE): (0xC301,) * 4,
}


def outcome(now: State, wanted: State, lock: Lock, **facts: bool) -> int:
    try:
        word = state_check(now=now, wanted=wanted, lock=lock, **facts)
    except UpsRefused as refused:
        return refused.word.code
    return word.code if word else 0


@pytest.mark.parametrize("request_", TABLE, ids=lambda one: one[0])
@pytest.mark.parametrize("column", range(4), ids=[state.name for state in (S, P, D, C)])
def test_every_cell_of_the_table(request_, column) -> None:
    """"UPS-RS (...; create, search, claim with transaction UID, update, complete, cancel request ...)": what each state allows."""
    _, wanted, lock = request_
    assert outcome((S, P, D, C)[column], wanted, lock) == TABLE[request_][column]


def test_a_final_state_has_needs() -> None:
    """Final-state requirements (CC.2.5.1.1): COMPLETED without them is C304, and nothing changes."""
    assert outcome(P, D, RIGHT, is_complete=False) == 0xC304
    assert outcome(P, C, RIGHT, is_complete=False) == 0xC304


@pytest.mark.parametrize(
    ("now", "lock", "is_performer", "code"),
    [
        (S, NONE, False, 0), (S, NONE, True, 0xC310), (P, RIGHT, True, 0), (P, WRONG, True, 0xC301), (P, NONE, False, 0xC301),
        (D, RIGHT, True, 0xC300), (C, RIGHT, False, 0xC300),
    ],
)  # fmt: skip
def test_who_may_update(now, lock, is_performer, code) -> None:
    """N-SET (CC.2.6): by who holds the lock; final ones by nobody; a performer claims first."""
    found = 0
    try:
        update_check(now=now, lock=lock, is_performer=is_performer)
    except UpsRefused as refused:
        found = refused.word.code
    assert found == code


def test_asking_to_cancel() -> None:
    """CC.2.2: at once while nobody has it, its performer is asked, a completed one is past it."""
    assert [cancel_check(now=one) for one in (S, P, C)] == [Cancel.AT_ONCE, Cancel.ASK, Cancel.DONE]
    with pytest.raises(UpsRefused) as refused:
        cancel_check(now=D)
    assert refused.value.word.code == 0xC311


@given(st.lists(st.tuples(st.sampled_from(list(State)), st.sampled_from([RIGHT, WRONG, NONE]), st.booleans()), max_size=12))
def test_no_sequence_of_requests_breaks_the_order(requests) -> None:
    """Whatever is asked in whatever order: one claim, then one end, and never back."""
    now, path = S, [S]
    for wanted, lock, is_complete in requests:
        if outcome(now, wanted, lock, is_complete=is_complete) == 0:
            now = wanted
            path.append(now)
    assert path in ([S], [S, P], [S, P, D], [S, P, C])
