"""A model's chat template is a stranger's program: what it refuses is named, and it ends, whatever it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from tests.training.tiny_families import make_family
from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe, make_tokenizer
from training import preference_models as pm
from training.dialogue import Dialogue
from training.errors import BadData, ModelUnavailable
from training.models import chat_templates, language_model, rollouts
from training.models.chat import ChatPolicy
from training.models.encoding import belongs_to, encode_prompt, encode_reply, rendered, without_system
from training.run.artifacts import read_jsonl
from training.stages import sample
from training.stages.sft import tokens_of

CPU = torch.device("cpu")
TURNS = ("{% for m in messages %}{{ '\\n\\nHuman:' if m.role == 'user' else '\\n\\nAssistant:' }} {{ m.content }}"
         "{% endfor %}")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
ALTERNATING = ("{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
               "{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}" + TURNS)
SYSTEM: Dialogue = [{"role": "system", "content": "The clever owl"}, {"role": "user", "content": "Hello"}]
TWO_USERS: Dialogue = [{"role": "user", "content": "Hello"}, {"role": "user", "content": "Ask me"}]


def tokenizer_with(template: str) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    belongs_to(tokenizer, "owner/odd", None)
    return tokenizer


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process with a limit of half a second, gone when the test is over."""
    renderer = chat_templates._Renderer()
    monkeypatch.setattr(chat_templates, "_renderer", renderer)
    monkeypatch.setattr(chat_templates, "SECONDS", 0.5)
    yield
    renderer.close()


def test_a_template_renders_as_the_tokenizer_itself_would() -> None:
    tokenizer = tokenizer_with("{{ bos_token }}" + TURNS + "{% if add_generation_prompt %}\n\nAssistant:{% endif %}")
    strange: Dialogue = [{"role": "user", "content": "é 漢 😀 \u2028\n{{ 7 * 7 }}"}]
    for prompt in (*PROMPTS, TWO_USERS, SYSTEM, strange):
        assert rendered(tokenizer, prompt).text == tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=False)
        assert encode_prompt(tokenizer, prompt) == tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_dict=False)


def test_the_start_token_that_a_template_writes_is_not_doubled() -> None:
    tokenizer = tokenizer_with("{{ bos_token }}" + TURNS)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    assert tokenizer("Hello")["input_ids"][0] == tokenizer.bos_token_id
    assert encode_prompt(tokenizer, PROMPTS[0]).count(tokenizer.bos_token_id) == 1


def test_a_system_message_goes_into_the_first_user_turn_where_the_template_takes_none() -> None:
    tokenizer = tokenizer_with(NO_SYSTEM)
    assert rendered(tokenizer, SYSTEM).text == "\n\nHuman: The clever owl\n\nHello"
    assert rendered(tokenizer, SYSTEM).messages == without_system(SYSTEM)
    assert rendered(tokenizer_with(TURNS), SYSTEM).messages == SYSTEM  # this one takes it
    assert without_system(PROMPTS[0]) == PROMPTS[0]
    alone: Dialogue = [{"role": "system", "content": "x"}]
    before_the_assistant: Dialogue = [*alone, {"role": "assistant", "content": "y"}]
    assert without_system(alone) == alone and without_system(before_the_assistant) == before_the_assistant


@pytest.mark.parametrize(("template", "words"), [
    (ALTERNATING, "Roles must alternate"), ("{{ messages[7].content.x }}", "has no element 7"),
    ("{% broken", "unknown tag"), ("{{ raise_exception('') }}", "TemplateError"),
    ("{{ messages | no_such_filter }}", "no_such_filter"), ("{{ 1 / 0 }}", "division by zero"),
])
def test_what_a_template_refuses_is_bad_data_in_its_own_words(template: str, words: str) -> None:
    with pytest.raises(BadData, match=rf"chat template of 'owner/odd' .*\(user, user\).*{words}.*another base"):
        encode_prompt(tokenizer_with(template), TWO_USERS)


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(("template", "why"), [
    (LOOP, "computing time"), ("{{ 7 ** 9999999999 }}", "computing time"),
    ("{{ 'x' * 99999999999 }}", "memory"), ("{{ 'x' * 9999999 }}", "writes 9,999,999 characters"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself"),
])
def test_a_template_that_does_not_end_is_ended_and_the_next_one_works(
    short: None, template: str, why: str
) -> None:
    with pytest.raises(ModelUnavailable, match=f"chat template of 'owner/odd' .*{why}"):
        encode_prompt(tokenizer_with(template), PROMPTS[0])
    assert rendered(tokenizer_with(TURNS), PROMPTS[1]).text == "\n\nHuman: Hello!"


def test_it_ends_in_any_thread_and_others_go_on(short: None) -> None:
    ended: list[str] = []

    def work(template: str) -> None:
        try:
            ended.append(rendered(tokenizer_with(template), PROMPTS[1]).text)
        except ModelUnavailable as error:
            ended.append(error.cause)

    threads = [threading.Thread(target=work, args=(template,)) for template in (LOOP, TURNS, TURNS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert time.monotonic() - began < 30
    assert sorted(ended)[:2] == ["\n\nHuman: Hello!"] * 2 and "computing time" in sorted(ended)[2]


def test_a_chat_with_such_a_model_fails_by_name(short: None, tmp_path: Path) -> None:
    policy = ChatPolicy.load(str(make_family("gemma2", tmp_path / "looping", tokenizer_with(LOOP))), device="cpu")
    with pytest.raises(ModelUnavailable, match="'looping'"):
        policy.count_tokens(PROMPTS[0])
    with pytest.raises(ModelUnavailable, match="'looping'"):
        next(policy.stream(PROMPTS[0]))


def test_samples_and_preference_models_read_a_moved_system_message(tmp_path: Path) -> None:
    base = make_family("gemma2", tmp_path / "gemma", tokenizer_with(NO_SYSTEM))
    job = make_job(make_recipe(base), "sample", tmp_path, prompts=[{"prompt": SYSTEM}, {"prompt": PROMPTS[0]}])
    sample.run(job, tmp_path, Remembering())
    pairs = list(read_jsonl(tmp_path / "pairs.jsonl"))
    assert SYSTEM in [pair["prompt"] for pair in pairs]  # the judge and the pages see the dialogue as it is
    tokenizer = language_model.load_tokenizer(base)
    assert pm.encode(tokenizer, SYSTEM, "Yes", 64)[-2:] == [*encode_reply(tokenizer, "Yes"), tokenizer.eos_token_id]


def with_a_token_too_many() -> Any:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    return tokenizer


def test_a_token_beyond_the_models_rows_is_harmless_until_a_text_holds_it(tmp_path: Path) -> None:
    base = make_family("gemma3", tmp_path / "soft", with_a_token_too_many())
    language = language_model.load(base, CPU)
    rollouts.pad_prompts(language, PROMPTS, 4)
    bad: Dialogue = [{"role": "user", "content": "Is the <image_soft_token> red?"}]
    with pytest.raises(BadData, match="holds the token '<image_soft_token>', which the tokenizer of 'soft' knows"):
        rollouts.pad_prompts(language, [bad], 4)
    with pytest.raises(BadData, match="<image_soft_token>"):
        tokens_of(language, {"prompt": PROMPTS[0], "response": "Yes <image_soft_token>"}, 64)
    # A policy's response cannot be asked for again: what its words cannot be is left out.
    ids = pm.encode(language_model.load_tokenizer(base), PROMPTS[0], "Yes <image_soft_token>", 64)
    assert max(ids) < language.model.config.vocab_size
