"""Checksums of objects: of the file, which the scrub compares, and of the data set in it, which tells a duplicate from the same again.

The second is made only when a SOP Instance UID comes again: two passes over every object would cost the index worker half its pace.
"""

import contextlib
import hashlib
import os

from imaging.header import FIRST_READ, HeaderError, meta_walk

CHUNK = 1 << 20


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dataset_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file without preamble and group 2: the sending AE stands there, so it differs between senders."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        head = file.read(FIRST_READ)
        with contextlib.suppress(HeaderError):
            head = head[meta_walk(memoryview(head))[1] :]
        digest.update(head)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
