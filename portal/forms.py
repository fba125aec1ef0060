"""Forms of the pages: their words and shapes. What may be is decided in the domain, whose refusals come back to their field."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from imaging.certificates.authority import MAX_REQUEST_CHARS, NAME_CHARS
from imaging.certificates.services import REASONS
from imaging.models import Node
from imaging.nodes import MAX_SECRET, MAX_USER, SERVICES, services_of
from imaging.query.declared import VRS
from imaging.webout.address import MAX_URL

DAY = _("Like 2026-03-01.")
SERVICE_WORDS = {
    "store": _("send us images"), "find": _("query"), "move": _("have studies moved"), "get": _("fetch studies"),
    "commit": _("ask for storage commitment"), "worklist": _("read the worklist"),
}  # fmt: skip
RESULTS_WORDS = {
    "": _("not at all"), "sr": _("structured report (SR)"), "sr+pdf": _("structured report and PDF"), "pdf": _("PDF"),
    "sc": _("pictures of the pages (SC)"),
}  # fmt: skip
RESULTS_BY_WORDS = {"dimse": _("by C-STORE"), "stow": _("by STOW-RS")}
AUTH_WORDS = {"none": _("none"), "bearer": _("bearer token"), "basic": _("user and password (basic)")}


class SecretInput(forms.PasswordInput):
    """Takes a value and never gives one back, not even to who has just typed it; no browser offers to keep it."""

    def __init__(self) -> None:
        super().__init__(attrs={"autocomplete": "off", "spellcheck": "false"}, render_value=False)


class PlainForm(forms.Form):
    """Widgets with the classes of our pages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        for field in self.fields.values():
            is_box = isinstance(field.widget, forms.CheckboxInput | forms.CheckboxSelectMultiple)
            is_choice = isinstance(field.widget, forms.Select)
            field.widget.attrs.setdefault("class", "form-check-input" if is_box else "form-select" if is_choice else "form-control")


class NodeForm(PlainForm):
    ae_title = forms.CharField(label=_("AE title"), max_length=16, help_text=_("As the device calls itself, at most 16 characters."))
    description = forms.CharField(label=_("What it is"), max_length=120, required=False)
    services = forms.MultipleChoiceField(
        label=_("It may"), choices=[(name, SERVICE_WORDS[name]) for name in SERVICES], required=False,
        widget=forms.CheckboxSelectMultiple, help_text=_("With nothing allowed it may not connect; we may still call it."),
    )  # fmt: skip
    addresses = forms.CharField(
        label=_("From these addresses only"), required=False, widget=forms.Textarea(attrs={"rows": 2}), max_length=4000,
        help_text=_("One on each line, networks like 10.1.2.0/24 too. Empty: from anywhere."),
    )  # fmt: skip
    host = forms.CharField(label=_("Host"), max_length=255, required=False, help_text=_("Where it listens, if we shall call it."))
    port = forms.IntegerField(label=_("Port"), min_value=1, max_value=65535, required=False)
    uses_tls = forms.BooleanField(label=_("Call it over TLS"), required=False)
    tls_certificate = forms.CharField(
        label=_("Only with this certificate"), required=False, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        max_length=MAX_REQUEST_CHARS, strip=False,
        help_text=_("PEM, if the device made its own. Empty: one of our authority, or of a public one."),
    )  # fmt: skip
    retrieve_by = forms.ChoiceField(
        label=_("Pull from it by"), choices=[("move", "C-MOVE"), ("get", "C-GET")],
        help_text=_("C-MOVE: it sends to our AE and must know it. C-GET: over our own association."),
    )  # fmt: skip
    results_as = forms.ChoiceField(
        label=_("Send it AI results as"), choices=list(RESULTS_WORDS.items()), required=False,
        help_text=_("PDF or pictures where it cannot show structured reports."),
    )  # fmt: skip
    results_by = forms.ChoiceField(
        label=_("Send them"), choices=list(RESULTS_BY_WORDS.items()), required=False,
        help_text=_("C-STORE goes to host and port, STOW-RS to its DICOMweb."),
    )  # fmt: skip
    is_commitment_asked = forms.BooleanField(
        label=_("After a C-STORE of results ask it for storage commitment"), required=False
    )
    web_url = forms.CharField(
        label=_("Address of its DICOMweb"), max_length=MAX_URL, required=False,
        help_text=_("Like https://pacs.example.org/dicom-web, without /studies."),
    )  # fmt: skip
    web_auth = forms.ChoiceField(label=_("Credentials"), choices=list(AUTH_WORDS.items()), required=False)
    web_user = forms.CharField(label=_("User"), max_length=MAX_USER, required=False, help_text=_("With a password only."))
    web_secret = forms.CharField(
        label=_("Token or password"), max_length=MAX_SECRET, required=False, widget=SecretInput(),
        help_text=_("Never shown again. Empty keeps the one that is held for this server."),
    )  # fmt: skip
    is_asked_for_priors = forms.BooleanField(label=_("Ask it for priors of each new study"), required=False)
    priors_count = forms.IntegerField(label=_("How many priors"), min_value=1, max_value=50, initial=3)
    priors_years = forms.IntegerField(label=_("Not older than years"), min_value=1, max_value=100, initial=5)

    def facts(self) -> dict[str, Any]:
        """What `node_create` and `node_update` take."""
        given = {name: value for name, value in self.cleaned_data.items() if value != "" or name not in {"results_by", "web_auth"}}
        return {**given, "addresses": self.cleaned_data["addresses"].replace(",", "\n").split("\n")}


