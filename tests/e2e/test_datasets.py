"""Real preference data comes in through the browser: recognised, looked at, imported, bad rows named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.e2e, pytest.mark.once]  # its queries run on both databases in tests/webapp/datasets


def upload(page: Page, file: Path, name: str) -> None:
    page.goto("/datasets/new/")
    form = page.locator("form", has=page.get_by_role("heading", name="Upload a file"))
    form.locator("input[type=file]").set_input_files(file)
    form.get_by_label("Name").fill(name)
    form.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/columns/")


def test_the_file_of_hh_rlhf_is_recognised_and_imported_and_its_bad_row_is_named(page: Page, hh_rows: Path) -> None:
    file = hh_rows.with_name("with_a_bad_row.jsonl")
    lines = hh_rows.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:3], '{"chosen": "cut off', *lines[3:]]) + "\n", encoding="utf-8")
    upload(page, file, "Harmless, 200 rows")
    expect(page.get_by_role("status").filter(has_text="Read as")).to_contain_text("hh-rlhf")
    expect(page.get_by_text("Left out:")).to_be_visible()
    expect(page.locator(".row-fold").first).to_be_visible()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", level=1).locator(".badge")).to_have_text("ready", timeout=60_000)
    expect(page.locator(".stat-row")).to_contain_text("200")
    page.get_by_role("link", name="Bad rows 1").click()
    row = page.locator(".rejected-rows tbody tr")
    expect(row).to_have_count(1)
    expect(row.locator("td").first).to_have_text("4")


def test_columns_with_other_names_are_mapped_by_hand_and_the_preview_follows(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "other_names.jsonl"
    rows = [{"ask": f"What is {n} and {n}?", "good": f"It is {2 * n}.", "bad": "I will not say."} for n in range(12)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    upload(page, file, "Other names")
    page.get_by_label("Prompt", exact=True).select_option("ask")
    page.get_by_label("Chosen response").select_option("good")
    page.get_by_label("Rejected response").select_option("bad")
    expect(page.get_by_role("status").filter(has_text="Read as")).to_be_visible()
    expect(page.locator(".row-fold").first).to_contain_text("What is 0 and 0?")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", level=1).locator(".badge")).to_have_text("ready", timeout=60_000)
    expect(page.locator(".stat-row")).to_contain_text("12")


def test_an_imported_dataset_can_be_chosen_for_a_run(page: Page, hh_rows: Path) -> None:
    upload(page, hh_rows, "Chosen for a run")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", level=1).locator(".badge")).to_have_text("ready", timeout=60_000)
    page.goto("/runs/new/")
    expect(page.locator("select[name=source]")).to_contain_text("Chosen for a run (200 preference pairs)")


def test_rows_are_searched_excluded_edited_and_saved_as_a_version_that_a_run_can_start_from(
        page: Page, tmp_path: Path) -> None:
    file = tmp_path / "towns.jsonl"
    towns = ("Köln", "Paris", "Oslo", "Rome", "Paris again")
    rows = [{"prompt": f"Where is {town}?", "chosen": "Look at a map.", "rejected": "No idea."} for town in towns]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    upload(page, file, "Towns")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", level=1).locator(".badge")).to_have_text("ready", timeout=60_000)

    page.get_by_role("searchbox", name="Words").fill("KÖLN")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="matches")).to_have_text("1 row matches")
    page.get_by_role("link", name="Edit row 1").click()
    page.get_by_label("Rejected response").fill("Look at a map.")
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.get_by_role("alert")).to_contain_text("is the same as the chosen response")
    page.get_by_label("Rejected response").fill("On the Rhine, perhaps.")
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.locator("#row-1")).to_contain_text("On the Rhine, perhaps.")

    page.get_by_role("link", name="Clear").click()
    page.locator("#row-3 > summary").click()
    page.get_by_role("button", name="Exclude row 3").click()
    expect(page.locator("#row-3 > summary")).to_contain_text("excluded")
    page.get_by_role("searchbox", name="Words").fill("paris")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name="Exclude all").click()
    page.get_by_role("button", name="Exclude 2 rows").click()
    expect(page.get_by_role("region", name="Draft")).to_contain_text("3 rows excluded, 1 edited")

    page.get_by_role("button", name="Save as a new version").click()
    expect(page.get_by_role("heading", level=1).locator(".badge.is-done")).to_have_text("ready", timeout=60_000)
    expect(page.get_by_role("heading", level=1)).to_contain_text("version 2")
    expect(page.get_by_text("3 rows excluded, 1 edited from version 1").first).to_be_visible()
    expect(page.locator(".row-fold")).to_have_count(2)
    page.goto("/runs/new/")
    offered = page.locator("select[name=source] option").filter(has_text="Towns").all_inner_texts()
    assert offered == ["Towns, version 2 (2 preference pairs)", "Towns (5 preference pairs)"]
