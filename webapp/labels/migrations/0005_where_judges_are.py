"""Labels bought so far name the model alone; now they get the server at which they were surely bought.

A label can only have been bought at an address that some label stage of its team, for its wording and its version of
the question, was told to ask, and not before the first run that used such a stage was made. Where that leaves one
address, the label gets it. Where it leaves several, the label keeps the model alone as its judge: no judge takes it for
its own until a person says whose it is. One UPDATE a wording and model, whatever the number of labels.
"""

from django.db import migrations
from django.db.models import Min

from training.config import JudgeSettings
from training.judges.identity import judge_name, unplaced_name
from training.judges.prompt import prompt_version


def place(apps, schema_editor):
    Stage, Label = apps.get_model("runs", "Stage"), apps.get_model("labels", "Label")
    PrincipleVersion = apps.get_model("principles", "PrincipleVersion")
    asked = {}  # (team, principle, statement, version of the question, old name) -> {new name: when it was first asked}
    stages = Stage.objects.filter(kind="label").annotate(since=Min("uses__run__created_at"))
    for team, settings, since in stages.values_list("team_id", "settings", "since").iterator():
        try:
            judge = JudgeSettings.model_validate(settings["judge"])
            wording = (team, settings["principle"], settings["statement"], prompt_version(judge), unplaced_name(judge))
        except (KeyError, TypeError, ValueError):
            continue  # nobody can tell whom it asked
        if judge.kind != "openai" or since is None:
            continue
        places, name = asked.setdefault(wording, {}), judge_name(judge)
        places[name] = min(since, places.get(name, since))
    for (team, principle, statement, version, name), places in asked.items():
        versions = PrincipleVersion.objects.filter(principle__team_id=team, principle__name=principle,
                                                   statement=statement).values_list("pk", flat=True)
        labels = Label.objects.filter(team_id=team, judge=name, principle_version_id__in=list(versions),
                                      prompt_version=version)
        first, *others = sorted(places.items(), key=lambda item: item[1])
        if others:
            labels = labels.filter(created_at__lt=others[0][1])
        labels.update(judge=first[0])


class Migration(migrations.Migration):

    dependencies = [
        ("labels", "0004_bulk_actions"),
        ("principles", "0001_initial"),
        ("runs", "0002_corrections"),
    ]

    operations = [migrations.RunPython(place, migrations.RunPython.noop)]
