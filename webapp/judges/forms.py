"""The form of a saved judge. Its key is written here and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Exists, OuterRef

from training import config
from training.config.address import BadAddress, is_openai, parse_address
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset
from webapp.judges.models import LOGPROBS, Connection
from webapp.labels.models import Pair

K = Connection.Kind


def clean_address(text: str, before: str = "") -> str:
    """A typed server address in its normal form; `before`, as it is stored, where it means the same server.

    Raises:
        ValidationError: it is no address, and why.
    """
    if not text.strip():
        return ""
    try:
        address = parse_address(text).url
    except BadAddress as error:
        message = str(error)
        raise forms.ValidationError(f"{message[0].upper()}{message[1:]}.") from None
    try:
        return before if before and parse_address(before).url == address else address
    except BadAddress:
        return address


class ConnectionForm(forms.Form):
    """A new judge, or with `connection` the edit of one."""

    name = forms.CharField(max_length=100, help_text="What your team calls it.")
    kind = forms.ChoiceField(label="Where it is", choices=K.choices, initial=K.OPENAI)
    base_url = forms.CharField(
        label="Server’s address", max_length=500, required=False,
        widget=forms.URLInput(attrs={"placeholder": "http://gpu-box:8000/v1"}),
        help_text="Ends in /v1: vLLM, llama.cpp, ollama, TGI, or another service. OpenAI needs none.")
    same_judge = forms.BooleanField(
        label="It is the same judge at another address: its labels stay its own", required=False)
    model = forms.CharField(max_length=200, required=False, help_text="Its name on the server, a hub id or a folder.")
    reasoning = forms.BooleanField(label="It thinks before its letter: dearer, and slower", required=False)
    logprobs = forms.ChoiceField(
        label="Log-probabilities", choices=LOGPROBS, required=False, initial="auto",
        help_text="They say how sure the judge is in one call. Without them several answers are drawn and counted.")
    key = forms.CharField(
        label="API key", max_length=1000, required=False, strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Kept encrypted, used for this address only, and never shown again.")
    forget_key = forms.BooleanField(label="Forget the key that is saved", required=False)
    price_in = forms.FloatField(label="Price in", min_value=0, max_value=10_000, required=False,
                                widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
                                help_text="Dollars a million tokens. Empty: the list price, where one is known.")
    price_out = forms.FloatField(label="Price out", min_value=0, max_value=10_000, required=False,
                                 widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
                                 help_text="Dollars a million tokens.")
    concurrency = forms.IntegerField(label="Requests in flight", min_value=1, max_value=512, initial=16)
    requests_per_minute = forms.IntegerField(label="Requests a minute", min_value=0, max_value=10_000_000, initial=0,
                                             help_text="0: as many as the server takes.")
    tokens_per_minute = forms.IntegerField(label="Tokens a minute", min_value=0, max_value=2_000_000_000, initial=0,
                                           help_text="0: as many as the server takes.")

    def __init__(self, *args: Any, team: Team, connection: Connection | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team, self._connection = team, connection
        if connection is None or connection.kind not in {K.OPENAI, K.SERVER}:
            del self.fields["same_judge"]
        if connection is None or not connection.has_key:
            del self.fields["forget_key"]
        else:
            self.fields["key"].label = "Another API key"
            self.fields["key"].help_text = "Empty: the one that is saved stays. It is never shown."

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        same_name = Connection.objects.of(self._team).filter(name=name)
        if self._connection:
            same_name = same_name.exclude(pk=self._connection.pk)
        if same_name.exists():
            raise forms.ValidationError("The team has a judge of this name. Choose another.")
        return name

    def clean_base_url(self) -> str:
        return clean_address(str(self.cleaned_data["base_url"]), self._connection.base_url if self._connection else "")

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"])
        if any(ord(letter) < 33 or ord(letter) > 126 for letter in key):
            raise forms.ValidationError("A key holds no spaces and no letters beyond ASCII. Paste it again.")
        return key

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        kind = values.get("kind")
        if kind == K.RULE:
            values |= {"model": "", "base_url": "", "key": ""}
        elif not values.get("model"):
            self.add_error("model", "Give the model’s name.")
        if kind in {K.OPENAI, K.LOCAL}:
            if kind == K.OPENAI and not is_openai(values.get("base_url", "")):
                self.add_error("base_url", "OpenAI’s address is known. For another one choose a server.")
            values["base_url"] = ""
        if kind in {K.LOCAL, K.RULE}:
            values |= {"key": "", "reasoning": False, "logprobs": "auto"}
        values["logprobs"] = values.get("logprobs") or "auto"
        if kind == K.SERVER and not values.get("base_url") and "base_url" not in self.errors:
            self.add_error("base_url", "Give the server’s address; it ends in /v1.")
        self._check_key(values)
        if values.get("same_judge") and self._connection and values.get("model") != self._connection.model:
            self.add_error("model", "Another model is another judge. Take the tick for the same judge away, or leave "
                                    "the model’s name as it was.")
        return values

    def _check_key(self, values: dict[str, Any]) -> None:
        """A saved key never follows its connection to another address: who edits one could send it to themselves."""
        saved = self._connection
        if (saved and saved.has_key and values.get("base_url", saved.base_url) != saved.base_url
                and not values.get("key") and not values.get("forget_key")
                and values.get("kind") in {K.OPENAI, K.SERVER}):
            self.add_error("key", "The saved key is for the address as it was. Enter the key of the new one, or let "
                                  "the saved one be forgotten.")


class ComparisonForm(forms.Form):
    """Two wordings or two judges, and on how many pairs of what."""

    statement_a = forms.CharField(label="Wording A: which response is …", max_length=2000,
                                  widget=forms.Textarea(attrs={"rows": 3}))
    statement_b = forms.CharField(label="Wording B: which response is …", max_length=2000,
                                  widget=forms.Textarea(attrs={"rows": 3}))
    judge = forms.ChoiceField(help_text="Saved judges, and the demo world’s rules.")
    judge_b = forms.ChoiceField(label="Against another judge", required=False,
                                help_text="With one wording: both judges are asked by it.")
    dataset = forms.ChoiceField(label="Pairs", required=False)
    pairs = forms.IntegerField(label="How many", min_value=2, max_value=300, initial=100,
                               help_text="The newest ones; both sides are asked about each, in both orders.")

    judges: list[tuple[config.JudgeSettings, str]]

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A local model needs a GPU worker for itself; a comparison is asked by a worker that has none.
        self._saved = {str(row.pk): row for row in Connection.objects.of(team).exclude(kind__in=[K.LOCAL, K.RULE])}
        paired = Pair.objects.filter(dataset=OuterRef("pk"))
        self._datasets = {str(row.pk): row for row in Dataset.objects.of(team).filter(Exists(paired))}
        judge, judge_b, datasets = self.fields["judge"], self.fields["judge_b"], self.fields["dataset"]
        assert isinstance(judge, forms.ChoiceField)
        assert isinstance(judge_b, forms.ChoiceField)
        assert isinstance(datasets, forms.ChoiceField)
        judges = [*((pk, saved.name) for pk, saved in self._saved.items()), ("rule", "The demo world’s rules")]
        judge.choices, judge_b.choices = judges, [("", "no second judge"), *judges]
        datasets.choices = [("", "the team’s newest pairs"), *((pk, row.name) for pk, row in self._datasets.items())]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        for name in ("statement_a", "statement_b"):
            values[name] = " ".join(str(values.get(name, "")).split()).rstrip("?").strip()
        chosen = [name for name in dict.fromkeys((values.get("judge"), values.get("judge_b"))) if name]
        same = values["statement_a"] == values["statement_b"]
        if values["statement_a"] and same and len(chosen) < 2:
            self.add_error("statement_b", "The two wordings are the same; change one, or choose another judge.")
        elif not same and len(chosen) == 2:
            self.add_error("judge_b", "Change the wording or the judge, not both: nobody could tell which of them "
                                      "made the difference.")
        self.judges = [self._judge(name) for name in chosen]
        values["dataset"] = self._datasets.get(values.get("dataset", ""))
        return values

    def _judge(self, name: str) -> tuple[config.JudgeSettings, str]:
        saved = self._saved.get(name)
        if saved:
            return saved.settings(), saved.name
        return config.JudgeSettings(kind="rule"), "the demo world’s rules"


def initial_of(connection: Connection) -> dict[str, Any]:
    """A connection as the form's fields; no key among them."""
    names = ("name", "kind", "base_url", "model", "reasoning", "logprobs", "price_in", "price_out", "concurrency",
             "requests_per_minute", "tokens_per_minute")
    return {name: getattr(connection, name) for name in names}
