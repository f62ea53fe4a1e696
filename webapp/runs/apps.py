from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "webapp.runs"

    def ready(self) -> None:
        """Runs can be found by name, and labels be filtered by them."""
        from webapp.accounts.finding import make_searchable
        from webapp.labels.filtering import add_filter
        from webapp.runs.labels_of_run import labels_of_run
        from webapp.runs.models import Run

        make_searchable(Run, place=1)
        add_filter("run", Run, labels_of_run)
