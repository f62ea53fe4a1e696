from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "webapp.datasets"

    def ready(self) -> None:
        """Datasets can be found by name."""
        from webapp.accounts.finding import make_searchable
        from webapp.datasets.models import Dataset, titled

        make_searchable(Dataset, place=3, columns=("name", "version"), title=titled)
