"""Django's PostgreSQL backend, which asks a connection for its health without a round trip to the server."""

import contextlib
import os
import select

from django.db.backends.postgresql import base
from psycopg.pq import ConnStatus, TransactionStatus

IN_NO_HURRY = 15  # a niceness from which on the database's work for a process may wait as well


class DatabaseWrapper(base.DatabaseWrapper):
    """The rest is Django's."""

    def init_connection_state(self) -> None:
        """Where the server is on this machine and may be told so: a session works no more eagerly than its process."""
        super().init_connection_state()
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        if self.connection is not None and niceness >= IN_NO_HURRY and self.connection.info.host.startswith("/"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.connection.info.backend_pid, niceness)

    def is_usable(self) -> bool:
        """A server that ended the session has said so: the socket of an idle connection then has something to read.

        Whatever it has to read, Django's own question decides. One that vanished without a word is found by the next statement,
        as it would be by that question.
        """
        if self.connection is None:
            return False
        connection = self.connection.pgconn
        if connection.status != ConnStatus.OK or connection.transaction_status != TransactionStatus.IDLE:
            return bool(super().is_usable())
        poller = select.poll()
        poller.register(connection.socket, select.POLLIN)
        return not poller.poll(0) or bool(super().is_usable())
