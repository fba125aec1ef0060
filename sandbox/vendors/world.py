"""What all families of one process share: who may, what computes, which mishaps are on. Made by `__main__`."""

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.vendors.authority import rsa_pem
from sandbox.vendors.computing import Quantify
from sandbox.vendors.faults import Faults
from sandbox.vendors.proofs import Tokens


def _secret() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Credentials:
    """Made anew at each start; written to credentials.json for whoever plays the hospital."""

    aws_access: str = field(default_factory=lambda: "AKIA" + secrets.token_hex(8).upper())
    aws_secret: str = field(default_factory=_secret)
    azure_client: str = field(default_factory=_secret)
    azure_secret: str = field(default_factory=_secret)
    google_email: str = "hub@double.iam.example"
    google_key: str = ""
    ibm_key: str = field(default_factory=_secret)
    chat_key: str = field(default_factory=_secret)
    fhir_user: str = "fhiruser"
    fhir_password: str = field(default_factory=_secret)
    performer_key: str = field(default_factory=_secret)
    hub_secret: str = field(default_factory=_secret)
    control: str = field(default_factory=_secret)

    def data(self) -> dict[str, str]:
        return asdict(self)


class Pool(ThreadPoolExecutor):
    """Threads for what is computed beside the answers; knows whether they have come to an end."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._open = 0
        self._idle = threading.Condition()

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        with self._idle:
            self._open += 1
        done = super().submit(*args, **kwargs)
        done.add_done_callback(self._ended)
        return done

    def _ended(self, _: object) -> None:
        with self._idle:
            self._open -= 1
            self._idle.notify_all()

    def rest(self, seconds: float) -> bool:
        """Wait until nothing is under way. False when something still is."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._open, seconds)


class World:
    def __init__(self, quantify: Quantify, folder: Path) -> None:
        private, self.google_public = rsa_pem()
        self.credentials = Credentials(google_key=private)
        self.quantify = quantify
        self.folder = folder
        self.ca_file = str(folder / "ca.pem")
        self.faults = Faults()
        self.pool = Pool(4)
        self.tokens: dict[str, Tokens] = {name: Tokens() for name in ("azure", "google", "ibm")}
        self.token_seconds = 3600.0
        self.dimse_port = self.dimse_tls_port = 0  # set by the node
        self.url = ""  # set when the port is known
        self.nim_hosts: set[str] = set()  # host:port pairs that the NIM may fetch images from
        self.times: dict[str, list[float]] = {}  # study: [its last image was here, its answer was], POSIX times
        self.return_node: tuple[str, int, str] | None = None  # host, port, AE title: where DIMSE answers go
