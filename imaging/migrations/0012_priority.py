"""Studies have a priority of people, a flag of AI, and the rank in the worklist that they make."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("imaging", "0011_node_web")]
    operations = [
        migrations.AddField("study", "priority", models.CharField(
            blank=True, choices=[("routine", "Routine"), ("urgent", "Urgent"), ("stat", "Stat")], db_default="", default="", max_length=8
        )),
        migrations.AddField("study", "priority_by", models.CharField(blank=True, db_default="", default="", max_length=64)),
        migrations.AddField("study", "priority_at", models.DateTimeField(null=True)),
        migrations.AddField("study", "is_flagged", models.BooleanField(db_default=False, default=False)),
        migrations.AddField("study", "rank", models.PositiveSmallIntegerField(db_default=0, default=0)),
        migrations.AddField("study", "raised_at", models.DateTimeField(null=True)),
        migrations.AddIndex("study", models.Index(
            condition=models.Q(("rank__gt", 0)), fields=["tenant_id", "-rank", "-first_received_at", "-id", "raised_at"],
            name="study_raised",
        )),
    ]
