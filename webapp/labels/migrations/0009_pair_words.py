"""The words by which pairs are found, also for the pairs that are here already, and the index of each database."""

import re
import unicodedata

import django.db.models.deletion
from django.db import OperationalError, migrations, models

BATCH = 500
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def make_words(apps, schema_editor):
    """As `webapp.labels.pair_search.words_of` was when this migration was written."""
    Text, Words = apps.get_model("labels", "PairText"), apps.get_model("labels", "PairWords")
    texts, last = Text.objects.order_by("pair_id").values_list("pair_id", "prompt", "response_a", "response_b"), 0
    while batch := list(texts.filter(pair_id__gt=last)[:BATCH]):
        last = batch[-1][0]
        Words.objects.bulk_create([
            Words(pair_id=pair, words=_words(*(message["content"] for message in prompt), a, b))
            for pair, prompt, a, b in batch])


def _words(*texts):
    folded = unicodedata.normalize("NFC", " ".join(texts).casefold())
    return " ".join(list(dict.fromkeys(word[:60] for word in _WORD.findall(folded)))[:20_000])


def make_index(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        if schema_editor.connection.vendor == "postgresql":
            for statement in POSTGRESQL:
                cursor.execute(statement)
            return
        try:
            cursor.execute(FTS5)
        except OperationalError as error:
            if "no such module" not in str(error):
                raise
            return  # this SQLite was built without FTS5: the words are looked through row by row
        for statement in TRIGGERS:
            cursor.execute(statement)


def drop_index(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        with schema_editor.connection.cursor() as cursor:
            for event in ("insert", "delete", "update"):
                cursor.execute(f"DROP TRIGGER IF EXISTS labels_pairwords_{event}")
            cursor.execute("DROP TABLE IF EXISTS labels_pairsearch")


POSTGRESQL = (
    "ALTER TABLE labels_pairwords ADD COLUMN document tsvector "
    "GENERATED ALWAYS AS (array_to_tsvector(string_to_array(words, ' '))) STORED",
    "CREATE INDEX labels_pairwords_document ON labels_pairwords USING GIN (document)",
)
FTS5 = ("CREATE VIRTUAL TABLE labels_pairsearch USING fts5(words, content='labels_pairwords', "
        "content_rowid='pair_id', detail=none, columnsize=0, tokenize=\"unicode61 remove_diacritics 0\")")
_ADD = "INSERT INTO labels_pairsearch(rowid, words) VALUES (new.pair_id, new.words);"
_REMOVE = "INSERT INTO labels_pairsearch(labels_pairsearch, rowid, words) VALUES ('delete', old.pair_id, old.words);"
TRIGGERS = (
    f"CREATE TRIGGER labels_pairwords_insert AFTER INSERT ON labels_pairwords BEGIN {_ADD} END",
    f"CREATE TRIGGER labels_pairwords_delete AFTER DELETE ON labels_pairwords BEGIN {_REMOVE} END",
    f"CREATE TRIGGER labels_pairwords_update AFTER UPDATE ON labels_pairwords BEGIN {_REMOVE} {_ADD} END",
    "INSERT INTO labels_pairsearch(labels_pairsearch) VALUES ('rebuild')",
)


class Migration(migrations.Migration):
    dependencies = [("labels", "0008_aspect_uses")]

    operations = [
        migrations.CreateModel(
            name="PairWords",
            fields=[
                ("pair", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name="+", serialize=False, to="labels.pair")),
                ("words", models.TextField()),
            ],
        ),
        migrations.RunPython(make_words, migrations.RunPython.noop, elidable=True),
        migrations.RunPython(make_index, drop_index),
    ]
