"""Log lines: one JSON object each, ids only. Exceptions keep class and place; their words may hold a patient and are dropped."""

import json
import logging
import traceback

from journal.trace import trace_id_current


class LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if trace_id := trace_id_current():
            line["trace"] = trace_id
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])[-4:]
            line["where"] = " < ".join(f"{f.name}:{f.lineno}" for f in reversed(frames))
        return json.dumps(line, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    """Django names the path of a request that failed; ours hold UIDs, so the line gets the route in its place."""
    request = getattr(record, "request", None)
    if record.name != "django.request" or request is None:
        return record.getMessage()
    match = getattr(request, "resolver_match", None)
    return f"{getattr(record, 'status_code', '')} {request.method} /{match.route if match else ''}"
