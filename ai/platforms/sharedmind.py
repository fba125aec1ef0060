"""SharedMind: no product, company or interface of this name was found. The performer profile is what it could connect with."""

from ai.cards import AlgorithmCard, Card, Source
from ai.wires.performer import PerformerPlatform


class SharedMind(PerformerPlatform):
    card = Card(
        slug="sharedmind",
        name="SharedMind",
        vendor="not identified",
        kind="unavailable",
        summary="Not connected: the vendor publishes no interface, and no product of this name was found.",
        algorithms=(
            AlgorithmCard(
                name="by-contract",
                title="Algorithm by contract",
                modalities=frozenset({"CT", "MR", "CR", "DX", "MG"}),
                body_parts=frozenset(),
                role="quantification",
                clearance="none known",
                intended_use="whatever a contract with the vendor says; nothing is known of a product",
                out_of_scope="everything that is not in that contract",
            ),
        ),
        source="docs/platforms.md",
        interface="No public interface: not connected. Onboarding kit for a vendor of this name: our performer profile.",
        regions=(),
        sources=(Source(title="Our search and the performer profile", url="docs/platforms.md"),),
        limits="A connection needs a contract with a vendor whom you have identified yourselves.",
    )
