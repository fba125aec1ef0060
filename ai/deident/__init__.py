"""De-identification of what is sent to a platform, re-identification of what comes back, and the gate between them.

Files and bytes in, files and bytes out: no database, no network, no settings. `ai.dispatch` and `ai.results` call it.
"""
