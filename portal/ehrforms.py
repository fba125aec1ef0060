"""The form of an EHR server: its words and shapes. What may be is decided in fhirapi/push/servers.py."""

from django import forms
from django.utils.translation import gettext_lazy as _

from fhirapi.push.servers import ALGORITHMS, SCOPE, SECRET_CHARS
from portal.ehr import AUTH_WORDS
from portal.forms import PlainForm, SecretInput


class EhrServerForm(PlainForm):
    name = forms.CharField(label=_("Name"), max_length=80)
    base_url = forms.CharField(label=_("FHIR base"), max_length=2000, help_text=_("R4, like https://ehr.example/fhir."))
    has_studies = forms.BooleanField(label=_("It takes ImagingStudies from outside"), required=False)
    is_enabled = forms.BooleanField(label=_("Send it each issued report"), required=False)
    auth = forms.ChoiceField(label=_("Sign-in"), choices=list(AUTH_WORDS.items()))
    user = forms.CharField(label=_("User"), max_length=200, required=False, help_text=_("Of basic."))
    secret = forms.CharField(
        label=_("Password or token"), max_length=SECRET_CHARS, required=False, strip=False, widget=SecretInput(),
        help_text=_("Never shown again. Empty keeps the one that is there."),
    )  # fmt: skip
    client_id = forms.CharField(label=_("Client id"), max_length=200, required=False, help_text=_("What the EHR registered us as."))
    scope = forms.CharField(label=_("Scopes"), max_length=400, required=False, help_text=_("Empty: %(scope)s") % {"scope": SCOPE})
    token_url = forms.CharField(
        label=_("Token endpoint"), max_length=2000, required=False, help_text=_("Empty: as its smart-configuration says.")
    )
    algorithm = forms.ChoiceField(label=_("Signature"), choices=[(name, name) for name in ALGORITHMS], required=False)
