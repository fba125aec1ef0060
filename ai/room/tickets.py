"""One-time addresses for a job's volume: who holds the ticket may fetch it, for a while, once; a broken transfer may be tried again.

The ticket's digest lies in the job's folder, never the ticket itself, and goes with the folder when the job ends.
"""

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

import orjson

VOLUME = "volume.nii.gz"  # what a ticket opens
TICKET = "ticket.json"
LIVES_SECONDS = 900.0  # until somebody comes: the other side may have a queue
AGAIN_SECONDS = 60.0  # after the first byte was asked for


def ticket_make(folder: Path) -> str:
    """A new ticket, in the place of an earlier one. Raises OSError when the job has ended."""
    text = secrets.token_urlsafe(32)
    part = folder / f"{TICKET}.{secrets.token_hex(4)}"
    part.write_bytes(orjson.dumps({"digest": _digest(text), "ends_at": time.time() + LIVES_SECONDS}))
    os.replace(part, folder / TICKET)
    return text


def ticket_take(folder: Path, text: str, *, is_use: bool) -> bool:
    """Whether the ticket opens the door now. `is_use`: this is a fetch, not only a look (HEAD)."""
    try:
        known = orjson.loads((folder / TICKET).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    digest = _digest(text)
    if not hmac.compare_digest(digest, known["digest"]) or time.time() > known["ends_at"]:
        return False
    mark = folder / f"ticket.{digest[:16]}.used"
    try:
        if mark.exists():
            return time.time() - mark.stat().st_mtime <= AGAIN_SECONDS
        if is_use:
            mark.touch(exist_ok=True)
    except OSError:  # the job has just ended
        return False
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
