"""Arterys, today Tempus Pixel: cardiac MR by contract, over the performer profile. No public interface."""

from ai.cards import AlgorithmCard, Card, Clearance, Source
from ai.wires.performer import PerformerPlatform

DEVICE = Source(title="Arterys Cardio AI", url="https://app.medtekki.no/devices/arterys-cardio-ai")
HEART = frozenset({"HEART", "CARDIAC", "CHEST"})


class Arterys(PerformerPlatform):
    card = Card(
        slug="arterys",
        name="Arterys",
        vendor="Tempus AI",
        kind="samd-vendor",
        summary="Cardiac MR analysis, sold as Tempus Pixel since Tempus bought Arterys.",
        algorithms=(
            AlgorithmCard(
                name="cardiac-mr",
                title="Cardiac MR analysis (Pixel Cardio)",
                modalities=frozenset({"MR"}),
                body_parts=HEART,
                role="quantification",
                clearance="FDA K252539 (2025)",
                findings=("ventricular volumes and function", "T1 and T2 maps"),
                clearances=(Clearance(number="K252539", authority="FDA", scope="cardiac MR", date="2025", source=DEVICE),),
                intended_use="quantification of cardiac MR, as the vendor's labelling says",
                out_of_scope="lung, chest and musculoskeletal products of the vendor: not verified, not offered",
            ),
        ),
        source="https://theimagingwire.com/2022/10/05/arterys-and-tempus-precision-merger",
        history="Acquired by Tempus in October 2022. Its Cardio DL was cleared in January 2017, the first in the cloud.",
        interface=(
            "No public interface: by contract, over our performer profile. The vendor's own way is an on-site service that strips "
            "identity, uploads over HTTPS and returns Secondary Capture and encapsulated PDF to DICOM nodes."
        ),
        regions=(),
        sources=(
            Source(title="Arterys and Tempus", url="https://theimagingwire.com/2022/10/05/arterys-and-tempus-precision-merger"),
            DEVICE,
        ),
        limits="Its interface was not seen by us; what the vendor agrees to is what holds.",
    )  # fmt: skip
