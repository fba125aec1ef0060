"""Viz.ai: notification-only triage of CT, and CT perfusion, by contract over the performer profile. No public interface."""

from ai.cards import AlgorithmCard, Card, Clearance, Source
from ai.wires.performer import PerformerPlatform

HEAD = frozenset({"HEAD", "BRAIN", "SKULL", "HEADNECK", "NECK"})
ABDOMEN = frozenset({"ABDOMEN", "ABDOMENPELVIS", "AORTA", "CHESTABDOMEN", "CHESTABDPELVIS"})
NO_TRIAGE = "a diagnosis, or leaving a study unread: every study is read in full, whether it is flagged or not"
TRIAGE_ONLY = "asks that a study be read first (21 CFR 892.2080); gives no finding, and its silence is none either"


def _fda(number: str, scope: str) -> Clearance:
    source = Source(title=f"510(k) {number}", url=f"https://510k.innolitics.com/search/{number}")
    return Clearance(number=number, authority="FDA", scope=scope, date="", source=source)


class VizAi(PerformerPlatform):
    card = Card(
        slug="viz-ai",
        name="Viz.ai",
        vendor="Viz.ai",
        kind="samd-vendor",
        summary="Triage and notification for CT, and processing of CT perfusion. Alerts go to the vendor's own mobile application.",
        algorithms=(
            AlgorithmCard(
                name="lvo-triage", title="Viz LVO", modalities=frozenset({"CT"}), body_parts=HEAD, role="triage", is_contrast=True,
                clearance="FDA K223042", findings=("suspected large vessel occlusion",), intended_use=TRIAGE_ONLY,
                out_of_scope=NO_TRIAGE,
                clearances=(_fda("K223042", "large vessel occlusion, CT angiography; first granted as DEN170073"),),
            ),
            AlgorithmCard(
                name="ich-triage", title="Viz ICH", modalities=frozenset({"CT"}), body_parts=HEAD, role="triage", is_contrast=False,
                clearance="FDA K193658, K210209", findings=("suspected intracranial haemorrhage",), intended_use=TRIAGE_ONLY,
                clearances=(
                    _fda("K193658", "intracranial haemorrhage, non-contrast CT; contraindicated for scanners other than GE's"),
                    _fda("K210209", "intracranial haemorrhage, non-contrast CT"),
                ),
                out_of_scope=f"{NO_TRIAGE}; under K193658 alone: scanners of other makers than GE",
            ),
            AlgorithmCard(
                name="aaa-triage", title="Viz AAA", modalities=frozenset({"CT"}), body_parts=ABDOMEN, role="triage", is_contrast=True,
                clearance="FDA K223443", findings=("suspected abdominal aortic aneurysm",), intended_use=TRIAGE_ONLY,
                out_of_scope=NO_TRIAGE,
                clearances=(_fda("K223443", "abdominal aortic aneurysm, CT angiography"),),
            ),
            AlgorithmCard(
                name="ct-perfusion", title="Viz CTP", modalities=frozenset({"CT"}), body_parts=HEAD, role="quantification",
                is_contrast=True, clearance="FDA K180161", findings=("perfusion maps",),
                intended_use="processing of CT perfusion into maps",
                clearances=(_fda("K180161", "CT perfusion processing"),),
            ),
        ),
        source="https://510k.innolitics.com/search/K223042",
        interface=(
            "No public interface: by contract, over our performer profile. The vendor receives DICOM from a modality, a local node or a "
            "PACS; CT perfusion comes back as DICOM, alerts go to its application."
        ),
        regions=(),
        sources=tuple(
            Source(title=f"510(k) {number}", url=f"https://510k.innolitics.com/search/{number}")
            for number in ("K223042", "K193658", "K210209", "K223443", "K180161")
        ),
        limits="Contrast must be stated in the images, else nothing is sent. Its interface was not seen by us.",
    )  # fmt: skip
