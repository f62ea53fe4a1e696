from django.db import migrations, models


def say_queues(apps, schema_editor):
    """Labels go to the workers that ask judges, but not those of a judge that is a model on the workers' machine."""
    stages = apps.get_model("runs", "Stage").objects
    labels = stages.filter(kind="label").values_list("pk", "settings")
    asked = [pk for pk, settings in labels.iterator() if settings.get("judge", {}).get("kind") != "local"]
    for start in range(0, len(asked), 500):
        stages.filter(pk__in=asked[start:start + 500]).update(queue="io")


class Migration(migrations.Migration):

    dependencies = [("runs", "0008_model_export")]

    operations = [
        migrations.AddField("run", "place", models.BigIntegerField(
            blank=True, help_text="Its place in the order of runs, lowest first. Empty: its own number.", null=True)),
        migrations.AddField("run", "paused", models.BooleanField(
            default=False, help_text="No further stage of it starts.")),
        migrations.AddField("stage", "locked_until", models.DateTimeField(
            blank=True, help_text="An earlier process holds its folder: not taken before this time.", null=True)),
        migrations.AddField("stage", "queue", models.CharField(
            choices=[("io", "workers that ask judges"), ("gpu", "workers that load models")], default="gpu",
            help_text="Which workers take it.", max_length=5)),
        migrations.RunPython(say_queues, migrations.RunPython.noop, elidable=True),
    ]
