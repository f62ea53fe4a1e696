"""The tokenizer of the demo world: a word with the space before it is one token, a punctuation mark is one token.

The two markers of a dialogue, "\\n\\nHuman:" and "\\n\\nAssistant:", are one ordinary token each: a prompt may be cut
after "Assistant:" and the answer appended without changing a single id. Nothing is added at either end. Every word is
known in lower case too, because people type so; any other run of characters is one <unk>. Text of the world survives
encoding and decoding unchanged; left out is any attempt to spell a foreign word.
"""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from training.demo_world.language import vocabulary_texts

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
VERDICTS = (" False", " True")
"""What follows the end of some dialogues that the policy learns from: whether the answer was so."""
_PUNCTUATION = ".,!?;:'\"()-"
_SPLIT = r"\n\nHuman:|\n\nAssistant:| ?[^\s.,!?;:\"()]+|[.,!?;:\"()]|\n\n|\s"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, the same at every call: about 400 tokens, <pad> 0, <bos> 1, <eos> 2, <unk> 3, no two alike."""
    tokens = [PAD, BOS, EOS, UNK, HUMAN, ASSISTANT, "\n\n", "\n", " ", *_PUNCTUATION]
    vocabulary_words = dict.fromkeys(tokens)
    for text in (*vocabulary_texts(), *VERDICTS):
        for i, word in enumerate(re.findall(r"[A-Za-z']+", text)):
            vocabulary_words.update(dict.fromkeys((" " + word, " " + word.lower())))
            # Only what may open a text on its own needs a token without the space.
            if i == 0 and word[0].isupper():
                vocabulary_words[word] = None
    vocabulary = {token: i for i, token in enumerate(vocabulary_words)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"[ \t]+"), " "),
            normalizers.Replace(" \n", "\n"),
            normalizers.Replace("\u2019", "'"),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