def node_initial(node: Node) -> dict[str, Any]:
    plain = (
        "ae_title", "description", "host", "port", "uses_tls", "tls_certificate", "retrieve_by", "is_asked_for_priors",
        "priors_count", "priors_years", "results_as", "results_by", "is_commitment_asked", "web_url", "web_auth", "web_user",
    )  # fmt: skip
    facts = {name: getattr(node, name) for name in plain}
    return {**facts, "services": sorted(services_of(node)), "addresses": "\n".join(node.addresses)}


class SearchForm(PlainForm):
    """What to look for at a node."""

    PatientID = forms.CharField(label=_("Patient number"), max_length=64, required=False)
    PatientName = forms.CharField(
        label=_("Patient name"), max_length=64, required=False, help_text=_("Family^Given; * for the rest."),
    )  # fmt: skip
    AccessionNumber = forms.CharField(label=_("Accession number"), max_length=16, required=False)
    first = forms.DateField(label=_("From day"), required=False, help_text=DAY)
    last = forms.DateField(label=_("To day"), required=False, help_text=DAY)
    ModalitiesInStudy = forms.CharField(label=_("Modality"), max_length=16, required=False)

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if not any(found.values()):
            raise forms.ValidationError(_("Say what to look for."))
        return found

    def keys(self) -> dict[str, str]:
        """DICOM keywords and their values."""
        found = {name: value for name, value in self.cleaned_data.items() if value and name not in {"first", "last"}}
        first, last = self.cleaned_data.get("first"), self.cleaned_data.get("last")
        if first or last:
            found["StudyDate"] = f"{first:%Y%m%d}-" if first else "-"
            found["StudyDate"] += f"{last:%Y%m%d}" if last else ""
        return found


class MigrationForm(PlainForm):
    """Everything of some days, as slowly as the archive wants it."""

    first = forms.DateField(label=_("From day"), help_text=DAY)
    last = forms.DateField(label=_("To day"), help_text=DAY)
    modalities = forms.CharField(label=_("Modalities"), max_length=200, required=False, help_text=_("Like CT, MR. Empty: all."))
    studies_per_minute = forms.IntegerField(label=_("Studies a minute, at most"), min_value=1, max_value=1_000_000, required=False)
    hour_from = forms.IntegerField(label=_("Only from hour"), min_value=0, max_value=23, required=False)
    hour_to = forms.IntegerField(label=_("To hour"), min_value=0, max_value=24, required=False)

    def query(self) -> dict[str, Any]:
        facts = self.cleaned_data
        modalities = [part for part in facts["modalities"].replace(",", " ").split() if part]
        return {"from": f"{facts['first']:%Y%m%d}", "to": f"{facts['last']:%Y%m%d}", "modalities": modalities}


