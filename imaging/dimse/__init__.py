"""The DIMSE door (PS3.7, PS3.8): sockets in, `imaging.associations` and `imaging.ingest` behind callables."""
