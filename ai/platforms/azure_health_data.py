"""Azure Health Data Services: the DICOM service (v2, change feed) and the FHIR service, asked with Entra ID tokens."""

from collections.abc import Mapping
from datetime import datetime

from ai.auth.entra import LOGIN, EntraHttp
from ai.cards import Card, Setting, Source
from ai.contract import Handle, Http
from ai.wires import dicomweb
from ai.wires.addresses import name_of, url_of
from ai.wires.stores import STORE, StorePlatform

AUDIENCE = "https://dicom.healthcareapis.azure.com/.default"


class AzureHealthData(StorePlatform):
    max_request_bytes = 2 * 1000**3  # the service takes 4 GB; half of it is sent again sooner when a connection breaks
    can_make_ids = True
    card = Card(
        slug="azure-health-data",
        name="Azure Health Data",
        vendor="Microsoft",
        kind="archive",
        summary="Azure Health Data Services: a DICOM service and a FHIR R4 service. Neither looks at images.",
        algorithms=(STORE,),
        source="https://learn.microsoft.com/azure/healthcare-apis/get-access-token",
        history="The older Azure API for FHIR ended on 30 September 2026; the MedTech service is deprecated and ends on 3 May 2028.",
        interface="DICOMweb v2 with a change feed, FHIR R4; Entra ID client credentials.",
        is_public=True,
        regions=("the Azure region of your workspace",),
        residence="chosen",
        sources=(
            Source(title="Access tokens", url="https://learn.microsoft.com/azure/healthcare-apis/get-access-token"),
            Source(
                title="DICOM service, conformance statement v2",
                url="https://github.com/MicrosoftDocs/azure-docs/blob/main/articles/healthcare-apis/dicom/dicom-services-conformance-statement-v2.md",
            ),
            Source(title="Retirement of Azure API for FHIR", url="https://learn.microsoft.com/azure/healthcare-apis/fhir/migration-faq"),
        ),
        limits="The DICOM service takes explicit-VR transfer syntaxes only. Foundry imaging models are not for clinical use: not offered.",
    )
    settings = (
        Setting(name="tenant", label="Directory (tenant) id"),
        Setting(name="client_id", label="Application (client) id"),
        Setting(name="client_secret", label="Client secret", kind="secret"),
        Setting(
            name="dicom_url", label="DICOM service", kind="url", is_required=False,
            help="https://<workspace>-<service>.dicom.azurehealthcareapis.com/v2",
        ),
        Setting(
            name="fhir_url", label="FHIR service", kind="url", is_required=False,
            help="https://<workspace>-<service>.fhir.azurehealthcareapis.com",
        ),
        Setting(name="login_url", label="Authority", kind="url", default=LOGIN, help="another one for national clouds", is_required=False),
    )  # fmt: skip

    def images_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        if not settings.get("dicom_url"):
            return None
        return url_of(settings, "dicom_url"), _entra(settings, http, AUDIENCE)

    def records_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        if not settings.get("fhir_url"):
            return None
        base = url_of(settings, "fhir_url")
        return base, _entra(settings, http, f"{base}/.default")

    def images_listed(self, handle: Handle, since: datetime, images: tuple[str, Http]) -> int:
        """By the change feed; what was there before this job, from an earlier try, by asking for the study."""
        count = dicomweb.change_feed_count(handle, since=since, base_url=images[0], http=images[1])
        return count if count >= len(handle.sop_uids) else super().images_listed(handle, since, images)


def _entra(settings: Mapping[str, str], http: Http, scope: str) -> Http:
    return EntraHttp(
        http, tenant=name_of(settings, "tenant"), client_id=settings.get("client_id", ""), secret=settings.get("client_secret", ""),
        scope=scope, login=url_of(settings, "login_url", LOGIN),
    )  # fmt: skip
