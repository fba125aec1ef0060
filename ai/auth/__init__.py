"""How each platform wants to be asked: every scheme is an `ai.contract.Http` around another one. Platforms choose theirs."""
