"""What search needs beside tokens and references: dates, quantities and texts, one row a value. Schema after research/fhir.md 5.

Hashes follow the branches of the official search expressions from here on. What the old scheme posted is emptied, and
`manage.py fhir_reindex --hospital <slug>` fills it again for each hospital.
"""

from importlib import import_module

from django.db import migrations

table_sql = import_module("fhirapi.migrations.0001_store").table_sql

TABLES = {
    # A value covers [lo, hi). `param` is the hash of the branch's name; dates without an offset have one of their own.
    "fhir_date": """
        tenant_id bigint NOT NULL, rid bigint NOT NULL, param bigint NOT NULL, lo timestamptz NOT NULL, hi timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, rid, param, lo, hi)""",
    # lo and hi differ for a Range or an open comparator. `keys` holds what a component is, for composites.
    "fhir_quantity": """
        tenant_id bigint NOT NULL, rid bigint NOT NULL, param bigint NOT NULL, lo float8 NOT NULL, hi float8 NOT NULL,
        code bigint NOT NULL, unit bigint NOT NULL, system bigint NOT NULL, keys bigint[] NOT NULL""",
    # `norm` is without case and accents and cut to what a btree holds; `exact` is as written.
    "fhir_string": """
        tenant_id bigint NOT NULL, rid bigint NOT NULL, param bigint NOT NULL, norm text COLLATE "C" NOT NULL,
        exact text COLLATE "C" NOT NULL""",
}
INDEXES = [
    "CREATE INDEX fhir_date_by_start ON fhir_date (tenant_id, param, lo, rid)",
    "CREATE INDEX fhir_date_by_end ON fhir_date (tenant_id, param, hi, rid)",
    "CREATE INDEX fhir_quantity_by_resource ON fhir_quantity (tenant_id, rid, param)",
    "CREATE INDEX fhir_quantity_by_value ON fhir_quantity (tenant_id, param, lo, rid)",
    # Plain values need no order of their own by their end.
    "CREATE INDEX fhir_quantity_by_end ON fhir_quantity (tenant_id, param, hi, rid) WHERE lo < hi",
    "CREATE INDEX fhir_string_by_resource ON fhir_string (tenant_id, rid, param)",
    "CREATE INDEX fhir_string_by_text ON fhir_string (tenant_id, param, norm, rid)",
]


class Migration(migrations.Migration):
    dependencies = [("fhirapi", "0001_store")]
    operations = [
        migrations.RunSQL(
            sql=[
                *(sql for table, columns in TABLES.items() for sql in table_sql(table, columns)),
                *INDEXES,
                "TRUNCATE fhir_posting, fhir_ref",
            ],
            reverse_sql=[f"DROP TABLE {table}" for table in TABLES],
        )
    ]
