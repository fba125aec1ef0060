"""Merges of patients that can be undone; what the EHR calls an order and a patient; an order that a person chose."""

import django.db.models.deletion
import journal.wall.ids
import journal.wall.models
import journal.wall.scope
from django.db import migrations, models
from journal.wall.operations import WallTable


class Migration(migrations.Migration):
    dependencies = [("imaging", "0012_priority")]
    operations = [
        migrations.AddField("order", "ehr_id", models.CharField(blank=True, db_default="", default="", max_length=64)),
        migrations.AddField("patient", "ehr_id", models.CharField(blank=True, db_default="", default="", max_length=64)),
        migrations.AddField("study", "is_order_chosen", models.BooleanField(db_default=False, default=False)),
        migrations.AddIndex("order", models.Index(
            condition=models.Q(("ehr_id", ""), _negated=True), fields=["tenant_id", "ehr_id"], name="order_by_ehr_id"
        )),
        migrations.AddIndex("patient", models.Index(
            condition=models.Q(("ehr_id", ""), _negated=True), fields=["tenant_id", "ehr_id"], name="patient_by_ehr_id"
        )),
        migrations.CreateModel(
            name="PatientMerge",
            fields=[
                ("id", models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
                ("tenant_id", models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
                ("origin", models.CharField(max_length=8)),
                ("message", models.BinaryField(default=b"")),
                ("studies", models.JSONField(default=list)),
                ("orders", models.JSONField(default=list)),
                ("people", models.JSONField(default=list)),
                ("merged_by", models.CharField(max_length=128)),
                ("merged_at", models.DateTimeField()),
                ("undone_by", models.CharField(blank=True, default="", max_length=128)),
                ("undone_at", models.DateTimeField(null=True)),
                ("gone", journal.wall.models.TenantForeignKey(
                    db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="imaging.patient"
                )),
                ("surviving", journal.wall.models.TenantForeignKey(
                    db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="imaging.patient"
                )),
            ],
            options={
                "indexes": [models.Index(fields=["tenant_id", "surviving"], name="patient_merge_by_surviving")],
                "constraints": [models.UniqueConstraint(
                    condition=models.Q(("undone_at", None)), fields=("tenant_id", "gone"), name="patient_merge_once"
                )],
            },
        ),
        WallTable("patientmerge"),
    ]
