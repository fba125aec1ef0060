"""Checksums of objects: of the file, which the scrub compares, and of the data set in it, which tells a duplicate from the same again."""

import contextlib
import hashlib
import os

from imaging.header import FIRST_READ, HeaderError, meta_walk

CHUNK = 1 << 20


def file_digests(path: str | os.PathLike[str]) -> tuple[str, str]:
    """SHA-256 of a file, and of it without preamble and group 2: the sending AE stands there, so it differs between senders."""
    whole, dataset = hashlib.sha256(), hashlib.sha256()
    with open(path, "rb") as file:
        head = file.read(FIRST_READ)
        with contextlib.suppress(HeaderError):
            dataset.update(memoryview(head)[meta_walk(memoryview(head))[1] :])
        whole.update(head)
        while chunk := file.read(CHUNK):
            whole.update(chunk)
            dataset.update(chunk)
    return whole.hexdigest(), dataset.hexdigest()
