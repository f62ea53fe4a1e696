from django.apps import AppConfig


class FrontsConfig(AppConfig):
    name = "webapp.fronts"
