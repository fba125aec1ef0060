"""Google's token endpoint at /google/token, the Healthcare API's DICOM and FHIR stores at /google/v1/..., Vertex chat beside them."""

import time
from urllib.parse import parse_qsl

from sandbox.http import Refusal, Reply, Request, Router, json_reply
from sandbox.vendors.archive import Archive
from sandbox.vendors.families.chat import completion
from sandbox.vendors.fhirstore import FhirStore
from sandbox.vendors.proofs import jwt_read
from sandbox.vendors.world import World

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
DATASET = "/google/v1/projects/p1/locations/l1/datasets/d1"
AUDIENCE = "https://oauth2.googleapis.com/token"
MAX_LIFE, SKEW = 3600, 300


def mount(router: Router, world: World) -> None:
    tokens = world.tokens["google"]

    def token(request: Request) -> Reply:
        form = dict(parse_qsl(request.body.decode()))
        if form.get("grant_type") != GRANT:
            return json_reply({"error": "unsupported_grant_type"}, 400)
        claims = jwt_read(form.get("assertion", ""), world.google_public)
        now = time.time()
        start, end = float(claims.get("iat", 0)), float(claims.get("exp", 0))
        if claims.get("aud") != AUDIENCE or claims.get("iss") != world.credentials.google_email:
            raise Refusal(400, "invalid_grant: not for us, or from nobody we know")
        if end - start > MAX_LIFE or abs(now - start) > SKEW or end < now:
            raise Refusal(400, "invalid_grant: the times are wrong")
        if SCOPE not in str(claims.get("scope", "")).split():
            raise Refusal(400, "invalid_scope")
        seconds = world.token_seconds
        return json_reply({"token_type": "Bearer", "expires_in": int(seconds), "access_token": tokens.give("cloud", seconds)})

    def guard(request: Request) -> None:
        tokens.check(request, "cloud")

    def chat(request: Request) -> Reply:
        guard(request)
        return completion(request.json, world)

    router.add("POST", "/google/token", token)
    Archive().mount(router, f"{DATASET}/dicomStores/s1/dicomWeb", guard)
    FhirStore(can_make_ids=False, end="").mount(router, f"{DATASET}/fhirStores/f1/fhir", guard)
    router.add("POST", "/google/v1/projects/p1/locations/l1/endpoints/e1/chat/completions", chat)
