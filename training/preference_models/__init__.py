"""Preference models: a response in, one score per principle out, higher is better.

A linear head on the hidden state of the last token, as in MORLAIF (arXiv 2406.07295). Three architectures are behind
one interface, `PreferenceModels`: one LoRA adapter per principle on a shared base, one trunk with one head per
principle, the whole base trained for each principle. The end token is appended to every response and the last real
token is found by the attention mask, so that training and scoring read the same position whatever the padding is made
of. Raw scores are on no common scale: `score` standardises them with the mean and spread frozen when the model was
trained.

Left out: bases with no `AutoModel`, quantised bases, scores of parts of a response.
"""

from training.preference_models.losses import label_loss, soft_bradley_terry
from training.preference_models.model import PreferenceModel, load_trunk, new_model, save
from training.preference_models.pair_batches import PairBatch, TokenPair
from training.preference_models.reading_pairs import PairReader, pair_reader
from training.preference_models.scoring import PreferenceModels
from training.preference_models.texts import encode, padded, reply_length
from training.quality.quality_card import CARD

__all__ = [
    "CARD",
    "PairBatch",
    "PairReader",
    "PreferenceModel",
    "PreferenceModels",
    "TokenPair",
    "encode",
    "label_loss",
    "load_trunk",
    "new_model",
    "padded",
    "pair_reader",
    "reply_length",
    "save",
    "soft_bradley_terry",
]
