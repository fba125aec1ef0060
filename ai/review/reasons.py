"""Why a report is rejected or corrected: coded lists, read by the forms, the API, FHIR, the rejection note and the insights."""

REJECT = {
    "false-positive": "what it says is not there",
    "wrong-location": "right finding, wrong place",
    "wrong-patient": "wrong patient or series",
    "poor-input": "the images do not allow it",
    "other": "another reason",
}
CORRECT = {
    "wrong-value": "a value is wrong",
    "wrong-location": "right finding, wrong place",
    "false-positive": "a part of it is not there",
    "missed": "something was missed",
    "wording": "the words mislead",
    "other": "another reason",
}
REASONS = {"reject": REJECT, "correct": CORRECT}
# A report that was rejected for these says something false of the patient. The others say nothing about what the algorithm can see.
FALSE = frozenset({"false-positive", "wrong-location", "other"})


def reason_words(*, action: str, code: str) -> str:
    return REASONS.get(action, {}).get(code, code)
