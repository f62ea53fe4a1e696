from django.apps import AppConfig


class LabelsConfig(AppConfig):
    name = "webapp.labels"

    def ready(self) -> None:
        """The review is the site's only admin."""
        from django.contrib import admin
        from django.contrib.admin import sites

        from webapp.labels.site import review_site

        admin.site = sites.site = review_site
