"""Nodes have a DICOMweb side, and may be asked for storage commitment."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('imaging', '0010_node_results'),
    ]

    operations = [
        migrations.AddField(
            model_name='node',
            name='is_commitment_asked',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='node',
            name='results_by',
            field=models.CharField(choices=[('dimse', 'Dimse'), ('stow', 'Stow')], default='dimse', max_length=5),
        ),
        migrations.AddField(
            model_name='node',
            name='web_auth',
            field=models.CharField(choices=[('none', 'None'), ('bearer', 'Bearer'), ('basic', 'Basic')], default='none', max_length=6),
        ),
        migrations.AddField(
            model_name='node',
            name='web_secret',
            field=models.TextField(blank=True, default=''),
        ),
        migrations.AddField(
            model_name='node',
            name='web_url',
            field=models.CharField(blank=True, default='', max_length=500),
        ),
        migrations.AddField(
            model_name='node',
            name='web_user',
            field=models.CharField(blank=True, default='', max_length=120),
        ),
    ]
