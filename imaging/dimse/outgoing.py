"""Objects on their way out (PS3.7 9.1.1, PS3.8 9.3.5): bytes straight from the file into PDUs, transcoded only if they must be.

`retrieve` calls it for each sub-operation, on the peer's own association (C-GET) or on ours (C-MOVE).
"""

import os
from collections.abc import Callable
from contextlib import suppress

from imaging.dimse import messages
from imaging.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from imaging.dimse.contract import StoredObject
from imaging.dimse.inquiries import Channel, WireGone
from imaging.dimse.transcoding import dataset_transcode
from imaging.header import FIRST_READ, HeaderError, meta_walk

PDU_BYTES = 131072
SEND_BYTES = 1 << 20
MAX_FRAGMENTS = 256  # in one read; the system takes 1024
_HEAD_BYTES = 12


class NotSendableError(Exception):
    """This object cannot be sent to this peer: no presentation context, no file, no decoder. Only this one fails."""


def context_choose(channel: Channel, stored: StoredObject) -> tuple[int, str]:
    """The context and syntax to send in: as stored where the peer takes it, else uncompressed."""
    for syntax in (stored.transfer_syntax_uid, EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        context_id = channel.contexts.get((stored.sop_class_uid, syntax))
        if context_id is not None:
            return context_id, syntax
    raise NotSendableError("no presentation context")


def object_send(
    channel: Channel, stored: StoredObject, *, message_id: int, originator: tuple[str, int] | None = None,
) -> None:
    """One C-STORE-RQ. Raises NotSendableError before the first byte, WireGone behind it."""
    context_id, syntax = context_choose(channel, stored)
    command = messages.store_request_bytes(
        message_id=message_id, sop_class_uid=stored.sop_class_uid, sop_instance_uid=stored.sop_instance_uid,
        originator=originator,
    )
    head = b"".join(messages.command_pdus(context_id, command, channel.pdu_bytes))
    if syntax == stored.transfer_syntax_uid:
        _file_send(channel, stored, context_id, head)
        return
    try:
        encoded = dataset_transcode(stored.path, transfer_syntax_uid=syntax)
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like, and their texts quote the object
        raise NotSendableError(f"not transcoded: {type(error).__name__}") from None
    channel.send(head)
    _pour(channel, context_id, len(encoded), _reader(memoryview(encoded)))


def _file_send(channel: Channel, stored: StoredObject, context_id: int, head: bytes) -> None:
    try:
        fd = os.open(stored.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise NotSendableError("the file cannot be opened") from None
    try:
        try:
            _, offset = meta_walk(os.pread(fd, FIRST_READ, 0))
            size = os.fstat(fd).st_size - offset
        except (HeaderError, OSError):
            raise NotSendableError("the file cannot be read") from None
        if size <= 0:
            raise NotSendableError("the file is empty")
        channel.send(head)
        _pour(channel, context_id, size, lambda views, at: os.preadv(fd, views, offset + at))
    finally:
        os.close(fd)


def _reader(encoded: memoryview) -> Callable[[list[memoryview], int], int]:
    def read(views: list[memoryview], at: int) -> int:
        start = at
        for view in views:
            view[:] = encoded[at : at + len(view)]
            at += len(view)
        return at - start

    return read


def _pour(channel: Channel, context_id: int, size: int, read: Callable[[list[memoryview], int], int]) -> None:
    """Data PDUs, many in one send: the fragments are read into their places between the heads."""
    step = messages.fragment_bytes(channel.pdu_bytes, ours=PDU_BYTES)
    count = min(max(SEND_BYTES // (step + _HEAD_BYTES), 1), MAX_FRAGMENTS)
    buffer = memoryview(bytearray(min(count * (step + _HEAD_BYTES), size + (size // step + 1) * _HEAD_BYTES)))
    at = 0
    while at < size:
        views, end, start = [], 0, at
        while at < size and len(views) < count:
            length = min(step, size - at)
            at += length
            body = end + _HEAD_BYTES
            buffer[end:body] = messages.pdv_head(context_id, 2 if at == size else 0, length)
            end = body + length
            views.append(buffer[body:end])
        if not _is_filled(read, views, start, at - start):
            # the command is out: only the end of the association can take it back
            raise WireGone("the file ended early")
        channel.send(buffer[:end])


def _is_filled(read: Callable[[list[memoryview], int], int], views: list[memoryview], at: int, wanted: int) -> bool:
    with suppress(OSError):
        return read(views, at) == wanted
    return False
