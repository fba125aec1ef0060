"""Entra ID's token endpoint at /azure-login, the DICOM service (v2, change feed) at /azure/dicom/v2, FHIR at /azure/fhir."""

from urllib.parse import parse_qsl

from sandbox.http import Refusal, Reply, Request, Router, json_reply
from sandbox.vendors.archive import Archive
from sandbox.vendors.fhirstore import FhirStore
from sandbox.vendors.world import World

DICOM = "https://dicom.healthcareapis.azure.com"


def mount(router: Router, world: World) -> None:
    tokens = world.tokens["azure"]

    def discovery(_: Request) -> Reply:
        base = f"{world.url}/azure-login"
        return json_reply(
            {
                "issuer": f"{base}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            }
        )

    def token(request: Request) -> Reply:
        form = dict(parse_qsl(request.body.decode()))
        kept = world.credentials
        if form.get("grant_type") != "client_credentials":
            return json_reply({"error": "unsupported_grant_type"}, 400)
        if (form.get("client_id"), form.get("client_secret")) != (kept.azure_client, kept.azure_secret):
            return json_reply({"error": "invalid_client", "error_description": "a secret that must not be repeated"}, 401)
        audience = {f"{DICOM}/.default": "dicom", f"{world.url}/azure/fhir/.default": "fhir"}.get(form.get("scope", ""))
        if audience is None:
            return json_reply({"error": "invalid_scope"}, 400)
        seconds = world.token_seconds
        return json_reply({"token_type": "Bearer", "expires_in": int(seconds), "access_token": tokens.give(audience, seconds)})

    def dicom(request: Request) -> None:
        tokens.check(request, "dicom")
        if request.method == "POST" and "application/dicom+json" not in request.headers.get("accept", ""):
            raise Refusal(406, "only application/dicom+json is given")

    router.add("GET", "/azure-login/v2.0/.well-known/openid-configuration", discovery)
    router.add("POST", "/azure-login/oauth2/v2.0/token", token)
    Archive(is_strict=True).mount(router, "/azure/dicom/v2", dicom)
    FhirStore().mount(router, "/azure/fhir", lambda request: tokens.check(request, "fhir"))
