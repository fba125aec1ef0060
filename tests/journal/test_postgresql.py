"""Our PostgreSQL backend: a connection's health is known without a round trip, and a lost one is replaced."""

import os
import subprocess
import sys

import pytest
from django.db import close_old_connections, connections

from medhub.stack import ROOT
from tests.servers import TEST_HOME

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


ASK = """
import os, django
django.setup()
from django.db import connections
connection = connections["sweep"]
connection.ensure_connection()
print(os.getpriority(os.PRIO_PROCESS, connection.connection.info.backend_pid))
"""


@pytest.mark.parametrize(("niceness", "wanted"), [(0, "0"), (10, "0"), (19, "19")])
def test_a_session_is_in_no_more_hurry_than_its_process(niceness, wanted) -> None:
    """What may wait, waits in the database too; the index worker (niceness 10) keeps its place before those who read its rows."""
    database = connections["sweep"].settings_dict
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "medhub.settings", "MEDHUB_HOME": str(TEST_HOME),
        "DATABASE_SWEEP_URL": f"postgresql://medhub_sweep@/{database['NAME']}?host={database['HOST']}",
    }  # fmt: skip
    command = ["nice", "-n", str(niceness), sys.executable, "-c", ASK]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [wanted]
