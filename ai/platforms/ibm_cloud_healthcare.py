"""IBM Cloud Healthcare has no imaging product now; what is left is the FHIR server that IBM gave to LinuxForHealth, run by yourselves."""

from collections.abc import Mapping

from ai.auth.basic import BasicHttp
from ai.auth.bearer import BearerHttp
from ai.cards import Card, Setting, Source
from ai.contract import Http
from ai.wires.addresses import url_of
from ai.wires.stores import STORE, StorePlatform


class IbmCloudHealthcare(StorePlatform):
    wire = "fhir"
    can_make_ids = True  # its default (updateCreateEnabled)
    card = Card(
        slug="ibm-cloud-healthcare",
        name="IBM Cloud Healthcare",
        vendor="IBM; LinuxForHealth",
        kind="archive",
        summary="No current imaging product was found. The IBM FHIR Server lives on as LinuxForHealth FHIR, which you run yourselves.",
        algorithms=(STORE,),
        source="https://github.com/LinuxForHealth/FHIR/releases",
        history="The IBM FHIR Server became LinuxForHealth FHIR; users question its road map.",
        interface="FHIR R4 REST of a server of yours; user and password, or a bearer token.",
        is_public=True,
        regions=("where you run it",),
        residence="own",
        sources=(
            Source(title="LinuxForHealth FHIR releases", url="https://github.com/LinuxForHealth/FHIR/releases"),
            Source(title="Its road map, asked", url="https://github.com/LinuxForHealth/FHIR/issues/4228"),
        ),
        limits="Takes the study's record only, no images.",
    )
    settings = (
        Setting(name="fhir_url", label="FHIR server", kind="url"),
        Setting(name="auth", label="Authentication", kind="choice", default="basic", choices=("basic", "bearer")),
        Setting(name="user", label="User", only_with=("auth", "basic")),
        Setting(name="password", label="Password", kind="secret", only_with=("auth", "basic")),
        Setting(name="token", label="Token", kind="secret", only_with=("auth", "bearer")),
    )

    def authenticated(self, settings: Mapping[str, str], http: Http) -> Http:
        if settings.get("auth") == "bearer":
            return BearerHttp(http, settings.get("token", ""))
        return BasicHttp(http, settings.get("user", ""), settings.get("password", ""))

    def records_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        return url_of(settings, "fhir_url"), http
