"""Google's Cloud Healthcare API (DICOM and FHIR stores) and a model of yours on Vertex AI for wording, by a service account."""

from collections.abc import Mapping

from ai.auth.google import TOKEN_URL, GoogleHttp
from ai.cards import Card, Setting, Source
from ai.contract import Handle, Http, Payload, PlatformError, Ways
from ai.findings import Answer
from ai.wires import chat
from ai.wires.addresses import name_of, url_of
from ai.wires.roles import role_apply, role_of
from ai.wires.stores import STORE, StorePlatform

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
API = "https://healthcare.googleapis.com/v1"


class GoogleHealthAi(StorePlatform):
    max_request_bytes = 1000**3
    can_make_ids = False  # updateCreate is off unless somebody switched it on
    patience_seconds = 120.0
    card = Card(
        slug="google-health-ai",
        name="Google Health AI",
        vendor="Google",
        kind="archive",
        summary="Cloud Healthcare API (DICOM, FHIR stores) and open health models that you run on Vertex AI. None is a cleared device.",
        algorithms=(STORE, chat.DRAFT),
        source="https://cloud.google.com/healthcare-api/docs/reference/rest/v1/projects.locations.datasets.dicomStores",
        history="CXR Foundation, one of the open models, is now listed as legacy.",
        interface="DICOMweb, FHIR REST; Vertex AI chat completions of an endpoint of yours; service-account tokens.",
        is_public=True,
        regions=("the location of your dataset and endpoint",),
        residence="chosen",
        sources=(
            Source(
                title="Healthcare API, DICOM stores",
                url="https://cloud.google.com/healthcare-api/docs/reference/rest/v1/projects.locations.datasets.dicomStores",
            ),
            Source(title="Service accounts", url="https://developers.google.com/accounts/docs/OAuth2ServiceAccount"),
            Source(
                title="Health AI foundation models",
                url="https://developers.google.com/health-ai-developer-foundations/cxr-foundation/serving-api",
            ),
        ),
        limits="The open models' own terms apply (HAI-DEF). Image models are not offered here: they are not cleared.",
    )  # fmt: skip
    settings = (
        Setting(name="account", label="Service account key (JSON)", kind="secret"),
        Setting(name="project", label="Project"),
        Setting(name="location", label="Location"),
        Setting(name="dataset", label="Dataset", is_required=False),
        Setting(name="dicom_store", label="DICOM store", is_required=False),
        Setting(name="fhir_store", label="FHIR store", is_required=False),
        Setting(
            name="endpoint_url", label="Vertex AI endpoint for drafts", kind="url", is_required=False,
            help="up to and without /chat/completions",
        ),
        Setting(name="model", label="Model", is_required=False, help="as the endpoint names it"),
        Setting(name="api_url", label="Other address of the Healthcare API", kind="url", default=API, is_required=False),
        Setting(name="token_url", label="Other address for tokens", kind="url", default=TOKEN_URL, is_required=False),
    )  # fmt: skip

    def authenticated(self, settings: Mapping[str, str], http: Http) -> Http:
        return GoogleHttp(http, settings.get("account", ""), scopes=SCOPES, token_url=url_of(settings, "token_url", TOKEN_URL))

    def images_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        return _store(settings, http, "dicom_store", "dicomStores", "dicomWeb")

    def records_at(self, settings: Mapping[str, str], http: Http) -> tuple[str, Http] | None:
        return _store(settings, http, "fhir_store", "fhirStores", "fhir")

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        return "draft" if handle.algorithm == chat.DRAFT.name else super().send(handle, settings, ways)

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        if handle.algorithm != chat.DRAFT.name:
            return super().poll(remote_id, handle, settings, ways)
        url = f"{url_of(settings, 'endpoint_url')}/chat/completions"
        return chat.draft_fetch(handle, url=url, body={"model": settings.get("model", ""), **chat.PLAIN}, http=ways.http)

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        if algorithm != chat.DRAFT.name:
            return super().parse(payload, algorithm)
        return role_apply(chat.draft_read(payload, algorithm), role_of(self.card, algorithm))

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        said = []
        if settings.get("dicom_store") or settings.get("fhir_store"):
            said.append(super().check(settings, ways))
        if settings.get("endpoint_url"):
            url = f"{url_of(settings, 'endpoint_url')}/chat/completions"
            said.append(chat.model_check(url=url, body={"model": settings.get("model", "")}, http=ways.http))
        if not said:
            raise PlatformError("the connection names no store and no endpoint", is_permanent=True)
        return "; ".join(said)


def _store(settings: Mapping[str, str], http: Http, setting: str, kind: str, end: str) -> tuple[str, Http] | None:
    if not settings.get(setting):
        return None
    names = [name_of(settings, name) for name in ("project", "location", "dataset", setting)]
    base = url_of(settings, "api_url", API)
    return f"{base}/projects/{names[0]}/locations/{names[1]}/datasets/{names[2]}/{kind}/{names[3]}/{end}", http
