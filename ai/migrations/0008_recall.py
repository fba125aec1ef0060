"""Recalls, and a row for whatever was handed to a platform outside the house.

What was sent before is taken over from its jobs, as far as they know: the profile was not kept with them.
"""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import journal.wall.ids
import journal.wall.models
import journal.wall.scope
from journal.wall.operations import WallTable

WALLED = ("ai_disclosure", "ai_job", "ai_result", "ai_connection")


def _key() -> list[tuple[str, models.Field]]:
    return [
        ("id", models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
        ("tenant_id", models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
    ]


# The rows of all hospitals, by their owner: the wall binds it too, so it is lifted within this transaction.
TAKE_OVER = [
    *(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in WALLED),
    """
    INSERT INTO ai_disclosure (tenant_id, id, job_uuid, study_id, platform, algorithm, is_test, receiver, what, instances, profile, codes,
                               input_sha256, attempts, at, taken_at)
    SELECT j.tenant_id, j.id, j.uuid, j.study_id, c.platform, j.algorithm, c.is_test, '', 'not recorded', 0, '', '[]'::jsonb,
           j.input_sha256, 1, j.sent_at, j.sent_at
    FROM ai_job j JOIN ai_connection c ON c.tenant_id = j.tenant_id AND c.id = j.connection_id
    WHERE j.sent_at IS NOT NULL AND c.platform <> 'medhub-quantify'
    """,
    """
    UPDATE ai_job j SET version_said = left(coalesce(r.payload -> 'algorithm' ->> 'version', ''), 64)
    FROM ai_result r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.id AND j.state IN ('done', 'not_analysable')
    """,
    "SET CONSTRAINTS ALL IMMEDIATE",  # a table with checks to come cannot be altered
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in WALLED),
]


class Migration(migrations.Migration):
    dependencies = [("ai", "0007_terms"), ("imaging", "0011_node_web")]

    operations = [
        migrations.AddField("job", "version_said", models.CharField(blank=True, default="", max_length=64)),
        migrations.CreateModel(
            name="Recall",
            fields=[
                *_key(),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False)),
                ("platform", models.SlugField(db_index=False, max_length=40)),
                ("algorithm", models.CharField(max_length=64)),
                ("version", models.CharField(blank=True, default="", max_length=64)),
                ("reason", models.CharField(max_length=200)),
                ("by", models.CharField(max_length=64)),
                ("at", models.DateTimeField()),
                ("lifted_by", models.CharField(blank=True, default="", max_length=64)),
                ("lifted_at", models.DateTimeField(null=True)),
                ("lifted_reason", models.CharField(blank=True, default="", max_length=200)),
                ("is_cleared", models.BooleanField(default=False)),
            ],
        ),
        migrations.AddConstraint("recall", models.UniqueConstraint(
            condition=models.Q(("lifted_at__isnull", True)), fields=("tenant_id", "platform", "algorithm"), name="recall_standing_once"
        )),
        WallTable("Recall"),
        migrations.CreateModel(
            name="Disclosure",
            fields=[
                *_key(),
                ("job_uuid", models.UUIDField(editable=False)),
                ("platform", models.SlugField(db_index=False, max_length=40)),
                ("algorithm", models.CharField(max_length=64)),
                ("is_test", models.BooleanField()),
                ("receiver", models.CharField(max_length=200)),
                ("what", models.CharField(max_length=64)),
                ("instances", models.PositiveIntegerField()),
                ("profile", models.CharField(max_length=24)),
                ("codes", models.JSONField(default=list)),
                ("input_sha256", models.CharField(blank=True, default="", max_length=64)),
                ("attempts", models.PositiveIntegerField(default=1)),
                ("at", models.DateTimeField()),
                ("taken_at", models.DateTimeField(null=True)),
                ("study", journal.wall.models.TenantForeignKey(
                    db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, to="imaging.study"
                )),
            ],
        ),
        migrations.AddConstraint("disclosure", models.UniqueConstraint(fields=("tenant_id", "job_uuid"), name="disclosure_once")),
        migrations.AddIndex("disclosure", models.Index(fields=["tenant_id", "-at", "-id"], name="disclosure_by_time")),
        migrations.AddIndex("disclosure", models.Index(fields=["tenant_id", "study"], name="disclosure_by_study")),
        WallTable("Disclosure"),
        migrations.RunSQL(TAKE_OVER, migrations.RunSQL.noop),
    ]  # fmt: skip
