"""What a check finds, and the error that carries it. Texts are ours and fixed: names of elements and rules, never a value."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Issue:
    """One issue of an OperationOutcome (FHIR R4 2.28.1)."""

    severity: str  # fatal, error, warning or information
    code: str  # of http://hl7.org/fhir/issue-type
    diagnostics: str
    expression: str = ""  # FHIRPath of the place: Patient.name[0].family

    @property
    def is_error(self) -> bool:
        return self.severity in {"fatal", "error"}

    def to_fhir(self) -> dict[str, Any]:
        found: dict[str, Any] = {"severity": self.severity, "code": self.code, "diagnostics": self.diagnostics}
        return found | ({"expression": [self.expression]} if self.expression else {})


class InvalidResourceError(Exception):
    """This is no valid FHIR resource. `user_message` names type and place, never a value."""

    def __init__(self, user_message: str, *, issues: tuple[Issue, ...] = (), is_unreadable: bool = False) -> None:
        super().__init__(user_message)
        self.user_message = user_message
        self.issues = issues or (Issue(severity="error", code="processing", diagnostics=user_message),)
        self.is_unreadable = is_unreadable  # no JSON or XML of FHIR at all: 400 and not 422
