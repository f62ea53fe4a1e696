"""Records of datasets on the Hugging Face hub, never of a folder or file of this machine. Torch-free.

The datasets library takes a folder of the working directory, or one of its own file formats ("json"), for a dataset
of that name, and falls back on what it has cached. So it is asked with the hub's scheme, without a cache, and whatever
a dataset's card points to outside its repository is refused.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from training.config.hub_names import is_hub_id
from training.errors import BadData

_ABSOLUTE_PATH = re.compile(r"(?<![\w:/])/[^ ]+")


def hub_records(name: str, split: str) -> Iterator[Mapping[str, Any]]:
    """Records of a dataset on the hub, streamed.

    Args:
        name: the dataset's id, such as "Anthropic/hh-rlhf".
        split: a split, or with the name of a configuration "preference/train".

    Raises:
        BadData: the name is no hub id, the hub cannot be reached, or what it has cannot be read.
    """
    if not is_hub_id(name):
        raise BadData(f"'{name}' is neither a file here nor the name of a dataset on the hub.",
                      "Give a path to a file, or a name such as 'Anthropic/hh-rlhf'.")
    with tempfile.TemporaryDirectory(prefix="concord-hub-") as cache:
        try:
            yield from _stream(name, split, cache)
        except BadData:
            raise
        except Exception as error:  # the library lets any error of its readers through
            raise BadData(
                f"The dataset '{name}' (split '{split}') could not be read from the hub: {_reason(name, error)}.",
                "Check its name, the split and the network, or upload it as a file.") from error


def _stream(name: str, split: str, cache: str) -> Iterator[Mapping[str, Any]]:
    import datasets
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    if name in _PACKAGED_DATASETS_MODULES:
        raise BadData(f"'{name}' is the name of a file format, not of a dataset on the hub.",
                      f"Name the dataset with its owner, such as 'owner/{name}', or upload a file.")
    configuration, _, split = split.rpartition("/")
    chosen = {"name": configuration} if configuration else {}
    builder = datasets.load_dataset_builder(f"hf://datasets/{name}", cache_dir=cache, **chosen)
    refuse_other_places(name, (file for files in (builder.config.data_files or {}).values() for file in files))
    stream = builder.as_streaming_dataset(split=split)
    if not stream.features:
        yield from stream
        return
    for record in stream.decode(False):  # files that an image column names are not opened
        yield {name: _with_json_read(stream.features.get(name), value) for name, value in record.items()}


def _with_json_read(feature: Any, value: Any) -> Any:
    """A value in which the library's JSON texts are read: it writes what has no one type, such as lists of objects with
    different keys, as text, and leaves it so where nothing is decoded."""
    import datasets

    if value is None:
        return None
    if isinstance(feature, datasets.Json):
        try:
            return json.loads(value)
        except (ValueError, TypeError, RecursionError):
            return value
    if isinstance(feature, dict):
        return {name: _with_json_read(feature.get(name), part) for name, part in value.items()}
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        return [_with_json_read(feature.feature, part) for part in value]
    return value


def refuse_other_places(name: str, files: Iterable[object]) -> None:
    """Raise BadData where a dataset's card names a file that is not in the dataset's own repository."""
    for file in map(str, files):
        place = file.rsplit("::", 1)[-1]  # "zip://part.jsonl::hf://..." is read from its last part
        if not place.startswith((f"hf://datasets/{name}@", f"hf://datasets/{name}/")) or "/../" in place:
            raise BadData(f"The card of '{name}' points to a file outside its own repository.",
                          "Choose another dataset, or upload the rows as a file.")


def _reason(name: str, error: Exception) -> str:
    """The library's words without the folders of this machine."""
    import datasets

    if isinstance(error, (datasets.exceptions.DatasetNotFoundError, datasets.exceptions.DataFilesNotFoundError)):
        return f"the hub has no dataset '{name}' that may be read without signing in"
    if "Config name is missing" in str(error):
        return f"it has several configurations; name one before the split, as in 'NAME/train' ({_names_in(error)})"
    if isinstance(error, ConnectionError):
        return "the hub could not be reached"
    words = _ABSOLUTE_PATH.sub("...", " ".join(str(error).split()))[:300].rstrip(".")
    return f"{type(error).__name__}: {words}"


def _names_in(error: Exception) -> str:
    """The names of configurations that the library lists."""
    return ", ".join(re.findall(r"'([^']+)'", str(error).partition("[")[2].partition("]")[0]))[:200]
