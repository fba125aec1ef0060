"""The Hub Performer Profile: how a platform without a public interface connects, by contract. The base of such platforms.

Work goes out as a UPS-RS workitem, by STOW-RS, by C-STORE or as a signed task; answers come by themselves (STOW-RS, C-STORE,
workitem, signed hook) or are fetched (their DICOMweb, their FHIR, the task's state).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from ai.auth.apikey import ApiKeyHttp
from ai.auth.basic import BasicHttp
from ai.auth.bearer import BearerHttp
from ai.cards import Setting
from ai.contract import Handle, Http, Payload, Platform, PlatformError, Ways
from ai.findings import Answer
from ai.wires import dicomweb, dimse, fhir, tasks, ups
from ai.wires.addresses import url_of
from ai.wires.answers import answer_read
from ai.wires.replies import status_check
from ai.wires.roles import role_apply, role_of

SETTINGS = (
    Setting(name="contract", label="Contract", help="number or name of your agreement with the vendor: it has no public interface"),
    Setting(
        name="way", label="How work goes out", kind="choice", default="ups", choices=("ups", "stow", "dimse", "task"),
        help="ups: the vendor claims from our worklist; stow, dimse: we push the images; task: we announce, the vendor fetches",
    ),
    Setting(name="dicomweb_url", label="Vendor's DICOMweb", kind="url", only_with=("way", "stow")),
    Setting(name="host", label="Vendor's node: host", kind="host", only_with=("way", "dimse")),
    Setting(name="port", label="Port", kind="port", default="2762", only_with=("way", "dimse")),
    Setting(name="called_ae", label="Vendor's AE title", kind="ae_title", only_with=("way", "dimse")),
    Setting(name="calling_ae", label="Our AE title for this vendor", kind="ae_title", only_with=("way", "dimse")),
    Setting(name="dicom_tls", label="DICOM TLS", kind="choice", default="yes", choices=("yes", "no"), only_with=("way", "dimse")),
    Setting(name="task_url", label="Vendor's address for tasks", kind="url", only_with=("way", "task")),
    Setting(
        name="answer", label="How answers come", kind="choice", default="pushed", choices=("pushed", "dicomweb", "fhir", "task"),
        help="pushed: STOW-RS, C-STORE, workitem or signed hook; dicomweb, fhir: we ask the vendor's server; task: we ask for the task",
    ),
    Setting(
        name="return_ae", label="Our AE title for results", kind="ae_title", is_required=False, only_with=("answer", "pushed"),
        help="results by C-STORE come to it, and nothing else does",
    ),
    Setting(
        name="return_from_ae", label="Vendor's sending AE", kind="ae_title", is_required=False, only_with=("answer", "pushed")
    ),
    Setting(
        name="return_addresses", label="Vendor's addresses", is_required=False, only_with=("answer", "pushed"),
        help="that results by C-STORE come from: addresses and networks, with commas between them",
    ),
    Setting(
        name="return_tls", label="Results over DICOM TLS only", kind="choice", default="no", choices=("yes", "no"),
        only_with=("answer", "pushed"), help="yes: with a client certificate of this hospital; addresses may stay empty then",
    ),
    Setting(name="answer_url", label="Vendor's DICOMweb for answers", kind="url", only_with=("answer", "dicomweb")),
    Setting(
        name="closing", label="Complete with", kind="choice", default="SR", choices=("SR", "SEG", "DOC", "OT", "PR"),
        help="the answer is taken when a series of this modality is there", only_with=("answer", "dicomweb"),
    ),
    Setting(name="fhir_url", label="Vendor's FHIR server", kind="url", only_with=("answer", "fhir")),
    Setting(name="auth", label="Authentication", kind="choice", default="bearer", choices=("none", "bearer", "basic", "apikey")),
    Setting(name="token", label="Token", kind="secret", only_with=("auth", "bearer")),
    Setting(name="user", label="User", only_with=("auth", "basic")),
    Setting(name="password", label="Password", kind="secret", only_with=("auth", "basic")),
    Setting(name="key_header", label="Header of the key", default="X-Api-Key", only_with=("auth", "apikey")),
    Setting(name="key", label="Key", kind="secret", only_with=("auth", "apikey")),
    Setting(
        name="hook_secret", label="Secret of signatures", kind="secret", help="signs our tasks and the vendor's hooks", is_required=False
    ),
    Setting(name="client_certificate", label="Our certificate (mutual TLS)", kind="pem", is_required=False),
    Setting(name="client_key", label="Its key", kind="secret", is_required=False),
)  # fmt: skip
MAX_REQUEST_BYTES = 500 * 1024**2


class PerformerPlatform(Platform):
    """`wire` names the family by default; each connection's `way` decides."""

    settings: ClassVar[tuple[Setting, ...]] = SETTINGS
    wire = "performer"

    def authenticated(self, settings: Mapping[str, str], http: Http) -> Http:
        kind = settings.get("auth", "none")
        if kind == "bearer":
            return BearerHttp(http, settings.get("token", ""))
        if kind == "basic":
            return BasicHttp(http, settings.get("user", ""), settings.get("password", ""))
        if kind == "apikey":
            return ApiKeyHttp(http, header=settings.get("key_header") or "X-Api-Key", key=settings.get("key", ""))
        return http

    def is_pushed(self, settings: Mapping[str, str]) -> bool:
        return settings.get("answer", "pushed") == "pushed"

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        """Returns the workitem's UID, our job's id, or the place of the study's record at the vendor's FHIR server."""
        way = settings.get("way", "")
        if way == "ups":
            return ups.workitem_offer(handle, ways, label=f"{self.card.name}: {handle.algorithm}")
        if way == "dimse":
            remote_id = dimse.images_store(handle, settings, ways)
        elif way == "stow":
            dicomweb.instances_store(
                handle, base_url=url_of(settings, "dicomweb_url"), http=ways.http, max_request_bytes=MAX_REQUEST_BYTES
            )
            remote_id = handle.study_uid
        elif way == "task":
            remote_id = tasks.task_post(handle, url=url_of(settings, "task_url"), http=ways.http, secret=_secret(settings))
        else:
            raise PlatformError("the connection does not say how work goes out", is_permanent=True)
        if settings.get("answer") == "fhir":
            return _record(handle, settings, ways)
        return remote_id

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        answer = settings.get("answer")
        if answer == "dicomweb":
            found = dicomweb.results_fetch(
                handle, base_url=url_of(settings, "answer_url"), http=ways.http, folder=ways.folder,
                closing=settings.get("closing") or "SR",
            )  # fmt: skip
        elif answer == "fhir":
            found = fhir.reports_fetch(remote_id, handle, base_url=url_of(settings, "fhir_url"), http=ways.http)
        elif answer == "task":
            found = tasks.task_answer(handle.idempotency_key, url=url_of(settings, "task_url"), http=ways.http)
        else:
            return None
        return found and replace(found, sent=handle.sent)

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        return role_apply(answer_read(payload, algorithm=algorithm), role_of(self.card, algorithm))

    def cancel(self, remote_id: str, settings: Mapping[str, str], ways: Ways) -> None:
        if settings.get("way") == "ups":
            ups.workitem_withdraw(remote_id, ways)
        elif settings.get("way") == "task":
            tasks.task_cancel(remote_id, url=url_of(settings, "task_url"), http=ways.http)

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        """Ask whatever of the vendor's this connection will talk to."""
        said = []
        if settings.get("way") == "dimse":
            said.append(dimse.node_check(settings, ways))
        if settings.get("way") == "stow":
            said.append(dicomweb.store_check(base_url=url_of(settings, "dicomweb_url"), http=ways.http))
        if "task" in {settings.get("way"), settings.get("answer")}:
            said.append(_task_check(settings, ways))
        if settings.get("answer") == "dicomweb" and settings.get("answer_url") != settings.get("dicomweb_url"):
            said.append(dicomweb.store_check(base_url=url_of(settings, "answer_url"), http=ways.http))
        if settings.get("answer") == "fhir":
            said.append(fhir.server_check(base_url=url_of(settings, "fhir_url"), http=ways.http))
        return "; ".join(said) or "nothing to call: the vendor claims its work from our worklist and brings the answer"


def _secret(settings: Mapping[str, str]) -> str:
    if not settings.get("hook_secret"):
        raise PlatformError("tasks are signed: the connection needs a secret of signatures", is_permanent=True)
    return settings["hook_secret"]


def _record(handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
    """The study's record at the vendor's FHIR server, and a subscription where we can be called."""
    base = url_of(settings, "fhir_url")
    place = fhir.bundle_send(handle, base_url=base, http=ways.http, can_make_ids=True)
    if handle.hook_url:
        fhir.subscription_ask(place, base_url=base, http=ways.http, endpoint=handle.hook_url)
    return place


def _task_check(settings: Mapping[str, str], ways: Ways) -> str:
    """A task that nobody has: a vendor that takes our key says 404."""
    status, _, _ = ways.http.request("GET", f"{url_of(settings, 'task_url')}/none", headers={"Accept": "application/json"})
    if status != 404:
        status_check(status, what="the question for a task")
    return "the vendor's task address answered"
