"""STOW-RS to a node, and the question whether its DICOMweb answers (PS3.18 10.5, 10.6). Never called inside a scope.

What a server says is told in our words: its own may hold anything.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from imaging.dimse.contract import StoredObject
from imaging.models import Node
from imaging.reasons import count_words, objects_words
from imaging.scu.association import NotPossibleError, NotReachedError
from imaging.webout.address import AddressError, address_check
from imaging.webout.answer import AnswerError, Stored, answer_read, is_passing
from imaging.webout.multipart import content_type, parts_of, size_of
from tenants.crypto import SecretLostError, secret_open
from tenants.egress import Egress, EgressFailed, EgressRefused

JSON = "application/dicom+json"
ANSWER_SECONDS = 60.0  # silence of the server within one request
MAX_REQUEST_BYTES = 1 << 30


@dataclass(frozen=True)
class WebPeer:
    """A node's DICOMweb, read in a scope, used outside of it."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


def web_peer_of(node: Node) -> WebPeer:
    """Raises NotPossibleError when the node has no address, or one that may not be called, or its secret is lost."""
    if not node.web_url:
        raise NotPossibleError("the node has no DICOMweb address")
    try:
        url = address_check(node.web_url)
        secret = secret_open(node.web_secret, tenant_id=int(node.tenant_id)).decode() if node.web_secret else ""
    except AddressError as error:
        raise NotPossibleError(str(error)) from None
    except SecretLostError:
        raise NotPossibleError("the node's secret cannot be opened: enter it again") from None
    if node.web_auth == Node.WebAuth.BEARER:
        return WebPeer(url, {"Authorization": f"Bearer {secret}"})
    if node.web_auth == Node.WebAuth.BASIC:
        pair = base64.b64encode(f"{node.web_user}:{secret}".encode()).decode()
        return WebPeer(url, {"Authorization": f"Basic {pair}"})
    return WebPeer(url, {})


@dataclass(frozen=True)
class Outcome:
    """How a request ended: how many objects the server has, in words, and whether another try can help where not all."""

    taken: int
    words: str
    missing: frozenset[str] = frozenset()  # SOP instances that it does not have
    is_permanent: bool = False


def objects_stow(peer: WebPeer, *, objects: Sequence[StoredObject]) -> Outcome:
    """POST the Part 10 files of these objects in one request. An object counts when the answer names it.

    Raises NotReachedError for silence, 5xx and answers that cannot be read, NotPossibleError where another try changes nothing.
    """
    paths, boundary = [Path(one.path) for one in objects], secrets.token_hex(16)
    size = size_of(paths, boundary)
    if size > MAX_REQUEST_BYTES:
        raise NotPossibleError(f"more than {MAX_REQUEST_BYTES >> 20} MiB in one request")
    headers = {"Content-Type": content_type(boundary), "Content-Length": str(size), "Accept": JSON, **peer.headers}
    status, answered, body = _request("POST", f"{peer.url}/studies", headers, paths, boundary)
    if status != 409:  # none was stored, and the body says why: one that is there already is stored
        _status_check(status, what="the objects")
    try:
        stored = answer_read(body, answered.get("content-type", ""))
    except AnswerError as error:
        words = f"the archive answered {status}, and its {error.words}"
        raise (NotPossibleError(words) if error.is_permanent else NotReachedError("web", words)) from None
    return _judge(stored, {one.sop_instance_uid: one.sop_class_uid for one in objects}, status)


def _judge(stored: Stored, classes: Mapping[str, str], status: int) -> Outcome:
    """`classes`: SOP instance -> SOP class of what was sent."""
    taken = [uid for uid in classes if uid in stored.taken]
    refused = {uid: stored.refused[uid] for uid in classes if uid in stored.refused and uid not in stored.taken}
    unnamed = len(classes) - len(taken) - len(refused)
    warned = [(classes[uid], stored.warned[uid]) for uid in taken if uid in stored.warned]
    said = [f"{count_words(len(taken))} taken"] if taken else []
    if warned:
        said.append(f"{len(warned)} with a warning: {objects_words(warned)}")
    if refused:
        told = objects_words((classes[uid], reason) for uid, reason in refused.items())
        said.append(f"{count_words(len(refused))} refused: {told}")
    if unnamed:
        said.append(f"{count_words(unnamed)} not named in the answer ({status})")
    is_permanent = bool(refused) and not unnamed and not any(is_passing(reason) for reason in refused.values())
    return Outcome(len(taken), ", ".join(said), frozenset(classes) - set(taken), is_permanent)


def web_check(peer: WebPeer) -> str:
    """Ask for one study: what answered, in words and without anything of what it found. Raises NotReachedError, NotPossibleError."""
    status, headers, body = _request("GET", f"{peer.url}/studies?limit=1", {"Accept": JSON, **peer.headers})
    _status_check(status, what="the question for studies")
    if status == 204 or not body.strip():
        return f"QIDO-RS answered {status}: no study there"
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or "json" not in headers.get("content-type", ""):
        raise NotPossibleError(f"something answered {status}, and it was no DICOM JSON: is this the root of a DICOMweb service?")
    return f"QIDO-RS answered {status} in DICOM JSON"


def _request(
    method: str, url: str, headers: Mapping[str, str], files: Sequence[Path] = (), boundary: str = ""
) -> tuple[int, Mapping[str, str], bytes]:
    try:
        return Egress(read_seconds=ANSWER_SECONDS).request(
            method, url, headers=headers, content=(lambda: parts_of(files, boundary)) if files else None
        )
    except EgressRefused as error:
        raise NotPossibleError(error.user_message) from None
    except EgressFailed:
        raise NotReachedError("web", "the archive's DICOMweb was not reached or did not answer in time") from None


def _status_check(status: int, *, what: str) -> None:
    """Raises NotReachedError where the server is busy or broken, NotPossibleError for what stays so until somebody changes it."""
    if 200 <= status < 300:
        return
    if status in {401, 403}:
        raise NotPossibleError(f"the archive refused our credentials ({status})")
    if status in {408, 425, 429} or status >= 500:
        raise NotReachedError("web", f"the archive answered {status}")
    words = {404: "nothing is at this address", 413: "they are too large for it", 415: "it does not take DICOM objects"}
    raise NotPossibleError(f"the archive refused {what} ({status})" + (f": {words[status]}" if status in words else ""))
