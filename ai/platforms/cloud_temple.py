"""Cloud Temple's LLM as a service: an OpenAI-style chat on French, certified ground, by a bearer key."""

from collections.abc import Mapping

from ai.auth.bearer import BearerHttp
from ai.cards import Card, Setting, Source
from ai.contract import Handle, Http, Payload, Platform, Ways
from ai.findings import Answer
from ai.wires import chat
from ai.wires.addresses import url_of
from ai.wires.roles import role_apply, role_of


class CloudTemple(Platform):
    wire = "chat"
    patience_seconds = 120.0
    card = Card(
        slug="cloud-temple",
        name="Cloud Temple",
        vendor="Cloud Temple",
        kind="llm",
        summary="A French host (HDS certified, SecNumCloud 3.2 qualified) with general language models. It looks at no images.",
        algorithms=(chat.DRAFT,),
        source="https://cloud-temple.github.io/docs/en/llmaas",
        interface="OpenAI-style REST /v1/chat/completions; bearer key.",
        is_public=True,
        regions=("France",),
        residence="france",
        sources=(
            Source(title="LLMaaS", url="https://cloud-temple.github.io/docs/en/llmaas"),
            Source(
                title="Health data at Cloud Temple",
                url="https://www.cloud-temple.com/en/transparency-in-the-processing-of-health-data",
            ),
        ),
        limits="Tokens are metered and capped per month by the vendor's tiers; its S3 storage is not connected here.",
    )
    settings = (
        Setting(name="url", label="Address", kind="url", default="https://api.ai.cloud-temple.com/v1"),
        Setting(name="api_key", label="API key", kind="secret"),
        Setting(name="model", label="Model", default="gpt-oss:120b"),
    )

    def authenticated(self, settings: Mapping[str, str], http: Http) -> Http:
        return BearerHttp(http, settings.get("api_key", ""))

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        return "draft"  # nothing is kept there: the question and its answer are one request, made by poll

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        body = {"model": settings.get("model", ""), **chat.PLAIN}
        return chat.draft_fetch(handle, url=f"{url_of(settings, 'url')}/chat/completions", body=body, http=ways.http)

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        return role_apply(chat.draft_read(payload, algorithm), role_of(self.card, algorithm))

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        return chat.models_check(url=f"{url_of(settings, 'url')}/models", model=settings.get("model", ""), http=ways.http)
