from __future__ import annotations

from django.urls import path, re_path

from webapp.runs.compare import views as compare_views
from webapp.runs.downloads import views as download_views
from webapp.runs.form import form_views
from webapp.runs.head_to_head import views as head_views
from webapp.runs.page import order_views, paper_views, steering_views, tidy_views, views
from webapp.runs.principle_page import views as principle_views
from webapp.runs.report import views as report_views
from webapp.runs.retraining import views as retraining_views
from webapp.runs.rollouts import views as rollout_views
from webapp.runs.rollouts import what_if_views
from webapp.runs.table import many_views, view_actions
from webapp.runs.table import views as table_views

app_name = "runs"
urlpatterns = [
    path("", table_views.run_list, name="list"),
    path("rows/", table_views.run_list_rows, name="rows"),
    re_path(r"^runs\.(?P<ending>csv|parquet)$", table_views.run_list_file, name="file"),
    path("many/", many_views.many, name="many"),
    path("many/undo/", many_views.undo, name="many_undo"),
    path("views/save/", view_actions.save, name="view_save"),
    path("views/<int:pk>/rename/", view_actions.rename, name="view_rename"),
    path("views/<int:pk>/delete/", view_actions.delete, name="view_delete"),
    path("running/", views.running, name="running"),
    path("new/", form_views.run_new, name="new"),
    path("new/preview/", form_views.run_preview, name="preview"),
    path("start-demo/", views.start_demo, name="start_demo"),
    path("start-real-english/", views.start_real_english, name="start_real_english"),
    path("train-again/", retraining_views.train_again, name="train_again"),
    path("compare/", compare_views.compare, name="compare"),
    path("compare/metrics/", compare_views.compare_metrics, name="compare_metrics"),
    path("compare/report.html", report_views.compare_report, name="compare_report"),
    path("compare/head-to-head/new/", head_views.head_to_head_new, name="head_to_head_new"),
    path("compare/head-to-head/<int:pk>/", head_views.head_to_head, name="head_to_head"),
    path("compare/head-to-head/<int:pk>/state/", head_views.head_to_head_state, name="head_to_head_state"),
    path("compare/head-to-head/<int:pk>/cancel/", head_views.head_to_head_cancel, name="head_to_head_cancel"),
    path("compare/head-to-head/<int:pk>/again/", head_views.head_to_head_again, name="head_to_head_again"),
    path("paper/", paper_views.paper, name="paper"),
    path("paper/start/", paper_views.start_paper, name="start_paper"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/state/", views.state, name="state"),
    path("<int:pk>/samples/", views.samples, name="samples"),
    path("<int:pk>/metrics/", views.metrics_json, name="metrics"),
    path("<int:pk>/metrics.csv", views.metrics_csv, name="csv"),
    path("<int:pk>/recipe.yaml", views.recipe_yaml, name="yaml"),
    path("<int:pk>/report.html", report_views.run_report, name="report"),
    path("<int:pk>/cancel/", order_views.cancel, name="cancel"),
    path("<int:pk>/resume/", order_views.resume, name="resume"),
    path("<int:pk>/go-on/", order_views.go_on, name="go_on"),
    path("<int:pk>/pause/", order_views.pause, name="pause"),
    path("<int:pk>/move/", order_views.move, name="move"),
    path("storage/", tidy_views.storage, name="storage"),
    path("<int:pk>/describe/", tidy_views.describe, name="describe"),
    path("<int:pk>/archive/", tidy_views.archive, name="archive"),
    path("<int:pk>/delete/", tidy_views.delete, name="delete"),
    path("<int:pk>/rollouts/", rollout_views.rollouts, name="rollouts"),
    path("<int:pk>/what-if/", what_if_views.what_if_page, name="what_if"),
    re_path(r"^(?P<pk>\d+)/rollouts\.(?P<ending>csv|parquet)$", rollout_views.rollouts_file, name="rollouts_file"),
    path("<int:pk>/downloads/", download_views.downloads, name="downloads"),
    path("<int:pk>/downloads/models/", download_views.downloads_state, name="downloads_state"),
    path("<int:pk>/downloads/adapter.zip", download_views.adapter, name="download_adapter"),
    path("<int:pk>/downloads/step-<int:step>.zip", download_views.kept, name="download_kept"),
    re_path(r"^(?P<pk>\d+)/downloads/labels\.(?P<form>jsonl|parquet)$", download_views.labels, name="download_labels"),
    path("<int:pk>/downloads/README.md", download_views.card, name="download_card"),
    path("<int:pk>/downloads/<str:name>.zip", download_views.model, name="download_model"),
    path("<int:pk>/downloads/<str:name>/export/", download_views.export, name="export_model"),
]

# Pages under the addresses of lower apps that show what only runs know.
principle_pages = [
    path("", principle_views.principle_list, name="list"),
    path("<int:pk>/", principle_views.principle_detail, name="detail"),
    path("<int:pk>/try/", principle_views.principle_try, name="try"),
]
judge_pages = [
    path("runs/<int:pk>/labelling/", steering_views.run_labelling, name="run_labelling"),
    path("runs/<int:pk>/steer/", steering_views.run_steer, name="run_steer"),
]
