"""Apps that act for a person: what they are registered with, what people have granted them, and what they hold."""

import django.db.models.deletion
import django.utils.timezone
import journal.wall.ids
import journal.wall.models
import journal.wall.scope
from django.conf import settings
from django.db import migrations, models

from journal.wall.operations import WallTable


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0011_oauth'),
    ]

    operations = [
        migrations.AddField(
            model_name='apitoken',
            name='grant_id',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='user',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='oauthclient',
            name='auth_method',
            field=models.CharField(blank=True, db_default='', default='', max_length=32),
        ),
        migrations.AddField(
            model_name='oauthclient',
            name='launch_url',
            field=models.CharField(blank=True, db_default='', default='', max_length=500),
        ),
        migrations.AddField(
            model_name='oauthclient',
            name='redirect_uris',
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        migrations.AddField(
            model_name='oauthclient',
            name='secret_digest',
            field=models.CharField(blank=True, db_default='', default='', max_length=64),
        ),
        migrations.CreateModel(
            name='OAuthGrant',
            fields=[
                ('id', models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
                ('tenant_id', models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
                ('client_id', models.BigIntegerField()),
                ('user_id', models.UUIDField()),
                ('scopes', models.TextField()),
                ('patient', models.CharField(blank=True, default='', max_length=64)),
                ('study', models.CharField(blank=True, default='', max_length=64)),
                ('redirect_uri', models.CharField(max_length=500)),
                ('code_challenge', models.CharField(max_length=128)),
                ('code_digest', models.CharField(max_length=64)),
                ('code_expires_at', models.DateTimeField()),
                ('code_used_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['tenant_id', 'client_id', 'id'], name='oauthgrant_client')],
                'constraints': [models.UniqueConstraint(fields=('tenant_id', 'code_digest'), name='oauthgrant_code_once')],
            },
        ),
        migrations.CreateModel(
            name='OAuthLaunch',
            fields=[
                ('id', models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
                ('tenant_id', models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
                ('client_id', models.BigIntegerField()),
                ('user_id', models.UUIDField()),
                ('digest', models.CharField(max_length=64)),
                ('patient', models.CharField(max_length=64)),
                ('study', models.CharField(blank=True, default='', max_length=64)),
                ('expires_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant_id', 'digest'), name='oauthlaunch_once')],
            },
        ),
        migrations.CreateModel(
            name='OAuthRefresh',
            fields=[
                ('id', models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
                ('tenant_id', models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
                ('digest', models.CharField(max_length=64)),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('grant', journal.wall.models.TenantForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, to='tenants.oauthgrant')),
            ],
            options={
                'indexes': [models.Index(fields=['tenant_id', 'grant'], name='oauthrefresh_grant')],
                'constraints': [models.UniqueConstraint(fields=('tenant_id', 'digest'), name='oauthrefresh_once')],
            },
        ),
        WallTable("OAuthGrant"),
        WallTable("OAuthLaunch"),
        WallTable("OAuthRefresh"),
        # An app's token has the role of its person at the moment: whoever remembers holders (tenants/known.py) hears of changes.
        migrations.RunSQL(
            sql=[
                "CREATE TRIGGER tenants_access AFTER UPDATE OR DELETE OR TRUNCATE ON tenants_membership FOR EACH STATEMENT "
                "EXECUTE FUNCTION tenants_access_changed()",
                "CREATE TRIGGER tenants_access AFTER UPDATE OF is_active ON tenants_user FOR EACH ROW "
                "WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active) EXECUTE FUNCTION tenants_access_changed()",
            ],
            reverse_sql=["DROP TRIGGER tenants_access ON tenants_membership", "DROP TRIGGER tenants_access ON tenants_user"],
        ),
    ]
