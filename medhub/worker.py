"""gunicorn's threaded worker, with threads that stay for the next request and tokens that it remembers."""

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from tenants.known import known_tokens

STAY_MS = 20


class StayingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A request that follows within STAY_MS is served by the same thread, unless another connection waits for one.

    gthread hands a connection to its poller after each answer and gets it back with the next request: two changes of thread under
    one interpreter lock, a third of what a small answer costs.
    """

    def init_process(self) -> None:
        known_tokens.listen()
        super().init_process()

    def handle(self, conn: Any) -> Any:
        going_on = super().handle(conn)
        while going_on is True and self.alive and not conn.is_http2 and self.tpool._work_queue.empty() and _has_more(conn):
            going_on = super().handle(conn)
        return going_on


def _has_more(conn: Any) -> bool:
    if conn.parser.unreader.buf.getvalue():
        return True
    poller = select.poll()
    poller.register(conn.sock, select.POLLIN)
    return bool(poller.poll(STAY_MS))
