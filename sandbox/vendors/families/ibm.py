"""IBM Cloud IAM at /ibm/identity/token and watsonx.ai's text chat at /ibm/ml/v1/text/chat."""

import re
from urllib.parse import parse_qsl

from sandbox.http import Refusal, Reply, Request, Router, json_reply
from sandbox.vendors.families.chat import MODEL, completion
from sandbox.vendors.world import World

GRANT = "urn:ibm:params:oauth:grant-type:apikey"


def mount(router: Router, world: World) -> None:
    tokens = world.tokens["ibm"]

    def token(request: Request) -> Reply:
        form = dict(parse_qsl(request.body.decode()))
        if form.get("grant_type") != GRANT or form.get("apikey") != world.credentials.ibm_key:
            return json_reply({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."}, 400)
        seconds = world.token_seconds
        return json_reply({"token_type": "Bearer", "expires_in": int(seconds), "access_token": tokens.give("ml", seconds)})

    def versioned(request: Request) -> None:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", request.query.get("version", "")):
            raise Refusal(400, "version is mandatory")

    def chat(request: Request) -> Reply:
        tokens.check(request, "ml")
        versioned(request)
        if not (request.json.get("project_id") or request.json.get("space_id")):
            raise Refusal(400, "project_id or space_id is required")
        return completion(request.json, world)

    def models(request: Request) -> Reply:
        tokens.check(request, "ml")
        versioned(request)
        return json_reply({"resources": [{"model_id": MODEL}]})

    router.add("POST", "/ibm/identity/token", token)
    router.add("POST", "/ibm/ml/v1/text/chat", chat)
    router.add("GET", "/ibm/ml/v1/foundation_model_specs", models)
