"""The modality worklist (PS3.4 Annex K): keys, statement and answers over orders and their scheduled steps."""
