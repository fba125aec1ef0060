"""SMART scopes in words, for whoever is asked to let an app in."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from fhirapi.patients import PatientFacts
from tenants.oauth.scopes import OFFLINE, ONLINE, PATIENT, Scope

LOOKS = {"r", "s"}


def scope_words(scope: Scope) -> str:
    """Like "Read ImagingStudy of the chosen patient"."""
    what = _("everything") if scope.rtype == "*" else scope.rtype
    whose = _("of the chosen patient") if scope.context == PATIENT else _("of all patients, as far as your role may")
    does = [word for letters, word in _does() if set(letters) & set(scope.letters)]
    limits = _(", where %(query)s") % {"query": _(" and ").join(f"{name} = {value}" for name, value in scope.query)} if scope.query else ""
    return f"{' '.join([', '.join(does).capitalize(), what, whose])}{limits}"


def _does() -> list[tuple[str, str]]:
    return [("rs", _("read")), ("c", _("create")), ("u", _("change")), ("d", _("delete"))]


def patient_words(patient: PatientFacts) -> str:
    """What tells people of one name apart."""
    born = _("born %(day)s") % {"day": patient.birth_date} if patient.birth_date else ""
    return " · ".join(part for part in (born, patient.gender, patient.number) if part)


def is_writing(scopes: Iterable[Scope]) -> bool:
    return any(set(scope.letters) - LOOKS for scope in scopes)


def stay_words(words: Iterable[str]) -> str:
    """How long the app may go on."""
    known = set(words)
    if OFFLINE in known:
        return _("It may go on for 90 days, also when you are not here, until somebody takes it back.")
    if ONLINE in known:
        return _("It may go on for 12 hours.")
    return _("It may go on for one hour.")


def form_source(uri: str) -> str:
    """Where a form's answer may lead, for Content-Security-Policy: Chromium looks at redirects too."""
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or "[" in parts.netloc:  # which a host-source cannot say
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"
