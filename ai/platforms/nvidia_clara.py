"""NVIDIA Clara lives on as MONAI Deploy: an application of yours behind its Informatics Gateway; and as NIMs: VISTA-3D labels a CT."""

from collections.abc import Mapping
from dataclasses import replace

from ai.auth.bearer import BearerHttp
from ai.cards import AlgorithmCard, Card, Setting, Source
from ai.contract import Handle, Http, Mask, Payload, Platform, PlatformError, Ways
from ai.findings import Answer
from ai.wires import dicomweb, inference, nim
from ai.wires.addresses import name_of, url_of
from ai.wires.answers import answer_read
from ai.wires.roles import role_apply, role_of
from ai.wires.structures import DEFAULT, structures_asked

MAX_REQUEST_BYTES = 4 * 1000**3  # each POST starts the workflow: a study must go in one
VISTA3D, CT_IMAGE = "vista3d", "1.2.840.10008.5.1.4.1.1.2"
GATEWAY = "https://github.com/Project-MONAI/monai-deploy-informatics-gateway/blob/main/docs/api/rest"


class NvidiaClara(Platform):
    wire = "inference"
    card = Card(
        slug="nvidia-clara",
        name="NVIDIA Clara",
        vendor="NVIDIA; Project MONAI",
        kind="model-endpoint",
        summary="Clara's DICOM adapter became MONAI Deploy: you run your own application behind its gateway. It is no cleared device.",
        algorithms=(
            AlgorithmCard(
                name="monai-app",
                title="Your MONAI Deploy application",
                modalities=frozenset({"CT", "MR"}),
                body_parts=frozenset(),
                role="quantification",
                clearance="none: your application is yours to validate",
                findings=("measurements and regions that your application gives",),
                intended_use="what your own application is made for",
                out_of_scope="clinical decisions without your own validation",
            ),
            AlgorithmCard(
                name=VISTA3D,
                title="VISTA-3D segmentation",
                modalities=frozenset({"CT"}),
                body_parts=frozenset(),
                role="quantification",
                clearance="none: a building block, no cleared device; yours to validate",
                min_instances=10,
                findings=("volumes and masks of the structures that you choose",),
                sop_classes=frozenset({CT_IMAGE}),
                intended_use="volumes of normal anatomy in CT",
                out_of_scope="lesions, cysts, tumours (labels of them are not asked for); decisions without your own validation",
            ),
        ),
        source=f"{GATEWAY}/inference.md",
        history="Clara Deploy's DICOM Adapter continues as MONAI Deploy Informatics Gateway.",
        interface="STOW-RS to /dicomweb/<workflow>, or /inference (after ACR DSI) with its status; results by DICOMweb. No key built in. "
        "VISTA-3D NIM: /v1/vista3d/inference fetches one NIfTI volume by a one-time address and answers with a label map.",
        is_public=True,
        regions=("where you run it",),
        residence="own",
        sources=(
            Source(title="Clara DICOM Adapter", url="https://nvidia.github.io/clara-dicom-adapter"),
            Source(title="Gateway: inference", url=f"{GATEWAY}/inference.md"),
            Source(title="Gateway: DICOMweb STOW", url=f"{GATEWAY}/dicomweb-stow.md"),
            Source(title="VISTA-3D NIM", url="https://docs.nvidia.com/nim/medical/vista3d/api-reference.md"),
        ),
        limits="A connection goes one way: to the gateway, or to the NIM. The NIM was not run by us (it needs a large GPU); it is reached "
        "over TLS, and its image addresses are restricted, so yours must allow the hub's. Points as prompts and NRRD are not used.",
    )  # fmt: skip
    settings = (
        Setting(name="url", label="Gateway or NIM", kind="url"),
        Setting(name="workflow", label="Workflow or application id", is_required=False, help="not for a NIM"),
        Setting(
            name="way", label="How work goes out", kind="choice", default="push", choices=("push", "pull", "nim"),
            help="push: STOW-RS to the workflow; pull: /inference, the gateway fetches from us; nim: VISTA-3D, which fetches a volume",
        ),
        Setting(
            name="structures", label="Structures", default=DEFAULT, only_with=("way", "nim"),
            help="names of VISTA-3D, with commas between them; each is measured where the model labels it",
        ),
        Setting(
            name="results_url", label="DICOMweb of results", kind="url", is_required=False,
            help="where the application stores them; empty: it stores back to us",
        ),
        Setting(name="results_token", label="Token for it", kind="secret", is_required=False, help="given to the gateway for its STOW"),
        Setting(name="closing", label="Complete with", kind="choice", default="SR", choices=("SR", "SEG", "OT")),
        Setting(name="token", label="Token of a proxy before it", kind="secret", is_required=False),
        Setting(name="client_certificate", label="Our certificate (mutual TLS)", kind="pem", is_required=False),
        Setting(name="client_key", label="Its key", kind="secret", is_required=False),
    )  # fmt: skip

    def authenticated(self, settings: Mapping[str, str], http: Http) -> Http:
        return BearerHttp(http, settings.get("token", ""))

    def is_pushed(self, settings: Mapping[str, str]) -> bool:
        return settings.get("way") != "nim" and not settings.get("results_url")

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        base = url_of(settings, "url")
        if (handle.algorithm == VISTA3D) is not (settings.get("way") == "nim"):
            raise PlatformError("the connection goes another way than this algorithm needs (setting way)", is_permanent=True)
        if handle.algorithm == VISTA3D:
            return nim.volume_offer(handle, base_url=base, structures=structures_asked(settings), ways=ways)
        workflow = name_of(settings, "workflow")
        if settings.get("way") == "pull":
            results_url, token = inference.settings_results(handle, settings)
            return inference.inference_ask(
                handle, base_url=base, http=ways.http, workflow=workflow, results_url=results_url, results_token=token
            )
        dicomweb.instances_store(
            handle, base_url=f"{base}/dicomweb/{workflow}", http=ways.http, max_request_bytes=MAX_REQUEST_BYTES
        )
        return handle.study_uid

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        if settings.get("way") == "nim":
            return nim.labels_ask(handle, base_url=url_of(settings, "url"), structures=structures_asked(settings), ways=ways)
        is_pull = settings.get("way") == "pull"
        if is_pull and not inference.inference_ended(remote_id, base_url=url_of(settings, "url"), http=ways.http):
            return None
        found = dicomweb.results_fetch(
            handle, base_url=url_of(settings, "results_url"), http=self._results(settings, ways), folder=ways.folder,
            closing=settings.get("closing") or "SR",
        )  # fmt: skip
        if found is None and is_pull:  # it has ended, and there is nothing
            found = Payload(kind="none")
        return found and replace(found, sent=handle.sent)

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        is_map = payload.kind == "labels" and algorithm == VISTA3D
        answer = nim.labels_answer(payload, algorithm=algorithm) if is_map else answer_read(payload, algorithm=algorithm)
        return role_apply(answer, role_of(self.card, algorithm))

    def mask(self, payload: Payload, answer: Answer) -> Mask:
        return nim.labels_mask(payload)

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        if settings.get("way") == "nim":
            nim.ready_check(base_url=url_of(settings, "url"), http=ways.http)
            info = nim.info_read(base_url=url_of(settings, "url"), http=ways.http)
            nim.labels_check(info, structures_asked(settings))
            return f"the VISTA-3D NIM is up, model version {info.version or 'not stated'}"
        name_of(settings, "workflow")
        said = [inference.gateway_check(base_url=url_of(settings, "url"), http=ways.http)]
        if settings.get("results_url"):
            said.append(dicomweb.store_check(base_url=url_of(settings, "results_url"), http=self._results(settings, ways)))
        return "; ".join(said)

    def _results(self, settings: Mapping[str, str], ways: Ways) -> Http:
        return BearerHttp(ways.http, settings["results_token"]) if settings.get("results_token") else ways.http
