"""The form that says which principle the ratings of a dataset on each aspect are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django import forms
from django.forms import BoundField

from webapp.labels.rating_uses import Use
from webapp.principles.models import Principle

NOT_USED = "not used"


class RatingForm(forms.Form):
    """A principle for each aspect, and whether its lower rating is the better one. Fields are numbered: aspects may
    have any name."""

    def __init__(self, uses: Mapping[str, Use], principles: Iterable[Principle], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._aspects = list(uses)
        chosen = {use.principle.pk for use in uses.values() if use.principle}
        self._principles = {str(one.pk): one for one in principles if not one.archived or one.pk in chosen}
        choices = [("", NOT_USED), *((key, one.name) for key, one in self._principles.items())]
        for place, (aspect, use) in enumerate(uses.items()):
            self.fields[f"principle_{place}"] = forms.ChoiceField(
                label=f"Principle of {aspect}", required=False, choices=choices,
                initial=str(use.principle.pk) if use.principle else "",
                widget=forms.Select(attrs={"aria-label": f"Principle of {aspect}"}))
            self.fields[f"lower_{place}"] = forms.BooleanField(
                label="Lower is better", required=False, initial=use.lower_is_better,
                widget=forms.CheckboxInput(attrs={"aria-label": f"Lower {aspect} is better"}))

    def lines(self) -> Iterator[tuple[str, BoundField, BoundField]]:
        """Each aspect with its two fields."""
        for place, aspect in enumerate(self._aspects):
            yield aspect, self[f"principle_{place}"], self[f"lower_{place}"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        takers: dict[str, list[str]] = {}
        for place, aspect in enumerate(self._aspects):
            if key := cleaned.get(f"principle_{place}"):
                takers.setdefault(key, []).append(aspect)
                if len(takers[key]) > 1:
                    self.add_error(f"principle_{place}", (
                        f"{self._principles[key].name} already has the ratings of {takers[key][0]}, and takes one "
                        f"aspect. Set {aspect} or {takers[key][0]} to “{NOT_USED}”."))
        return cleaned

    @property
    def uses(self) -> dict[str, Use]:
        """What was chosen, by aspect; of a valid form."""
        return {aspect: Use(self._principles.get(self.cleaned_data[f"principle_{place}"]),
                            self.cleaned_data[f"lower_{place}"]) for place, aspect in enumerate(self._aspects)}
