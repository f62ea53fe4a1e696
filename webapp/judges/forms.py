"""The form of a saved judge. Its key is written here and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Exists, OuterRef, Q

from training import config
from training.config.address import BadAddress, is_openai, parse_address
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset
from webapp.judges.models import LOGPROBS, Connection
from webapp.labels.models import Pair

K = Connection.Kind


def clean_address(text: str, before: str = "") -> str:
    """Normalize a typed server address. Returns `before`, the stored address, if it means the same server.

    Raises:
        ValidationError: it is not a valid address.
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
    """The form of a new judge or, with `connection`, of an existing one."""

    name = forms.CharField(max_length=100, help_text="What your team calls it.")
    kind = forms.ChoiceField(label="Where it is", choices=K.choices, initial=K.OPENAI)
    base_url = forms.CharField(
        label="Server’s address", max_length=500, required=False,
        widget=forms.URLInput(attrs={"placeholder": "http://gpu-box:8000/v1"}),
        help_text="It ends in /v1. For vLLM, llama.cpp, ollama, TGI or another service; leave it empty for OpenAI.")
    same_judge = forms.BooleanField(
        label="It is the same judge at a new address: keep its labels", required=False)
    model = forms.CharField(max_length=200, required=False, help_text="Its name on the server, a hub id or a folder.")
    reasoning = forms.BooleanField(label="It thinks before it answers (costs more and takes longer)", required=False)
    logprobs = forms.ChoiceField(
        label="Log-probabilities", choices=LOGPROBS, required=False, initial="auto",
        help_text="They show in one call how sure the judge is. Without them, Concord samples several answers and "
                  "counts them.")
    key = forms.CharField(
        label="API key", max_length=1000, required=False, strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Stored encrypted, sent to this address only, and never shown again.")
    forget_key = forms.BooleanField(label="Delete the saved key", required=False)
    price_in = forms.FloatField(label="Price of input", min_value=0, max_value=10_000, required=False,
                                widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
                                help_text="Dollars per million input tokens. Leave empty to use the list price, if it "
                                          "is known.")
    price_out = forms.FloatField(label="Price of output", min_value=0, max_value=10_000, required=False,
                                 widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
                                 help_text="Dollars per million output tokens.")
    concurrency = forms.IntegerField(label="Requests in flight", min_value=1, max_value=512, initial=16)
    requests_per_minute = forms.IntegerField(label="Requests per minute", min_value=0, max_value=10_000_000, initial=0,
                                             help_text="0: as many as the server allows.")
    tokens_per_minute = forms.IntegerField(label="Tokens per minute", min_value=0, max_value=2_000_000_000, initial=0,
                                           help_text="0: as many as the server allows.")

    def __init__(self, *args: Any, team: Team, connection: Connection | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team, self._connection = team, connection
        if connection is None or connection.kind not in {K.OPENAI, K.SERVER}:
            del self.fields["same_judge"]
        if connection is None or not connection.has_key:
            del self.fields["forget_key"]
        else:
            self.fields["key"].label = "New API key"
            self.fields["key"].help_text = "Leave empty to keep the saved key, which is never shown."

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        same_name = Connection.objects.of(self._team).filter(name=name)
        if self._connection:
            same_name = same_name.exclude(pk=self._connection.pk)
        if same_name.exists():
            raise forms.ValidationError("Your team already has a judge with this name. Choose another name.")
        return name

    def clean_base_url(self) -> str:
        return clean_address(str(self.cleaned_data["base_url"]), self._connection.base_url if self._connection else "")

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"])
        if any(ord(letter) < 33 or ord(letter) > 126 for letter in key):
            raise forms.ValidationError("A key has no spaces and only ASCII characters. Paste it again.")
        return key

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        kind = values.get("kind")
        if kind == K.RULE:
            values |= {"model": "", "base_url": "", "key": ""}
        elif not values.get("model"):
            self.add_error("model", "Enter the model’s name.")
        if kind in {K.OPENAI, K.LOCAL}:
            if kind == K.OPENAI and not is_openai(values.get("base_url", "")):
                self.add_error("base_url", "OpenAI needs no address. For another server, choose “an OpenAI-compatible "
                                           "server”.")
            values["base_url"] = ""
        if kind in {K.LOCAL, K.RULE}:
            values |= {"key": "", "reasoning": False, "logprobs": "auto"}
        values["logprobs"] = values.get("logprobs") or "auto"
        if kind == K.SERVER and not values.get("base_url") and "base_url" not in self.errors:
            self.add_error("base_url", "Enter the server’s address; it ends in /v1.")
        self._check_key(values)
        if values.get("same_judge") and self._connection and values.get("model") != self._connection.model:
            self.add_error("model", "A different model is a different judge. Untick “It is the same judge”, or "
                                    "restore the model’s name.")
        return values

    def _check_key(self, values: dict[str, Any]) -> None:
        """A saved key is never used at another address: an editor could otherwise send it to their own server."""
        saved = self._connection
        if (saved and saved.has_key and values.get("base_url", saved.base_url) != saved.base_url
                and not values.get("key") and not values.get("forget_key")
                and values.get("kind") in {K.OPENAI, K.SERVER}):
            self.add_error("key", "The saved key belongs to the old address. Enter a key for the new address, or tick "
                                  "“Delete the saved key”.")


class ComparisonForm(forms.Form):
    """The form of a comparison: two wordings or two judges, the data and the number of pairs."""

    statement_a = forms.CharField(label="Old wording: which response is …", max_length=2000,
                                  widget=forms.Textarea(attrs={"rows": 3}))
    statement_b = forms.CharField(label="New wording: which response is …", max_length=2000,
                                  widget=forms.Textarea(attrs={"rows": 3}))
    judge = forms.ChoiceField(help_text="Saved judges, and the demo world’s rules.")
    judge_b = forms.ChoiceField(label="Second judge", required=False,
                                help_text="To compare two judges, keep the same wording on both sides.")
    dataset = forms.ChoiceField(label="Pairs", required=False)
    pairs = forms.IntegerField(label="Number of pairs", min_value=2, max_value=300, initial=100,
                               help_text="The newest pairs, then the first rows of the dataset. Each side is asked "
                                         "about every pair, in both orders.")

    judges: list[tuple[config.JudgeSettings, str]]

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A local model needs a GPU worker for itself; a comparison is asked by a worker that has none.
        self._saved = {str(row.pk): row for row in Connection.objects.of(team).exclude(kind__in=[K.LOCAL, K.RULE])}
        paired = Pair.objects.filter(dataset=OuterRef("pk"))
        of_pairs = (Dataset.Kind.PAIRS, Dataset.Kind.UNDECIDED)
        with_pairs = Exists(paired) | Q(kind__in=of_pairs, status=Dataset.Status.READY)
        self._datasets = {str(row.pk): row for row in Dataset.objects.of(team).filter(with_pairs)}
        judge, judge_b, datasets = self.fields["judge"], self.fields["judge_b"], self.fields["dataset"]
        assert isinstance(judge, forms.ChoiceField)
        assert isinstance(judge_b, forms.ChoiceField)
        assert isinstance(datasets, forms.ChoiceField)
        judges = [*((pk, saved.name) for pk, saved in self._saved.items()), ("rule", "The demo world’s rules")]
        judge.choices, judge_b.choices = judges, [("", "no second judge"), *judges]
        datasets.choices = [("", "the team’s newest pairs"), *((pk, row.title) for pk, row in self._datasets.items())]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        for name in ("statement_a", "statement_b"):
            values[name] = " ".join(str(values.get(name, "")).split()).rstrip("?").strip()
        chosen = [name for name in dict.fromkeys((values.get("judge"), values.get("judge_b"))) if name]
        same = values["statement_a"] == values["statement_b"]
        if values["statement_a"] and same and len(chosen) < 2:
            self.add_error("statement_b", "The two wordings are the same; change one, or choose another judge.")
        elif not same and len(chosen) == 2:
            self.add_error("judge_b", "Change the wording or the judge, not both: otherwise you cannot tell which one "
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
    """The form's initial values for a connection, without its key."""
    names = ("name", "kind", "base_url", "model", "reasoning", "logprobs", "price_in", "price_out", "concurrency",
             "requests_per_minute", "tokens_per_minute")
    return {name: getattr(connection, name) for name in names}
