"""Our PostgreSQL backend: a connection's health is known without a round trip, and a lost one is replaced."""

import pytest
from django.db import close_old_connections, connections

pytestmark = pytest.mark.database


def test_a_session_that_the_server_ended_is_not_usable(mercy) -> None:
    """"a database that was restarted costs a connection, not a task"."""
    connection = connections["sweep"]
    connection.ensure_connection()
    assert connection.is_usable()
    pid = connection.connection.info.backend_pid
    with connections["owner"].cursor() as owner:
        owner.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid])
        (before,) = owner.fetchone()
    assert connection.is_usable()
    with connections["owner"].cursor() as owner:
        owner.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid])
        assert owner.fetchone() == (before,)  # nothing was asked
    with connection.cursor() as cursor, pytest.raises(Exception, match="terminat|closed|admin"):
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert not connection.is_usable()
    connection.close()
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_connection_in_the_midst_of_something_is_asked() -> None:
    """Only of an idle one silence means health."""
    connection = connections["sweep"]
    connection.ensure_connection()
    connection.set_autocommit(False)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert connection.is_usable()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
