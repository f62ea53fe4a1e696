"""The form says what each stage will need of memory, against what the workers say they have."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.webapp.runs.test_run_form import NEW, posted
from training.config import shipped_recipe
from training.run.device import Device
from webapp.accounts.models import Team
from webapp.runs import devices
from webapp.runs.devices import device_report, memory_preview, smallest_device
from webapp.runs.models import WorkerDevice
from workers import devices as worker_devices

GB = 10**9
T4, H100 = Device(16 * GB, True, "NVIDIA T4"), Device(80 * GB, True, "NVIDIA H100")
pytestmark = pytest.mark.django_db


def text_of(page: bytes) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.decode())).replace("\u00a0", " ")


def test_each_stage_has_its_peak_beside_the_form(owner_client: Client) -> None:
    device_report(host="laptop", device=Device(16 * GB, False, "this machine"))
    page = text_of(owner_client.get(NEW).content)
    assert "on a worker without a GPU (16.0 GB of memory)" in page
    for title in ("Sampling", "Preference model", "PPO", "Evaluation"):
        assert re.search(rf"{title} \d+\.\d GB \( ?\d+\.\d GB to \d+\.\d GB", page), title
    assert "does not fit" not in page and "Fine-tuning" not in page


def test_a_stage_that_does_not_fit_the_smallest_gpu_is_named_with_a_way_out(team: Team, owner_client: Client) -> None:
    device_report(host="big", device=H100)
    device_report(host="small", device=Device(2 * GB, True, "NVIDIA T400"))
    data = posted(team, shipped_recipe("small_gpu"), policy__base="owner/some-8B")
    page = text_of(owner_client.post(f"{NEW}preview/", data).content)
    assert "on NVIDIA T400 (2.0 GB of memory)" in page and "does not fit" in page
    assert "size guessed from the model’s name" in page
    assert "Lower the batch sizes or the token limits of those stages" in page


def test_a_model_of_unknown_size_is_named(team: Team, owner_client: Client) -> None:
    data = posted(team, shipped_recipe("demo"), policy__base="owner/mystery")
    page = text_of(owner_client.post(f"{NEW}preview/", data).content)
    assert "The size of owner/mystery is not known before it is downloaded." in page


def test_a_worker_that_was_not_seen_for_long_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "this_device", lambda wanted: Device(GB, False, f"here for {wanted}"))
    assert smallest_device("cuda").name == "here for cuda"
    device_report(host="gone", device=T4)
    WorkerDevice.objects.update(seen_at=timezone.now() - timedelta(days=8))
    device_report(host="big", device=H100)
    assert smallest_device("cuda") == H100 and smallest_device("auto") == H100
    assert smallest_device("cpu").name == "here for cpu", "a GPU's memory is not what a stage on a CPU gets"


def test_a_worker_reports_again_in_the_same_row(monkeypatch: pytest.MonkeyPatch) -> None:
    worker_devices.own_device.cache_clear()
    monkeypatch.setattr(worker_devices, "this_device", lambda: T4)
    worker_devices.report()
    worker_devices.report()
    row = WorkerDevice.objects.get()
    assert (row.name, row.total_bytes, row.is_gpu) == ("NVIDIA T4", 16 * GB, True)
    worker_devices.own_device.cache_clear()


def test_the_preview_asks_once_however_many_workers_and_stages(django_assert_num_queries: object) -> None:
    for number in range(5):
        device_report(host=f"worker-{number}", device=T4)
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert len(memory_preview(shipped_recipe("small_gpu")).lines) == 4
