"""Preparing a database: roles, database, migrations, grants. Run by the owner; the stack, the tests and operators call it."""

import psycopg
from django.core.management import call_command
from psycopg import sql

from medhub.embedded import ROLES_SQL
from tenants.directory import directory_grant

OWNER_ROLE = "medhub_owner"


def roles_create(superuser: str) -> None:
    """Make the three roles if they are not there. `superuser` is a libpq connection string of a role that may."""
    with psycopg.connect(superuser, autocommit=True) as connection:
        there = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        for statement in ROLES_SQL.strip().splitlines():
            if statement.split()[2] not in there:
                connection.execute(statement.encode())


def database_create(superuser: str, name: str) -> None:
    """Make a database owned by medhub_owner in which nobody else may create anything."""
    with psycopg.connect(superuser, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                    sql.Identifier(name), sql.Identifier(OWNER_ROLE)
                )
            )


def schema_prepare() -> None:
    """Migrate as the owner, let the app and sweep roles in, and fill what a migration has emptied."""
    call_command("migrate", database="owner", interactive=False, verbosity=0)
    directory_grant()
    call_command("fhir_reindex", missing=True)
