"""The trace id that follows a study from the association to the EHR's acknowledgement. Set by doors, read by whoever writes."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_trace: ContextVar[str] = ContextVar("medhub_trace", default="")


def trace_new() -> str:
    """32 hex digits, the trace-id of W3C Trace Context."""
    return secrets.token_hex(16)


def trace_id_current() -> str:
    return _trace.get()


@contextmanager
def trace(trace_id: str) -> Iterator[str]:
    """Work under this trace id; an empty one begins a new trace."""
    token = _trace.set(trace_id or trace_new())
    try:
        yield _trace.get()
    finally:
        _trace.reset(token)
