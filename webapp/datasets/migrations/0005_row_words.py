"""The words by which rows are found, also for the data sets that are here already."""

import unicodedata

import django.db.models.deletion
from django.db import migrations, models

BATCH = 500


def make_words(apps, schema_editor):
    """As `webapp.datasets.searching.words_of` was when this migration was written."""
    Text, Words = apps.get_model("datasets", "DatasetText"), apps.get_model("datasets", "RowWords")
    columns = ("row_id", "row__dataset_id", "row__number", "prompt", "chosen", "rejected")
    texts, last = Text.objects.order_by("row_id").values_list(*columns), 0
    while batch := list(texts.filter(row_id__gt=last)[:BATCH]):
        last = batch[-1][0]
        Words.objects.bulk_create([
            Words(dataset_id=dataset, number=number,
                  words=_words(*(message["content"] for message in prompt), chosen, rejected))
            for _, dataset, number, prompt, chosen, rejected in batch])


def _words(*texts):
    folded = unicodedata.normalize("NFC", " ".join(texts).casefold())
    return " ".join(dict.fromkeys(folded.split()))


class Migration(migrations.Migration):
    dependencies = [("datasets", "0004_raw_text_of_bad_rows")]

    operations = [
        migrations.CreateModel(
            name="RowWords",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("words", models.TextField()),
                ("dataset", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="datasets.dataset")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=["dataset", "number"], name="row_words_once")],
            },
        ),
        migrations.RunPython(make_words, migrations.RunPython.noop, elidable=True),
    ]
