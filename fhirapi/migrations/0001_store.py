"""The resource store: current versions, ordered posting lists, references, history. Schema after research/fhir.md section 5."""

from django.db import migrations

from journal.wall.operations import wall_sql

PARTITIONS = 8
TABLES = {
    # The current version of each resource. `content` is the exact text that is served; `digest` is of the content without
    # version and time, `indexed` of what the resource is found by: a replay compares them and writes nothing.
    "fhir_resource": """
        tenant_id bigint NOT NULL, rid bigint NOT NULL, rtype smallint NOT NULL,
        fhir_id text COLLATE "C" NOT NULL, version integer NOT NULL, last_updated timestamptz NOT NULL,
        patient text COLLATE "C", sort_date timestamptz NOT NULL, tok bigint[] NOT NULL,
        digest bytea NOT NULL, indexed bytea NOT NULL, content text NOT NULL,
        PRIMARY KEY (tenant_id, rid), UNIQUE (tenant_id, rtype, fhir_id)""",
    # One row per token of a resource, in the order a search returns them. A later parameter is more rows, never a column.
    "fhir_posting": """
        tenant_id bigint NOT NULL, hv bigint NOT NULL, sort_date timestamptz NOT NULL, rid bigint NOT NULL,
        PRIMARY KEY (tenant_id, hv, sort_date, rid)""",
    # One row per literal reference: includes now, chains and _revinclude later.
    "fhir_ref": """
        tenant_id bigint NOT NULL, rid bigint NOT NULL, param text COLLATE "C" NOT NULL, target_type smallint NOT NULL,
        target_id text COLLATE "C" NOT NULL,
        PRIMARY KEY (tenant_id, rid, param, target_type, target_id)""",
    # Versions that were replaced. `method` is C(reate), U(pdate) or D(elete).
    "fhir_history": """
        tenant_id bigint NOT NULL, rtype smallint NOT NULL, fhir_id text COLLATE "C" NOT NULL, version integer NOT NULL,
        at timestamptz NOT NULL, method char(1) NOT NULL, content text NOT NULL,
        PRIMARY KEY (tenant_id, rtype, fhir_id, version)""",
}
INDEXES = [
    "CREATE INDEX fhir_resource_by_update ON fhir_resource (tenant_id, rtype, last_updated, rid)",
    "CREATE INDEX fhir_resource_by_date ON fhir_resource (tenant_id, rtype, sort_date, rid)",
    "CREATE INDEX fhir_resource_by_patient ON fhir_resource (tenant_id, patient, rtype, sort_date, rid) WHERE patient IS NOT NULL",
    "CREATE INDEX fhir_ref_by_target ON fhir_ref (tenant_id, param, target_type, target_id, rid)",
    "CREATE INDEX fhir_history_by_time ON fhir_history (tenant_id, at)",
]


def table_sql(table: str, columns: str) -> list[str]:
    """A walled parent, and partitions behind a wall of their own: reached directly they know neither parent's policy."""
    statements = [f"CREATE TABLE {table} ({columns}) PARTITION BY HASH (tenant_id)"]
    for number in range(PARTITIONS):
        partition = f"{table}_{number}"
        statements.append(
            f"CREATE TABLE {partition} PARTITION OF {table} FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
        )
        # No grant: the app role reaches rows by the parent alone.
        statements += [sql for sql in wall_sql(partition) if not sql.startswith("GRANT")]
    return statements + wall_sql(table)


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [
        migrations.RunSQL(
            sql=[sql for table, columns in TABLES.items() for sql in table_sql(table, columns)] + INDEXES,
            reverse_sql=[f"DROP TABLE {table}" for table in TABLES],
        )
    ]
