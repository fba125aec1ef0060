"""IDx-DR, today LumineticsCore: the autonomous reading of fundus photographs, by contract over the performer profile."""

from ai.cards import AlgorithmCard, Card, Clearance, Source
from ai.wires.performer import PerformerPlatform

SCOPE = "more than mild diabetic retinopathy, adults of 22 or older with diabetes and no known retinopathy, Topcon NW400"


def _fda(number: str, date: str) -> Clearance:
    source = Source(title=f"FDA {number}", url=f"https://510k.innolitics.com/search/{number}")
    return Clearance(number=number, authority="FDA", scope=SCOPE, date=date, source=source)


CLEARANCES = (_fda("DEN180001", "2018-04-11"), _fda("K203629", "2021-06-10"), _fda("K213037", "2022-06-17"))
OP_8_BIT, OP_16_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2"


class IdxDr(PerformerPlatform):
    card = Card(
        slug="idx-dr",
        name="IDx-DR",
        vendor="Digital Diagnostics",
        kind="samd-vendor",
        summary="LumineticsCore: autonomous detection of more than mild diabetic retinopathy in fundus photographs.",
        algorithms=(
            AlgorithmCard(
                name="dr-autonomous",
                title="LumineticsCore",
                modalities=frozenset({"OP"}),
                body_parts=frozenset({"EYE", "RETINA"}),
                role="autonomous",
                clearance="FDA De Novo DEN180001; later versions K203629, K213037",
                findings=("more than mild diabetic retinopathy detected", "not detected", "insufficient quality"),
                clearances=CLEARANCES,
                min_age_years=22,
                camera_models=frozenset({"NW400", "TRC-NW400"}),
                sop_classes=frozenset({OP_8_BIT, OP_16_BIT}),
                intended_use="autonomous detection in adults of 22 years or older with diabetes and no known diabetic retinopathy",
                out_of_scope="known retinopathy, or no diabetes: images do not say so, the order must; cameras other than Topcon NW400",
            ),
        ),
        source="https://www.digitaldiagnostics.com/newsroom/ai-alone-now-making-the-diagnosis",
        history="IDx-DR was renamed LumineticsCore; IDx is now Digital Diagnostics.",
        interface=(
            "No public interface (none for developers as of July 2026): by contract, over our performer profile. The vendor's own way "
            "is a client at the camera and integration with EHRs."
        ),
        regions=(),
        sources=(
            Source(title="Digital Diagnostics", url="https://www.digitaldiagnostics.com/newsroom/ai-alone-now-making-the-diagnosis"),
            *(one.source for one in CLEARANCES),
        ),
        limits="Exactly two results, or insufficient quality. Its interface was not seen by us.",
    )  # fmt: skip
