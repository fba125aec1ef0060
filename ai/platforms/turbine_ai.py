"""Turbine: simulation of cancer cells for drug discovery. No imaging, no clinical product; the performer profile is all there could be."""

from ai.cards import AlgorithmCard, Card, Source
from ai.wires.performer import PerformerPlatform


class TurbineAi(PerformerPlatform):
    card = Card(
        slug="turbine-ai",
        name="Turbine AI",
        vendor="Turbine (Budapest)",
        kind="unavailable",
        summary="Not connected: Turbine's Simulated Cell serves drug discovery. No imaging, no clinical product, no interface.",
        algorithms=(
            AlgorithmCard(
                name="by-contract",
                title="Algorithm by contract",
                modalities=frozenset({"SM", "CT", "MR"}),
                body_parts=frozenset(),
                role="quantification",
                clearance="none: no clinical product",
                intended_use="research under a contract with the vendor; nothing of the kind is offered publicly",
                out_of_scope="patient care",
            ),
        ),
        source="https://www.genengnews.com/gen-edge/turbine-announces-e20-million-series-a-behind-digital-cell-platform/",
        interface="No public interface: not connected. Onboarding kit: our performer profile.",
        regions=(),
        sources=(
            Source(
                title="Turbine\'s Simulated Cell",
                url="https://www.genengnews.com/gen-edge/turbine-announces-e20-million-series-a-behind-digital-cell-platform/",
            ),
        ),
        limits="A connection needs a contract with the vendor.",
    )
