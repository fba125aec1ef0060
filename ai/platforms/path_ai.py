"""PathAI: whole-slide pathology on AISight, by contract over the performer profile. No public interface."""

from ai.cards import AlgorithmCard, Card, Clearance, Source
from ai.wires.performer import PerformerPlatform

DX = Source(
    title="510(k) K243391",
    url="https://fda.innolitics.com/submissions/PA/subpart-d%E2%80%94pathology-instrumentation-and-accessories/QKQ/K243391",
)
NOVO = Source(title="510(k) K212361", url="https://510k.innolitics.com/search/K212361")


class PathAi(PerformerPlatform):
    card = Card(
        slug="path-ai",
        name="Path.AI",
        vendor="PathAI",
        kind="samd-vendor",
        summary="AISight, a system to manage and view whole slides, with algorithms for research beside it.",
        algorithms=(
            AlgorithmCard(
                name="slide-analysis",
                title="Algorithms on AISight",
                modalities=frozenset({"SM"}),
                body_parts=frozenset(),
                role="quantification",
                clearance="none for the algorithms: FDA K243391 covers viewing and management of slides only",
                findings=("overlays and scores, as agreed with the vendor",),
                clearances=(
                    Clearance(
                        number="K243391", authority="FDA", scope="AISight Dx: viewing and management of slides, not its algorithms",
                        date="2025-06-26", source=DX,
                    ),
                    Clearance(number="K212361", authority="FDA", scope="Novo, the earlier viewer", date="2022-08-11", source=NOVO),
                ),
                intended_use="research use of the vendor's slide algorithms",
                out_of_scope="primary diagnosis by the algorithms",
            ),
        ),
        source=DX.url,
        interface="No public interface: by contract, over our performer profile. AISight takes DICOM whole-slide images, SVS and NDPI.",
        regions=(),
        sources=(DX, NOVO),
        limits="Only DICOM whole-slide images (SM) can be sent. Its interface was not seen by us.",
    )  # fmt: skip
