from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('judges', '0002_comparison_pace_comparisonanswer'), ('labels', '0002_label_changes')]

    operations = [
        migrations.AddField(
            model_name='comparison', name='judge_b',
            field=models.JSONField(blank=True, help_text='The other judge; empty: one judge, two wordings.', null=True)),
        migrations.AddField(
            model_name='comparison', name='judge_title_b', field=models.CharField(blank=True, max_length=300)),
        migrations.RemoveConstraint(model_name='comparisonanswer', name='compared_once'),
        migrations.RenameField(model_name='comparisonanswer', old_name='wording', new_name='side'),
        migrations.AddConstraint(
            model_name='comparisonanswer',
            constraint=models.UniqueConstraint(fields=('comparison', 'pair', 'side'), name='compared_once')),
    ]
