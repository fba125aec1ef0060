"""Stand-ins of the AI platforms for tests and demos: they enforce each wire's contract and invent nothing. A process of its own."""
