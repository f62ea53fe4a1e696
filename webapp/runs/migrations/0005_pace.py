import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """The model was of `webapp.judges`, whose migrations made its table; it is used as it is."""

    dependencies = [
        ('accounts', '0001_initial'),
        ('judges', '0006_pace_is_of_runs'),
        ('runs', '0004_points_of_a_chunk'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[
            migrations.CreateModel(
                name='Pace',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('paused', models.BooleanField(default=False)),
                    ('requests_per_minute', models.PositiveIntegerField(blank=True, help_text='Empty: as the recipe has it.', null=True)),
                    ('concurrency', models.PositiveIntegerField(blank=True, help_text='Empty: as the recipe has it.', null=True)),
                    ('stage', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='pace', to='runs.stage')),
                    ('team', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.team')),
                ],
                options={
                    'db_table': 'judges_pace',
                },
            ),
        ]),
    ]
