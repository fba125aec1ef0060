"""IBM Watson today is watsonx.ai, a host of language models: drafts of wording, by an IBM Cloud API key."""

from collections.abc import Mapping
from urllib.parse import urlencode

from ai.auth.ibm_iam import IAM, IbmIamHttp
from ai.cards import Card, Setting, Source
from ai.contract import Handle, Http, Payload, Platform, Ways
from ai.findings import Answer
from ai.wires import chat
from ai.wires.addresses import name_of, url_of
from ai.wires.replies import object_read, status_check
from ai.wires.roles import role_apply, role_of


class IbmWatson(Platform):
    wire = "chat"
    patience_seconds = 120.0
    card = Card(
        slug="ibm-watson",
        name="IBM Watson",
        vendor="IBM",
        kind="llm",
        summary="watsonx.ai hosts language models. It looks at no images; here it may word an impression and nothing else.",
        algorithms=(chat.DRAFT,),
        source="https://www.ibm.com/watsonx/developer/get-started/quick-start",
        history="Watson Health's data and imaging assets went to Francisco Partners (announced January 2022). IBM has no imaging AI now.",
        interface="REST /ml/v1/text/chat; IBM Cloud IAM.",
        is_public=True,
        regions=("the watsonx.ai region that you choose",),
        residence="chosen",
        sources=(
            Source(title="watsonx.ai quick start", url="https://www.ibm.com/watsonx/developer/get-started/quick-start"),
            Source(title="watsonx REST API", url="https://www.ibm.com/docs/en/watsonx/saas?topic=resources-rest-api"),
            Source(
                title="Sale of Watson Health",
                url="https://radiologybusiness.com/topics/artificial-intelligence/ibm-sell-watson-health-assets-private-equity",
            ),
        ),
    )
    settings = (
        Setting(name="api_key", label="IBM Cloud API key", kind="secret"),
        Setting(name="url", label="Address", kind="url", default="https://us-south.ml.cloud.ibm.com", help="of your region"),
        Setting(name="project_id", label="Project id"),
        Setting(name="model_id", label="Model", help="as your project lists it"),
        Setting(name="version", label="API version", default="2025-02-06", help="a date, as IBM wants it with each request"),
        Setting(name="iam_url", label="Other address of IAM", kind="url", default=IAM, is_required=False),
    )

    def authenticated(self, settings: Mapping[str, str], http: Http) -> Http:
        return IbmIamHttp(http, settings.get("api_key", ""), iam=url_of(settings, "iam_url", IAM))

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        return "draft"  # nothing is kept there: the question and its answer are one request, made by poll

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        body = {"model_id": settings.get("model_id", ""), "project_id": settings.get("project_id", "")}
        return chat.draft_fetch(handle, url=_url(settings, "text/chat"), body=body, http=ways.http)

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        return role_apply(chat.draft_read(payload, algorithm), role_of(self.card, algorithm))

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        status, _, body = ways.http.request("GET", _url(settings, "foundation_model_specs"), headers={"Accept": "application/json"})
        status_check(status, what="the question for models")
        known = object_read(body).get("resources")
        models = {str(one.get("model_id")) for one in known if isinstance(one, dict)} if isinstance(known, list) else set()
        return "watsonx.ai answered" + ("" if settings.get("model_id") in models else ", but does not list the model")


def _url(settings: Mapping[str, str], path: str) -> str:
    return f"{url_of(settings, 'url')}/ml/v1/{path}?{urlencode({'version': name_of(settings, 'version')})}"
