"""A real S3 server for tests: Swift in a process of its own (`tests.swift_server`), and the settings that point at it."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from medhub.stack import ROOT, _die_with_parent

ACCESS, SECRET, BUCKET = "test:tester", "testing-secret", "medhub"
START_SECONDS = 30


class SwiftServer:
    """Start, stop and start again on the same port: what it holds stays."""

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("swift") is None:
            (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)("needs OpenStack Swift: pip install swift")
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.client.create_bucket(Bucket=BUCKET)

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        command = [sys.executable, "-W", "ignore", "-m", "tests.swift_server", str(self._folder), str(self.port), ACCESS, SECRET]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, preexec_fn=_die_with_parent)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self._folder / "log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MEDHUB_OBJECTS_STORE": "s3", "MEDHUB_OBJECTS_ENDPOINT": f"http://127.0.0.1:{self.port}", "MEDHUB_OBJECTS_BUCKET": BUCKET,
            "MEDHUB_OBJECTS_ACCESS_KEY": ACCESS, "MEDHUB_OBJECTS_SECRET_KEY": SECRET, "MEDHUB_OBJECTS_LINGER_SECONDS": "0",
            "EGRESS_ALLOW": f"127.0.0.1:{self.port}",
        }  # fmt: skip

    def settings_set(self, settings: Any, cache: Path) -> None:
        for name, value in self.environment.items():
            setattr(settings, name, value)
        settings.MEDHUB_OBJECTS_LINGER_SECONDS = 0.0
        settings.EGRESS_ALLOW = [f"127.0.0.1:{self.port}"]
        settings.MEDHUB_OBJECTS_CACHE = cache

    @property
    def client(self) -> Any:
        """Our own look into the bucket, past the code under test."""
        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1", aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(
                signature_version="s3v4", s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )  # fmt: skip

    def keys(self, prefix: str) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
