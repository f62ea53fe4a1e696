"""Who imports a data set, when it last said so, and how often it was tried."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("datasets", "0001_initial")]

    operations = [
        migrations.AddField("dataset", "claim", models.CharField(
            blank=True, max_length=32, default="", help_text="Of the worker that imports it; empty: nobody does."),
            preserve_default=False),
        migrations.AddField("dataset", "heartbeat_at", models.DateTimeField(
            null=True, help_text="When its import was last sent or said that it goes on.")),
        migrations.AddField("dataset", "attempts", models.PositiveSmallIntegerField(
            default=0, help_text="Starts of its import since it last moved on.")),
    ]
