"""Error messages of fields for the person who filled them in: pydantic's own are for programmers.

Left out: translations, and error types that no field of a recipe can have; those keep pydantic's message.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

# By pydantic's type of error; filled in from its context, and from the value given.
_WORDS = {
    "missing": "is needed",
    "extra_forbidden": "is not a setting of a recipe; check its spelling, or remove it",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "finite_number": "must be a number, and neither infinite nor NaN",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "dict_type": "must be a mapping, such as {{prompt: question}}",
    "model_type": "must be a mapping of settings",
    "tuple_type": "must be a list",
    "literal_error": "must be one of {expected}",
    "union_tag_invalid": "has the kind '{tag}', which is none; choose one of {expected_tags}",
    "union_tag_not_found": "needs its 'kind', such as {{kind: words}}",
}


def field_errors(error: ValidationError) -> list[tuple[str, str]]:
    """(dotted field, message with the value) of each problem, for people."""
    return [(_field(item), _message(item)) for item in error.errors(include_url=False)]


def _field(item: Any) -> str:
    return ".".join(str(part) for part in item["loc"]) or "recipe"


def _message(item: Any) -> str:
    value = item.get("input")
    if not isinstance(value, (str, int, float, bool)) or value == "" or not item["loc"]:
        return _words(item)
    text = repr(value)
    return f"{_words(item)} (given: {text if len(text) <= 200 else text[:200] + ' ...'})"


def _words(item: Any) -> str:
    context = {key: _number(value) for key, value in item.get("ctx", {}).items()}
    match item["type"]:
        case "too_short":
            return f"needs at least {context['min_length']} of them"
        case "too_long":
            return f"has {context['actual_length']} and may have {context['max_length']} at most"
        case "string_pattern_mismatch" if item["loc"][-1] == "name":
            return "must be small letters, digits, hyphens and underscores, beginning with a letter or digit"
        case "string_pattern_mismatch" if item["loc"][-1] == "api_key_env":
            return "must be OPENAI_API_KEY or a name like CONCORD_JUDGE_..._KEY"
        case kind if kind in _WORDS:
            return _WORDS[kind].format_map(context)
    return str(item["msg"]).removeprefix("Value error, ")


def _number(value: Any) -> Any:
    """10 and not 10.0; 2.5 stays."""
    return f"{value:g}" if isinstance(value, float) else value
