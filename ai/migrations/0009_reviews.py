"""Verdicts of people about reports: rows of their own; a report version may come of one instead of a result."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import journal.wall.ids
import journal.wall.models
import journal.wall.scope
from journal.wall.operations import WallTable

STATES = [
    ("pending", "Pending"), ("sent", "Sent"), ("stored", "Stored"), ("confirmed", "Confirmed"), ("overdue", "Overdue"),
    ("failed", "Failed"), ("superseded", "Superseded"),
]  # fmt: skip
ACTIONS = [("accept", "Accept"), ("correct", "Correct"), ("reject", "Reject"), ("undo", "Undo")]


class Migration(migrations.Migration):
    dependencies = [("ai", "0008_recall")]

    operations = [
        migrations.RemoveConstraint("report", "report_once"),
        migrations.AddField("report", "is_by_person", models.BooleanField(default=False)),
        migrations.AddConstraint("report", models.UniqueConstraint(
            condition=models.Q(("is_by_person", False)), fields=("tenant_id", "result"), name="report_once"
        )),
        migrations.AddIndex("report", models.Index(fields=["tenant_id", "result"], name="report_by_result")),
        migrations.AlterField("reportdelivery", "state", models.CharField(choices=STATES, default="pending", max_length=10)),
        migrations.CreateModel(
            name="Verdict",
            fields=[
                ("id", models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
                ("tenant_id", models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False)),
                ("made_version", models.PositiveIntegerField()),
                ("action", models.CharField(choices=ACTIONS, max_length=8)),
                ("reason", models.CharField(blank=True, default="", max_length=24)),
                ("words", models.CharField(blank=True, default="", max_length=1000)),
                ("items", models.JSONField(default=list)),
                ("undoes", models.BigIntegerField(null=True)),
                ("by_id", models.CharField(max_length=64)),
                ("by_name", models.CharField(max_length=120)),
                ("at", models.DateTimeField()),
                ("report", journal.wall.models.TenantForeignKey(
                    db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, to="ai.report"
                )),
            ],
        ),
        migrations.AddConstraint("verdict", models.UniqueConstraint(fields=("tenant_id", "report"), name="verdict_once")),
        migrations.AddIndex("verdict", models.Index(fields=["tenant_id", "at"], name="verdict_by_time")),
        WallTable("Verdict"),
        # What was decided is never edited; it goes only with its report.
        migrations.RunSQL('REVOKE UPDATE ON "ai_verdict" FROM medhub_app', migrations.RunSQL.noop),
    ]  # fmt: skip
