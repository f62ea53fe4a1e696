"""Labels to review, and people who do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from django.test import Client

from tests.conftest import logged_in, make_user
from tests.webapp.labels.conftest import version_of
from training.run.pipeline import pair_digest
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import member_add
from webapp.labels.models import Label, Pair, PairText
from webapp.review.assigning import Dealing, assignment_create
from webapp.review.models import ReviewAssignment, ReviewItem

MakeLabels = Callable[..., list[Label]]
Assign = Callable[..., ReviewAssignment]


@pytest.fixture
def annotator(team: Team) -> User:
    user = make_user("annotator")
    member_add(team=team, user=user, role=Role.ANNOTATOR)
    return user


@pytest.fixture
def annotator_client(annotator: User) -> Client:
    return logged_in(annotator)


@pytest.fixture
def lead(owner: User, team: Team) -> User:
    """The owner, who is staff: assigns labels and adjudicates."""
    owner.is_staff = True
    owner.save()
    return owner


@pytest.fixture
def lead_client(lead: User) -> Client:
    return logged_in(lead)


@pytest.fixture
def make_labels(team: Team) -> MakeLabels:
    def make(answers: Sequence[tuple[float, float]], principle: str = "factuality", start: int = 0) -> list[Label]:
        """A label for each (P(A) with A first, P(A) with B first), on a pair of its own."""
        labels = []
        for number, (shown, swapped) in enumerate(answers, start):
            prompt = [{"role": "user", "content": f"Question {number}?"}]
            texts = f"First {number}.", f"Second {number}."
            pair = Pair.objects.create(team=team, digest=pair_digest(prompt, *texts), excerpt=f"Question {number}?")
            PairText.objects.create(pair=pair, prompt=prompt, response_a=texts[0], response_b=texts[1])
            mean = (shown + swapped) / 2
            labels.append(Label.objects.create(
                team=team, pair=pair, principle_version=version_of(team, principle), judge="rule", prompt_version="1",
                probability=mean, p_shown=shown, p_swapped=swapped, order_gap=abs(shown - swapped),
                confidence=abs(2 * mean - 1), order_flip=(shown - 0.5) * (swapped - 0.5) < 0))
        return labels

    return make


@pytest.fixture
def assign(team: Team, owner: User) -> Assign:
    def make(*people: User, per_person: int = 100, every: int = 0, several: int = 2, order: str = "middle",
             blind: bool = True) -> ReviewAssignment:
        return assignment_create(team=team, by=owner, name="First look", dealing=Dealing(
            people=people, per_person=per_person, overlap_every=every, overlap_people=several, order=order,
            blind=blind))

    return make


def queue(assignment: ReviewAssignment, user: User) -> list[ReviewItem]:
    return list(assignment.items.filter(user=user).order_by("position"))