NODE_WORDS = _("Only from this node")
REASON_WORDS = {
    "unspecified": _("no reason given"), "key_compromise": _("somebody else may have its key"), "superseded": _("there is a newer one"),
    "cessation_of_operation": _("the device is no longer in use"),
}  # fmt: skip


class BoundForm(PlainForm):
    """A certificate of one node, or of any."""

    node = forms.ChoiceField(label=NODE_WORDS, required=False)

    def __init__(self, *args: Any, nodes: Sequence[Node], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._nodes = {str(node.id): node for node in nodes}
        field = self.fields["node"]
        field.choices = [("", _("any node")), *((key, node.ae_title) for key, node in self._nodes.items())]  # type: ignore[attr-defined]

    def clean_node(self) -> Node | None:
        return self._nodes.get(self.cleaned_data["node"])


class SignForm(BoundForm):
    """A signing request, pasted."""

    csr = forms.CharField(
        label=_("Signing request"), max_length=MAX_REQUEST_CHARS, strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text=_("PEM, beginning with -----BEGIN CERTIFICATE REQUEST-----. RSA from 2048 bits, or P-256 to P-521."),
    )  # fmt: skip
    name = forms.CharField(label=_("Name"), max_length=NAME_CHARS, required=False, help_text=_("Empty: as in the request."))

    field_order = ("csr", "name", "node")


class MakeForm(BoundForm):
    """A key for a device that cannot make a request."""

    name = forms.CharField(label=_("Name"), max_length=NAME_CHARS, help_text=_("Of the device, like CT 1."))
    hosts = forms.CharField(
        label=_("Host names and addresses"), max_length=4000, required=False,
        help_text=_("Only if we call it: as the node's host. Several with commas."),
    )  # fmt: skip
    format = forms.ChoiceField(label=_("As"), choices=[("pem", _("PEM, shown once")), ("pkcs12", _("PKCS #12 file with a password"))])
    password = forms.CharField(
        label=_("Password of the file"), max_length=128, required=False, strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), help_text=_("For PKCS #12: at least 12 characters."),
    )  # fmt: skip

    field_order = ("name", "node", "hosts", "format", "password")


class RevokeForm(PlainForm):
    reason = forms.ChoiceField(label=_("Why"), choices=[(name, REASON_WORDS[name]) for name in REASONS])


CLIENT_KINDS = [
    ("backend", _("backend service, with a key pair")), ("key", _("plain key")), ("app", _("app, that acts for whoever opens it")),
]  # fmt: skip
CLIENT_METHODS = [
    ("none", _("without a secret: it runs in a browser or on a phone")), ("client_secret_basic", _("with a secret")),
    ("private_key_jwt", _("with a key pair")),
]  # fmt: skip


