from django.apps import AppConfig


class PrinciplesConfig(AppConfig):
    name = "webapp.principles"
