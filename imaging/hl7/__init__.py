"""HL7 v2 over MLLP, inbound: who sends, what came, orders and merges, acknowledgements. Message types are wired in medhub/flow.py."""
