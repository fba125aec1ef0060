"""AWS HealthLake and its imaging sibling HealthImaging: FHIR and DICOMweb stores, asked with Signature Version 4."""

from collections.abc import Mapping

from ai.auth.sigv4 import SigV4Http
from ai.cards import Card, Setting, Source
from ai.contract import Http
from ai.wires.addresses import name_of, url_of
from ai.wires.stores import STORE, StorePlatform


class AwsHealthLake(StorePlatform):
    max_request_bytes = 1000**3  # HealthImaging takes 1 GB a request
    can_make_ids = True  # HealthLake creates on PUT
    bundle_end = "/"
    card = Card(
        slug="aws-healthlake",
        name="AWS HealthLake",
        vendor="Amazon Web Services",
        kind="archive",
        summary="A managed FHIR R4 store; its sibling AWS HealthImaging keeps DICOM. Neither looks at images.",
        algorithms=(STORE,),
        source="https://docs.aws.amazon.com/healthlake/latest/devguide/managing-fhir-resources-create.html",
        interface="FHIR REST at HealthLake, DICOMweb STOW/QIDO/WADO at HealthImaging, both signed with Signature Version 4.",
        is_public=True,
        regions=("the AWS region of your data stores",),
        residence="chosen",
        sources=(
            Source(title="HealthLake: resources", url="https://docs.aws.amazon.com/healthlake/latest/devguide/managing-fhir-resources-create.html"),
            Source(title="HealthLake: update", url="https://docs.aws.amazon.com/healthlake/latest/devguide/managing-fhir-resources-update.html"),
            Source(title="HealthImaging: DICOMweb", url="https://docs.aws.amazon.com/healthimaging/latest/devguide/using-dicomweb.html"),
        ),
        limits="A HealthLake data store has one strategy: this connection needs one with SigV4, not SMART on FHIR.",
    )  # fmt: skip
    settings = (
        Setting(name="region", label="AWS region", kind="text", default="us-east-1", help="of your data stores"),
        Setting(name="access_key", label="Access key id"),
        Setting(name="secret_key", label="Secret access key", kind="secret"),
        Setting(name="session_token", label="Session token", kind="secret", help="with temporary keys of STS", is_required=False),
        Setting(name="imaging_datastore", label="HealthImaging data store id", is_required=False),
        Setting(name="healthlake_datastore", label="HealthLake data store id", is_required=False),
        Setting(name="imaging_url", label="Other address of HealthImaging", kind="url", help="a VPC endpoint", is_required=False),
        Setting(name="healthlake_url", label="Other address of HealthLake", kind="url", help="a VPC endpoint", is_required=False),
    )

    def images_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        if not settings.get("imaging_datastore"):
            return None
        host = url_of(settings, "imaging_url", f"https://dicom-medical-imaging.{name_of(settings, 'region')}.amazonaws.com")
        return f"{host}/datastore/{name_of(settings, 'imaging_datastore')}", _signed(settings, http, "medical-imaging")

    def records_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        if not settings.get("healthlake_datastore"):
            return None
        host = url_of(settings, "healthlake_url", f"https://healthlake.{name_of(settings, 'region')}.amazonaws.com")
        return f"{host}/datastore/{name_of(settings, 'healthlake_datastore')}/r4", _signed(settings, http, "healthlake")


def _signed(settings: Mapping[str, str], http: Http, service: str) -> Http:
    return SigV4Http(
        http, access_key=settings.get("access_key", ""), secret_key=settings.get("secret_key", ""), region=name_of(settings, "region"),
        service=service, session_token=settings.get("session_token", ""),
    )  # fmt: skip
