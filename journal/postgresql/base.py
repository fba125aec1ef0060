"""Django's PostgreSQL backend, which asks a connection for its health without a round trip to the server."""

import select

from django.db.backends.postgresql import base
from psycopg.pq import ConnStatus, TransactionStatus


class DatabaseWrapper(base.DatabaseWrapper):
    """The rest is Django's."""

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