class TextJSONField(forms.JSONField):
    """Empty where there is nothing yet, instead of `null`."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class ClientForm(PlainForm):
    """A program that reads or writes FHIR."""

    name = forms.CharField(label=_("Name"), max_length=80)
    kind = forms.ChoiceField(label=_("Kind"), choices=CLIENT_KINDS)
    scopes = forms.CharField(
        label=_("Scopes"), max_length=8000, widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text=_(
            "Of a service or key like system/ImagingStudy.rs; of an app like launch launch/patient patient/*.rs user/ImagingStudy.rs "
            "offline_access."
        ),
    )  # fmt: skip
    redirect_uris = forms.CharField(
        label=_("Redirect addresses of an app"), max_length=6000, required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}), help_text=_("One on each line, to the letter."),
    )  # fmt: skip
    launch_url = forms.CharField(
        label=_("Launch address of an app"), max_length=500, required=False, help_text=_("Then the study page opens it. May stay empty.")
    )
    auth_method = forms.ChoiceField(label=_("An app signs in"), choices=CLIENT_METHODS, required=False)
    jwks_url = forms.CharField(
        label=_("Address of its public keys"), max_length=500, required=False, help_text=_("A JWK Set; or paste it below.")
    )
    jwks = TextJSONField(
        label=_("Public keys"), required=False, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=_("A JWK Set: RSA or EC P-384, each with a kid."),
    )  # fmt: skip

    def clean_redirect_uris(self) -> list[str]:
        return [line.strip() for line in str(self.cleaned_data["redirect_uris"]).splitlines() if line.strip()]

    def clean_auth_method(self) -> str:
        return self.cleaned_data["auth_method"] if self.cleaned_data.get("kind") == "app" else ""

    def clean_jwks(self) -> Any:
        found = self.cleaned_data["jwks"]
        if found is not None and not isinstance(found, dict):
            raise forms.ValidationError(_("A JWK Set is an object: keys, and a list of them."))
        return found


class Hl7SourceForm(PlainForm):
    """A system that may send HL7 v2 messages."""

    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("Like RIS, or the patient index."))
    addresses = forms.CharField(
        label=_("Addresses"), required=False, widget=forms.Textarea(attrs={"rows": 2}), max_length=4000,
        help_text=_("One on each line, networks like 10.1.2.0/24 too."),
    )  # fmt: skip
    needs_tls = forms.BooleanField(label=_("Only over TLS, with a certificate of this hospital"), required=False)
    sending_application = forms.CharField(label=_("Sending application (MSH-3)"), max_length=64, required=False)
    sending_facility = forms.CharField(label=_("Sending facility (MSH-4)"), max_length=64, required=False)
    receiving_application = forms.CharField(label=_("Receiving application (MSH-5)"), max_length=64, required=False)
    receiving_facility = forms.CharField(label=_("Receiving facility (MSH-6)"), max_length=64, required=False)
    connection_id = forms.TypedChoiceField(
        label=_("Results of an AI platform"), required=False, coerce=int, empty_value=None,
        help_text=_("Then it may send results (ORU) of its own jobs, and nothing else."),
    )  # fmt: skip

    def __init__(self, *args: Any, connections: Sequence[tuple[int, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["connection_id"].choices = [("", _("no: orders, patients, merges")), *connections]  # type: ignore[attr-defined]

    def clean_addresses(self) -> list[str]:
        return str(self.cleaned_data["addresses"]).split()


class Hl7DestinationForm(PlainForm):
    """Where reports go as ORU."""

    prefix = "to"
    name = forms.CharField(label=_("Name"), max_length=64, help_text=_("Like EHR, or the interface engine."))
    host = forms.CharField(label=_("Host"), max_length=255)
    port = forms.IntegerField(label=_("Port"), min_value=1, max_value=65535)
    uses_tls = forms.BooleanField(label=_("Over TLS, with the certificate of this hospital"), required=False)
    sending_facility = forms.CharField(label=_("Sending facility (MSH-4)"), max_length=64, required=False)
    receiving_application = forms.CharField(label=_("Receiving application (MSH-5)"), max_length=64, required=False)
    receiving_facility = forms.CharField(label=_("Receiving facility (MSH-6)"), max_length=64, required=False)
    version = forms.ChoiceField(label=_("HL7 version"), choices=[("2.5.1", "2.5.1"), ("2.3.1", "2.3.1")])
    takes_preliminary = forms.BooleanField(label=_("Also what no radiologist has decided yet"), required=False, initial=True)


class MergeForm(PlainForm):
    """Two numbers of one person."""

    surviving = forms.CharField(label=_("Number that stays"), max_length=64, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    gone = forms.CharField(label=_("Number that is merged into it"), max_length=64, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class QueryTagForm(PlainForm):
    """An attribute that the hospital's systems may ask for."""

    tag = forms.CharField(
        label=_("Attribute"), max_length=64, help_text=_("Its keyword, like SliceThickness, or group and element, like 0018,0050."),
    )  # fmt: skip
    level = forms.ChoiceField(
        label=_("Level"), choices=[("study", _("study")), ("series", _("series")), ("instance", _("image"))],
        help_text=_("A study or series has the values of all its images."),
    )  # fmt: skip
    private_creator = forms.CharField(
        label=_("Private creator"), max_length=64, required=False, help_text=_("Of a private attribute only, as its maker writes it."),
    )  # fmt: skip
    vr = forms.ChoiceField(
        label=_("VR"), choices=[("", _("as in the dictionary")), *((vr, vr) for vr in sorted(VRS))], required=False,
        help_text=_("Needed for a private attribute."),
    )  # fmt: skip
