"""Aidoc: triage of CT on its aiOS platform, by contract over the performer profile. No public interface."""

from ai.cards import AlgorithmCard, Card, Clearance, Source
from ai.wires.performer import PerformerPlatform

HEAD = frozenset({"HEAD", "BRAIN", "SKULL"})
NECK = frozenset({"CSPINE", "NECK", "HEADNECK", "SPINE"})
CHEST = frozenset({"CHEST", "THORAX", "CHESTABDOMEN", "CHESTABDPELVIS"})
SPINE = frozenset({"SPINE", "TSPINE", "LSPINE", "TLSPINE", "CHEST", "ABDOMEN", "CHESTABDOMEN", "CHESTABDPELVIS", "ABDOMENPELVIS"})
NO_TRIAGE = "a diagnosis, or leaving a study unread: every study is read in full, whether it is flagged or not"
TRIAGE_ONLY = "asks that a study be read first; gives no finding, and its silence is none either"


def _fda(number: str, scope: str, url: str) -> Clearance:
    source = Source(title=f"510(k) {number}", url=url)
    return Clearance(number=number, authority="FDA", scope=scope, date="", source=source)


FRACTURE = _fda("K203508", "cervical spine fracture, CT", "https://510k.innolitics.com/search/K203508")
EMBOLISM = _fda("K232751", "central pulmonary embolism, CT", "https://510k.innolitics.com/search/K232751")
COMPRESSION = _fda("K222692", "vertebral compression fracture, CT", "https://510k.innolitics.com/device/K222692")


class Aidoc(PerformerPlatform):
    card = Card(
        slug="aidoc",
        name="Aidoc",
        vendor="Aidoc",
        kind="samd-vendor",
        summary="The aiOS platform with the BriefCase line of CT triage, and a foundation model (CARE) for acute findings on abdominal CT.",
        algorithms=(
            AlgorithmCard(
                name="ich-triage", title="BriefCase ICH", modalities=frozenset({"CT"}), body_parts=HEAD, role="triage", is_contrast=False,
                clearance="FDA; the number was not verified by us", findings=("suspected intracranial haemorrhage",),
                intended_use=TRIAGE_ONLY, out_of_scope=NO_TRIAGE,
            ),
            AlgorithmCard(
                name="cspine-triage", title="BriefCase C-spine fracture", modalities=frozenset({"CT"}), body_parts=NECK, role="triage",
                clearance="FDA K203508", findings=("suspected cervical spine fracture",), intended_use=TRIAGE_ONLY, out_of_scope=NO_TRIAGE,
                clearances=(FRACTURE,),
            ),
            AlgorithmCard(
                name="pe-triage", title="BriefCase central PE", modalities=frozenset({"CT"}), body_parts=CHEST, role="triage",
                is_contrast=True, clearance="FDA K232751", findings=("suspected central pulmonary embolism",),
                intended_use=TRIAGE_ONLY, out_of_scope=NO_TRIAGE, clearances=(EMBOLISM,),
            ),
            AlgorithmCard(
                name="vcf-triage", title="BriefCase vertebral compression fracture", modalities=frozenset({"CT"}), body_parts=SPINE,
                role="triage", clearance="FDA K222692", findings=("suspected vertebral compression fracture",),
                intended_use=TRIAGE_ONLY, out_of_scope=NO_TRIAGE, clearances=(COMPRESSION,),
            ),
        ),
        source="https://510k.innolitics.com/device/K222692",
        interface=(
            "No public interface: by contract, over our performer profile. The vendor's own way is a server on site that filters and "
            "de-identifies, its cloud analyses, a desktop application shows the worklist."
        ),
        regions=(),
        sources=(FRACTURE.source, EMBOLISM.source, COMPRESSION.source),
        limits="The abdominal CARE findings are not offered: their numbers were not verified by us. Its interface was not seen by us.",
    )  # fmt: skip
