"""What an app asks for at the authorization endpoint, within what it and the person may. In a scope."""

from dataclasses import dataclass, replace
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError

from tenants.oauth.grants import LaunchContext, launch_read
from tenants.oauth.scopes import LAUNCH, LAUNCH_PATIENT, PATIENT, Scope, scopes_granted, scopes_text, words_granted
from tenants.permissions import is_allowed


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`scopes` may be granted; `launched` is what the app was opened on; `needs_patient` when somebody has to be chosen first."""

    scopes: tuple[Scope, ...]
    words: tuple[str, ...]
    launched: LaunchContext
    needs_patient: bool

    @property
    def text(self) -> str:
        return " ".join([*self.words, scopes_text(self.scopes)])


def asked_read(*, grant: Any, fhir_url: str, role: str) -> Asked:
    """`grant` as Authlib has validated it. Raises OAuth2Error, which goes back to the app."""
    data, row, back = grant.request.payload.data, grant.request.client.row, grant.request.payload.redirect_uri
    if not data.get("state"):
        raise InvalidRequestError("state is missing.", redirect_uri=back)
    if data.get("aud", "").rstrip("/") != fhir_url:
        raise InvalidRequestError("aud must be the FHIR base of this hospital.", redirect_uri=back)
    asked = grant.request.payload.scope or ""
    scopes = tuple(one for scope in scopes_granted(asked=asked, allowed=row.scopes) if (one := _of_role(scope, role)))
    words = words_granted(asked=asked, allowed=row.scopes)
    launched = LaunchContext()
    if text := data.get("launch", ""):
        found = launch_read(row=row, user_id=grant.request.user.pk, text=text) if LAUNCH in words else None
        if found is None:
            raise InvalidRequestError("The launch is over, was another person's or app's, or scope lacks launch.", redirect_uri=back)
        launched = found
    else:
        words = [word for word in words if word != LAUNCH]
    if not scopes:
        raise InvalidScopeError(redirect_uri=back)
    needs = LAUNCH_PATIENT in words or any(scope.context == PATIENT for scope in scopes)
    return Asked(scopes=scopes, words=tuple(words), launched=launched, needs_patient=needs and not launched.patient)


def _of_role(scope: Scope, role: str) -> Scope | None:
    """What this person may let an app do."""
    if is_allowed(role=role, capability="fhir.write"):
        return scope
    letters = "".join(letter for letter in scope.letters if letter in "rs")
    return replace(scope, letters=letters) if letters else None
