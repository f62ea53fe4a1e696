from __future__ import annotations

from django.urls import path

from webapp.judges import comparison_views, label_quality_views, views

app_name = "judges"
urlpatterns = [
    path("", views.connection_list, name="list"),
    path("new/", views.connection_new, name="new"),
    path("<int:pk>/", views.connection_detail, name="detail"),
    path("<int:pk>/edit/", views.connection_edit, name="edit"),
    path("<int:pk>/delete/", views.connection_delete, name="delete"),
    path("<int:pk>/claim/", views.connection_claim, name="claim"),
    path("<int:pk>/test/", views.connection_test, name="test"),
    path("principles/<int:pk>/compare/", comparison_views.principle_compare, name="principle_compare"),
    path("comparisons/<int:pk>/", comparison_views.comparison_detail, name="comparison_detail"),
    path("comparisons/<int:pk>/state/", comparison_views.comparison_state, name="comparison_state"),
    path("comparisons/<int:pk>/again/", comparison_views.comparison_again, name="comparison_again"),
    path("comparisons/<int:pk>/adopt/", comparison_views.comparison_adopt, name="comparison_adopt"),
]

# Under the addresses of labels: it shows the prices of the judges as well.
label_pages = [path("quality/", label_quality_views.label_quality_page, name="quality")]
