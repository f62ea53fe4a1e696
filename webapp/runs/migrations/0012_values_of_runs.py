"""Gives every run its values (`webapp.runs.run_values`), for the table of runs."""

from django.db import migrations

from webapp.runs.run_values import AT_ONCE, Tables, store_values


def fill(apps, schema_editor):
    tables = Tables(*(apps.get_model("runs", name) for name in ("RunStage", "MetricChunk", "RunField", "RunValue")))
    runs = apps.get_model("runs", "Run").objects.order_by("pk")
    keys = list(runs.values_list("pk", flat=True))
    for start in range(0, len(keys), AT_ONCE):
        store_values(list(runs.filter(pk__in=keys[start:start + AT_ONCE])), tables)


class Migration(migrations.Migration):

    dependencies = [
        ("runs", "0011_table_of_runs"),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
