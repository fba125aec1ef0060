"""Migration operations that build the wall of a table: composite keys, row level security, grants."""

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from journal.wall.models import TenantForeignKey

APP_ROLE = "medhub_app"
SWEEP_ROLE = "medhub_sweep"
OF_TENANT = "tenant_id = current_setting('app.tenant')::bigint"  # unset or empty raises: fails closed


def wall_sql(table: str, *, is_append_only: bool = False, is_swept: bool = False) -> list[str]:
    """The statements that put a table behind the wall. `table` is a trusted name from a migration."""
    statements = [
        f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
        f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY',
        f'CREATE POLICY wall ON "{table}" USING ({OF_TENANT}) WITH CHECK ({OF_TENANT})',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{table}" TO {APP_ROLE}',
    ]
    if is_append_only:
        statements.append(f'REVOKE UPDATE, DELETE ON "{table}" FROM {APP_ROLE}')
    if is_swept:
        statements += [
            f'CREATE POLICY sweep ON "{table}" FOR SELECT TO {SWEEP_ROLE} USING (true)',
            f'GRANT SELECT (tenant_id, id, due_at) ON "{table}" TO {SWEEP_ROLE}',
        ]
    return statements


class WallTable(Operation):
    """Give the table of a TenantModel its real keys and its policies. Comes right after CreateModel."""

    reduces_to_sql = True
    reversible = False

    def __init__(self, name: str, *, is_append_only: bool = False, is_swept: bool = False) -> None:
        self.name = name
        self.is_append_only = is_append_only
        self.is_swept = is_swept

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Django's picture of the model does not change: it goes on seeing `id`."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        table = model._meta.db_table
        statements = [
            # A new key is validated as its owner, whom FORCE binds too; the table is empty, so no hospital's rows are needed.
            "SELECT set_config('app.tenant', '0', true)",
            f'ALTER TABLE "{table}" DROP CONSTRAINT "{table}_pkey"',
            f'ALTER TABLE "{table}" ADD PRIMARY KEY (tenant_id, id)',
        ]
        for field in model._meta.local_fields:
            if isinstance(field, TenantForeignKey):
                target = field.related_model._meta.db_table
                statements.append(
                    f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_{field.column}_wall" '
                    f'FOREIGN KEY (tenant_id, "{field.column}") REFERENCES "{target}" (tenant_id, id) '
                    "DEFERRABLE INITIALLY DEFERRED"
                )
        statements += wall_sql(table, is_append_only=self.is_append_only, is_swept=self.is_swept)
        for statement in statements:
            schema_editor.execute(statement)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (
            self.__class__.__name__,
            [self.name],
            {"is_append_only": self.is_append_only, "is_swept": self.is_swept},
        )

    def describe(self) -> str:
        return f"Wall around {self.name}"
