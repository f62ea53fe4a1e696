"""An annotator's queue by keys: at once, over a lost connection and a reload, on a phone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import new_context
from tests.processes import ROOT
from tests.stack import Stack, Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
BOTH = re.compile("Not saved yet: “Question .*” \\(B better\\), “Question")
NAME, PASSWORD = "ann", "ann-reviews-labels"
# Forty labels, and an annotator who gets thirty of them; other tests have made labels of their own.
SEED = f"""
from tests.webapp.labels.conftest import version_of
from webapp.accounts.models import Team, User
from webapp.accounts.services import member_add
from webapp.labels.models import Label, Pair, PairText
from webapp.labels.pair_search import words_restore
from webapp.review.assigning import Dealing, assignment_create
team = Team.objects.get()
ann = User.objects.create_user({NAME!r}, password={PASSWORD!r})
member_add(team=team, user=ann, role="annotator")
long = "The sky is blue because air scatters short waves of light more than long ones. " * 8
for number in range(40):
    pair = Pair.objects.create(team=team, digest=f"{{number:032x}}", excerpt=f"Question {{number}}")
    question = f"Question {{number}}: why is the sky blue?"
    PairText.objects.create(pair=pair, prompt=[{{"role": "user", "content": question}}],
                            response_a=long + f"That is answer {{number}}.", response_b=long + "Nobody knows that.")
    Label.objects.create(team=team, pair=pair, principle_version=version_of(team, "factuality"), judge="rule",
                         prompt_version="1", probability=0.8, p_shown=0.8, p_swapped=0.8, order_gap=0, confidence=0.6)
words_restore()
demo = User.objects.get(username="demo")
made = assignment_create(team=team, by=demo, name="First look", dealing=Dealing(
    people=[ann, demo], per_person=30, overlap_every=1, filters={{"q": "sky is blue because air scatters"}}))
print("assignment", made.pk)
"""


@pytest.fixture(scope="module")
def address(concord: Stack) -> str:
    """The address of the annotator's queue."""
    shell = subprocess.run([sys.executable, "manage.py", "shell", "-v", "0", "-c", SEED], cwd=ROOT, check=True,
                           env=concord.environment, capture_output=True, text=True)
    return f"/labels/review/{shell.stdout.split()[-1]}/"


@pytest.fixture
def ann(browser: Browser, concord: Stack, address: str) -> Iterator[Page]:
    """A page of the annotator."""
    cookies = Visitor(concord.url).login(NAME, PASSWORD).cookies()
    context = new_context(browser, concord)
    context.add_cookies([{"name": name, "value": value, "url": concord.url} for name, value in cookies.items()])
    yield context.new_page()
    context.close()


def current(page: Page) -> str:
    return page.locator(".review-pair:not([hidden])").get_attribute("data-item") or ""


def saved(page: Page) -> int:
    return int(page.locator("#summary .number").inner_text())


def test_ten_pairs_are_decided_by_keys_and_each_next_one_is_there_at_once(ann: Page, address: str) -> None:
    ann.goto(address)
    seen = [current(ann)]
    for key in "abtabtabts":
        ann.keyboard.press(key)
        seen.append(current(ann))
        ann.wait_for_timeout(400)
    assert len(set(seen)) == 11 and "" not in seen
    expect(ann.locator("#summary")).to_contain_text(re.compile("^9 of 30 decided by you, 1 skipped"))
    expect(ann.locator("#last")).to_have_text("On the pair before, the judge: A better, 0.80.")


def test_undo_brings_the_pair_back(ann: Page, address: str) -> None:
    ann.goto(address)
    before, first = saved(ann), current(ann)
    ann.keyboard.press("a")
    expect(ann.locator("#summary .number")).to_have_text(str(before + 1))
    ann.keyboard.press("u")
    expect(ann.locator(".review-pair:not([hidden])")).to_have_attribute("data-item", first)
    expect(ann.locator("#summary .number")).to_have_text(str(before))


def test_what_is_not_saved_is_named_survives_a_reload_and_is_saved_later(ann: Page, address: str) -> None:
    ann.goto(address)
    before, seen = saved(ann), []

    def cut(route: Route) -> None:
        route.abort() if route.request.method == "POST" else route.continue_()

    ann.route(f"**{address}", cut)
    for key in "ba":
        seen.append(current(ann))
        ann.keyboard.press(key)
    expect(ann.locator("#unsaved")).to_contain_text(BOTH)
    ann.reload()
    expect(ann.locator("#unsaved")).to_contain_text(BOTH)
    assert current(ann) not in seen, "what is decided does not come back"
    ann.unroute(f"**{address}")
    expect(ann.locator("#summary .number")).to_have_text(str(before + 2), timeout=20_000)
    expect(ann.locator("#unsaved")).to_be_hidden()
    assert ann.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('concord-queue')).length") == 0


def test_who_is_logged_out_meanwhile_loses_nothing(ann: Page, address: str, concord: Stack) -> None:
    ann.goto(address)
    before = saved(ann)
    ann.context.clear_cookies()
    ann.keyboard.press("t")
    expect(ann.locator("#unsaved")).to_contain_text("You are logged out")
    cookies = Visitor(concord.url).login(NAME, PASSWORD).cookies()
    ann.context.add_cookies([{"name": name, "value": value, "url": concord.url} for name, value in cookies.items()])
    ann.goto(address)
    expect(ann.locator("#summary .number")).to_have_text(str(before + 1))


def test_both_responses_and_the_buttons_are_in_sight_on_a_phone(ann: Page, address: str) -> None:
    ann.set_viewport_size({"width": 390, "height": 844})
    ann.goto(address)
    for part in (ann.get_by_role("group", name="Response A"), ann.get_by_role("group", name="Response B"),
                 ann.get_by_role("button", name="Tie")):
        expect(part).to_be_in_viewport(ratio=0.9)
    assert ann.evaluate("document.documentElement.scrollWidth") <= 390
