"""HL7's R4 definitions, trimmed to the types held here, and what is generated from them. Each maker is a developer's script."""
