"""`python -m sandbox.vendors --folder F --quantify URL` (key in QUANTIFY_KEY): all families on one HTTPS port, one more for mutual TLS.

Writes F/ca.pem, certificates and credentials.json, and prints one JSON line with the addresses when it is ready.
"""

import argparse
import hmac
import json
import os
import sys
import threading
import time
from pathlib import Path

from sandbox.http import Refusal, Reply, Request, Router, Server, json_reply
from sandbox.vendors.authority import authority_make
from sandbox.vendors.computing import Quantify
from sandbox.vendors.families import aws, azure, chat, fhirbasic, google, ibm, monai, nim, performer
from sandbox.vendors.families.pulling import Puller
from sandbox.vendors.world import World

FAMILIES = {
    "aws": aws, "azure": azure, "google": google, "ibm": ibm, "chat": chat, "fhir": fhirbasic, "monai": monai, "nim": nim,
    "performer": performer,
}  # fmt: skip


class Doubles:
    """Routes a request to its family, after the mishaps that were asked for."""

    def __init__(self, world: World, families: list[str]) -> None:
        self._world, self._router, self._puller = world, Router(), Puller(world)
        for name in families:
            FAMILIES[name].mount(self._router, world)

    def answer(self, request: Request) -> Reply:
        try:
            if request.path.startswith("/control/"):
                return self._control(request)
            return self._world.faults.on(request) or self._router(request)
        except Refusal as refusal:
            return json_reply({"error": refusal.words}, refusal.status, **{k.replace("-", "_"): v for k, v in refusal.headers.items()})
        except Exception as error:  # noqa: BLE001 a thread of the server must answer; the kind only, its words may hold an image's
            sys.stderr.write(f"sandbox.vendors: unexpected {type(error).__name__}\n")
            return json_reply({"error": "unexpected"}, 500)

    def _control(self, request: Request) -> Reply:
        if not hmac.compare_digest(request.headers.get("x-control", ""), self._world.credentials.control):
            raise Refusal(403, "not yours")
        if request.path == "/control/faults":
            return self._world.faults.control(request)
        if request.path == "/control/times":  # of each study: when its last image was here, and when its answer was
            return json_reply(dict(self._world.times))
        if request.path == "/control/rest":  # nothing of an earlier test is under way any more
            return Reply(204 if self._world.pool.rest(60) else 503)
        if request.path == "/control/ups":  # pull from this worklist for a while
            return self._puller.control(request)
        if request.path == "/control/return":  # where DIMSE answers go
            self._world.return_node = request.json["host"], int(request.json["port"]), str(request.json["ae_title"])
            return Reply(204)
        if request.path == "/control/nim":  # which hosts its images may come from
            self._world.nim_hosts = set(request.json["hosts"])
            return Reply(204)
        if request.path == "/control/tokens":  # every token ends now; later ones live so long
            self._world.token_seconds = float(request.json.get("seconds", 3600))
            for tokens in self._world.tokens.values():
                tokens.end_all()
            return Reply(204)
        raise Refusal(404, "no such control")


def main() -> int:
    parser = argparse.ArgumentParser(prog="sandbox.vendors", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--quantify", required=True, help="address of a MedHub Quantify server")
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES), help="only this one; may be repeated")
    parser.add_argument("--port", type=int, default=0, help="of HTTPS; a free one")
    parser.add_argument("--remember", action="store_true", help="measure the same pixels once, then answer at once")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    authority_make(given.folder)
    world = World(Quantify(given.quantify, os.environ.get("QUANTIFY_KEY", ""), remembers=given.remember), given.folder)
    doubles = Doubles(world, given.family or sorted(FAMILIES))
    pair = str(given.folder / "server.pem"), str(given.folder / "server.key")
    servers = [Server(doubles.answer, pair, port=given.port), Server(doubles.answer, pair, str(given.folder / "ca.pem"))]
    world.url = servers[0].url
    (given.folder / "credentials.json").write_text(json.dumps(world.credentials.data()), encoding="utf-8")
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = {"dimse_port": world.dimse_port, "dimse_tls_port": world.dimse_tls_port}
    addresses = {"url": servers[0].url, "mutual_url": servers[1].url, **ports}
    sys.stdout.write(json.dumps(addresses) + "\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
