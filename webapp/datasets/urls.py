from __future__ import annotations

from django.urls import path

from webapp.datasets import curation_views, draft_views, profile_views, views

app_name = "datasets"
urlpatterns = [
    path("", views.dataset_list, name="list"),
    path("new/", views.dataset_new, name="new"),
    path("<int:pk>/", views.dataset_detail, name="detail"),
    path("<int:pk>/columns/", views.dataset_columns, name="columns"),
    path("<int:pk>/progress/", views.dataset_progress, name="progress"),
    path("<int:pk>/restart/", views.dataset_restart, name="restart"),
    path("<int:pk>/rename/", views.dataset_rename, name="rename"),
    path("<int:pk>/delete/", views.dataset_delete, name="delete"),
    path("<int:pk>/rejected/", views.dataset_rejected, name="rejected"),
    path("<int:pk>/rejected.csv", views.dataset_rejected_csv, name="rejected_csv"),
    path("<int:pk>/profile/", profile_views.dataset_profile, name="profile"),
    path("<int:pk>/differences/", profile_views.dataset_differences, name="differences"),
    path("<int:pk>/curate/", curation_views.dataset_curate, name="curate"),
    path("<int:pk>/curate/save/", curation_views.curation_save, name="curation_save"),
    path("<int:pk>/curate/discard/", curation_views.curation_discard, name="curation_discard"),
    path("<int:pk>/rows/exclude/", draft_views.matching_exclude, name="matching_exclude"),
    path("<int:pk>/rows/<int:number>/exclude/", draft_views.row_exclude, name="row_exclude"),
    path("<int:pk>/rows/<int:number>/edit/", draft_views.row_edit, name="row_edit"),
    path("<int:pk>/draft/discard/", draft_views.draft_discard, name="draft_discard"),
    path("<int:pk>/draft/save/", draft_views.draft_save, name="draft_save"),
    path("<int:pk>/rows.jsonl", views.dataset_download, name="download"),
]
