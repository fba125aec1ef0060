"""An S3 store (AWS, Ceph, MinIO, Swift s3api ...) by boto3, signature version 4. Imported only where one is configured.

A put is checked from both ends: the ETag of a plain or multipart object is an MD5 that we compute as well; where it is none
(SSE-KMS) the object is read back. The SHA-256 travels as metadata and is checked whenever the bytes come back.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from urllib3.exceptions import HTTPError

from imaging.storage.cache import Cache
from imaging.storage.errors import ObjectMissingError, StoreAwayError
from journal.faults import fault
from tenants.egress import EgressFailed, EgressRefused, address_check

CONNECT_SECONDS = 5
READ_SECONDS = 60
PART_BYTES = 16 << 20
CHECK_SECONDS = 60.0  # how long a look at the endpoint's address is good for
CHUNK = 1 << 20
T = TypeVar("T")
_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
GONE = {"404", "NoSuchKey", "NotFound"}


def bucket_open() -> "S3Bucket":
    """From the settings MEDHUB_OBJECTS_*."""
    return S3Bucket(
        name=settings.MEDHUB_OBJECTS_BUCKET, endpoint=settings.MEDHUB_OBJECTS_ENDPOINT, region=settings.MEDHUB_OBJECTS_REGION,
        access_key=settings.MEDHUB_OBJECTS_ACCESS_KEY, secret_key=settings.MEDHUB_OBJECTS_SECRET_KEY,
        cache=Cache(settings.MEDHUB_OBJECTS_CACHE, limit=settings.MEDHUB_OBJECTS_CACHE_BYTES),
    )  # fmt: skip


class S3Bucket:
    """`imaging.storage.remote.Bucket`. Thread safe, as boto3's clients are."""

    def __init__(self, *, name: str, endpoint: str, region: str, access_key: str, secret_key: str, cache: Cache) -> None:
        self.cache = cache
        self._name = name
        self._checked_at = -CHECK_SECONDS
        self._client = boto3.client(
            "s3", endpoint_url=endpoint or None, region_name=region, aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            config=Config(
                signature_version="s3v4", connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, max_pool_connections=16,
                retries={"total_max_attempts": 2, "mode": "standard"}, s3={"addressing_style": "path" if endpoint else "auto"},
                # newer checksums travel as trailers that many S3 servers do not know
                request_checksum_calculation="when_required", response_checksum_validation="when_required",
            ),
        )  # fmt: skip
        address = urlsplit(self._client.meta.endpoint_url)
        self._host, self._port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)

    def _call(self, work: Callable[[], T]) -> T:
        """What boto3 raises, in our two words. The texts hold no key and no answer of the server."""
        self._address_check()
        try:
            return work()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "?"))
            if code in GONE:
                raise ObjectMissingError from None
            raise StoreAwayError(f"the object store refused: {code[:40]}") from None
        except (Boto3Error, BotoCoreError, HTTPError) as error:
            raise StoreAwayError(f"the object store was not reached ({type(error).__name__})") from None

    def _address_check(self) -> None:
        if time.monotonic() - self._checked_at < CHECK_SECONDS:
            return
        try:
            address_check(host=self._host, port=self._port)
        except (EgressRefused, EgressFailed) as error:
            raise StoreAwayError(f"the object store: {error.user_message}") from None
        self._checked_at = time.monotonic()

    def put(self, key: str, path: Path, *, size: int, sha256: str) -> None:
        try:
            if self.verify(key, path, size=size, sha256=sha256):
                return  # an upload that was cut off before its row knew
        except ObjectMissingError:
            pass
        extra = {"Metadata": {"sha256": sha256}, "ContentType": "application/dicom"}
        transfer = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)
        self._call(lambda: self._client.upload_file(str(path), self._name, key, ExtraArgs=extra, Config=transfer))
        fault("upload.before_verify")
        if not self.verify(key, path, size=size, sha256=sha256):
            raise StoreAwayError("the object store keeps other bytes than it was given")

    def verify(self, key: str, path: Path, *, size: int, sha256: str) -> bool:
        """Are the bytes in the store those of the local file? Raises ObjectMissingError when there are none."""
        head = self._head(key)
        if head["ContentLength"] != size:
            return False
        etag = str(head.get("ETag", "")).strip('"')
        if _MD5.fullmatch(etag) and "ServerSideEncryption" not in head:
            return etag == etag_of(path)
        digest = hashlib.sha256()
        for chunk in self.stream(key, chunk=CHUNK):
            digest.update(chunk)
        return digest.hexdigest() == sha256

    def _head(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call(lambda: self._client.head_object(Bucket=self._name, Key=key))
        return found

    def fetch(self, key: str) -> Path:
        if (path := self.cache.hit(key)) is not None:
            return path
        with self.cache.filling(key) as draft:
            if (path := self.cache.hit(key)) is not None:  # somebody else was first
                return path
            self._call(lambda: self._download(key, draft))
            return self.cache.keep(key, draft)

    def _download(self, key: str, draft: Path) -> None:
        answer = self._client.get_object(Bucket=self._name, Key=key)
        digest = hashlib.sha256()
        with draft.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if answer.get("Metadata", {}).get("sha256") not in {None, digest.hexdigest()}:
            raise ObjectMissingError

    def stream(self, key: str, *, chunk: int) -> Iterator[bytes]:
        answer = self._call(lambda: self._client.get_object(Bucket=self._name, Key=key))
        pieces = answer["Body"].iter_chunks(chunk)
        while piece := self._call(lambda: next(pieces, b"")):
            yield piece

    def range(self, key: str, *, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        wanted = f"bytes={start}-{start + length - 1}"

        def read() -> bytes:
            body: bytes = self._client.get_object(Bucket=self._name, Key=key, Range=wanted)["Body"].read()
            return body

        return self._call(read)

    def size(self, key: str) -> int:
        return int(self._head(key)["ContentLength"])

    def delete(self, key: str) -> None:
        self._call(lambda: self._client.delete_object(Bucket=self._name, Key=key))

    def check(self) -> None:
        self._call(lambda: self._client.head_bucket(Bucket=self._name))


def etag_of(path: Path) -> str:
    """What S3 calls the file: MD5, or for an object put in parts the MD5 of their MD5s and their number. No security rests on it."""
    with path.open("rb") as file:
        if path.stat().st_size < PART_BYTES:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        digests = [hashlib.md5(part, usedforsecurity=False).digest() for part in iter(lambda: file.read(PART_BYTES), b"")]
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"
