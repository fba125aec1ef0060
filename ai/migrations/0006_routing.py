"""Rules become versions of a set, a decision one row a study, connections get stages.

What rules and decisions there are is taken over: each hospital's active rules are its version 1.
"""

import django.db.models.deletion
from django.db import migrations, models

import journal.wall.ids
import journal.wall.models
import journal.wall.scope
from journal.wall.operations import WallTable

STAGES = [("test", "Test"), ("shadow", "Shadow"), ("pilot", "Pilot"), ("live", "Live")]
WALLED = ("ai_rule", "ai_decision", "ai_ruleset", "ai_connection")


def _key() -> list[tuple[str, models.Field]]:
    return [
        ("id", models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
        ("tenant_id", models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
    ]


# The rows of all hospitals, by their owner: the wall binds it too, so it is lifted within this transaction.
TAKE_OVER = [
    *(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in WALLED),
    """
    INSERT INTO ai_ruleset (tenant_id, id, number, state, rules, revision, based_on, note, created_by, created_at, changed_by, changed_at,
                            activated_by, activated_at)
    SELECT r.tenant_id, min(r.id), 1, 'active', jsonb_agg(jsonb_build_object(
             'id', lower(lpad(to_hex(r.id), 32, '0'))::uuid::text, 'name', r.name, 'platform', c.platform, 'algorithm', r.algorithm,
             'conditions', r.conditions, 'series', '[]'::jsonb, 'is_stat', false) ORDER BY r.position, r.id),
           1, 0, '', 'system:upgrade', now(), 'system:upgrade', now(), 'system:upgrade', now()
    FROM ai_rule r JOIN ai_connection c ON c.tenant_id = r.tenant_id AND c.id = r.connection_id
    WHERE r.is_active GROUP BY r.tenant_id
    """,
    """
    CREATE TEMPORARY TABLE decided ON COMMIT DROP AS
    SELECT d.tenant_id, min(d.id) AS id, d.study_id, d.study_version, min(d.created_at) AS created_at,
           count(*) FILTER (WHERE d.is_match) AS matched,
           CASE WHEN bool_or(d.is_match) THEN '' ELSE left(coalesce(
             string_agg(d.reason, '; ' ORDER BY d.id) FILTER (WHERE d.rule_id IS NOT NULL), min(d.reason)), 300) END AS summary,
           coalesce(jsonb_agg(jsonb_build_object('rule', '', 'name', r.name, 'is_match', d.is_match, 'reason', d.reason) ORDER BY d.id)
             FILTER (WHERE d.rule_id IS NOT NULL), '[]'::jsonb) AS outcomes
    FROM ai_decision d LEFT JOIN ai_rule r ON r.tenant_id = d.tenant_id AND r.id = d.rule_id
    GROUP BY d.tenant_id, d.study_id, d.study_version
    """,
    "DELETE FROM ai_decision d WHERE NOT EXISTS (SELECT FROM decided n WHERE n.tenant_id = d.tenant_id AND n.id = d.id)",
    """
    UPDATE ai_decision d SET matched = n.matched, summary = n.summary, outcomes = n.outcomes,
           ruleset = CASE WHEN n.outcomes = '[]'::jsonb THEN 0 ELSE 1 END
    FROM decided n WHERE n.tenant_id = d.tenant_id AND n.id = d.id
    """,
    *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in WALLED),
]


class Migration(migrations.Migration):
    dependencies = [("ai", "0005_commitment")]

    operations = [
        migrations.CreateModel(
            name="RuleSet",
            fields=[
                *_key(),
                ("number", models.PositiveIntegerField()),
                ("state", models.CharField(
                    choices=[("draft", "Draft"), ("active", "Active"), ("retired", "Retired")], default="draft", max_length=8
                )),
                ("rules", models.JSONField(default=list)),
                ("revision", models.PositiveIntegerField(default=1)),
                ("based_on", models.PositiveIntegerField(default=0)),
                ("note", models.CharField(blank=True, default="", max_length=200)),
                ("created_by", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=64)),
                ("changed_at", models.DateTimeField()),
                ("activated_by", models.CharField(blank=True, default="", max_length=64)),
                ("activated_at", models.DateTimeField(null=True)),
                ("retired_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddConstraint("ruleset", models.UniqueConstraint(fields=("tenant_id", "number"), name="ruleset_number_once")),
        migrations.AddConstraint("ruleset", models.UniqueConstraint(
            condition=models.Q(("state", "active")), fields=("tenant_id", "state"), name="ruleset_active_once"
        )),
        migrations.AddConstraint("ruleset", models.UniqueConstraint(
            condition=models.Q(("state", "draft")), fields=("tenant_id", "state"), name="ruleset_draft_once"
        )),
        WallTable("RuleSet"),
        migrations.AddField("decision", "ruleset", models.PositiveIntegerField(default=0)),
        migrations.AddField("decision", "matched", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("decision", "summary", models.CharField(default="", max_length=300), preserve_default=False),
        migrations.AddField("decision", "outcomes", models.JSONField(default=list)),
        migrations.AddField("decision", "facts", models.JSONField(null=True)),
        migrations.RemoveConstraint("decision", "decision_once"),
        migrations.RunSQL(TAKE_OVER, migrations.RunSQL.noop),
        migrations.RemoveField("decision", "rule"),
        migrations.RemoveField("decision", "rule_version"),
        migrations.RemoveField("decision", "is_match"),
        migrations.RemoveField("decision", "reason"),
        migrations.DeleteModel("Rule"),
        migrations.AddConstraint("decision", models.UniqueConstraint(
            fields=("tenant_id", "study", "study_version"), name="decision_once"
        )),
        migrations.AddField("connection", "stage", models.CharField(choices=STAGES, default="live", max_length=8)),
        migrations.AddField("connection", "pilot_readers", models.JSONField(default=list)),
        migrations.AddField("job", "is_stat", models.BooleanField(default=False)),
        migrations.AddField("job", "stage", models.CharField(choices=STAGES, default="live", max_length=8)),
        migrations.AddField("job", "rule", models.CharField(blank=True, default="", max_length=36)),
        migrations.AddField("report", "stage", models.CharField(choices=STAGES, default="live", max_length=8)),
        migrations.CreateModel(
            name="StageChange",
            fields=[
                *_key(),
                ("before", models.CharField(max_length=8)),
                ("after", models.CharField(max_length=8)),
                ("note", models.CharField(blank=True, default="", max_length=200)),
                ("by", models.CharField(max_length=64)),
                ("at", models.DateTimeField()),
                ("connection", journal.wall.models.TenantForeignKey(
                    db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, to="ai.connection"
                )),
            ],
        ),
        migrations.AddIndex("stagechange", models.Index(fields=["tenant_id", "connection", "-id"], name="stagechange_by_connection")),
        WallTable("StageChange"),
    ]  # fmt: skip
