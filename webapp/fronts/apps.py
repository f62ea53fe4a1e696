from django.apps import AppConfig


class FrontsConfig(AppConfig):
    name = "webapp.fronts"

    def ready(self) -> None:
        """A head to head waits while a front of its team is judged, and the other way round."""
        from webapp.fronts.services import is_buying
        from webapp.runs.head_to_head.services import OTHER_BUYERS

        if is_buying not in OTHER_BUYERS:
            OTHER_BUYERS.append(is_buying)
