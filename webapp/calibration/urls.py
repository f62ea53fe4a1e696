from __future__ import annotations

from django.urls import path

from webapp.calibration import views

app_name = "calibration"
urlpatterns = [
    path("", views.set_list, name="set_list"),
    path("<int:pk>/", views.set_detail, name="set_detail"),
    path("<int:pk>/state/", views.set_state, name="set_state"),
    path("<int:pk>/renew/", views.set_renew, name="set_renew"),
    path("<int:pk>/delete/", views.set_delete, name="set_delete"),
    path("<int:pk>/check/", views.set_check, name="set_check"),
    path("checks/<int:pk>/again/", views.check_again, name="check_again"),
]
