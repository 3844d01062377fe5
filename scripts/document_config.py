"""Write the table of all configuration keys, from the schema, into docs/configuration.md between its two markers.

python -m scripts.document_config
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from configs.files import write_text
from configs.schema import RunConfig
from scripts.documents import between

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: begin (python -m scripts.document_config) -->", "<!-- keys: end -->"

# Keys that the schema has no description for. A key that gets one there must leave this list (a test holds this).
MEANINGS = {
    "data.source": "where the text comes from; may be left out: with `sources` it is `files`",
    "data.world_seed": "seed of the world that documents and benchmarks speak of",
    "data.documents": "documents to generate; enough for `train.steps` × the global batch, or the run is refused",
    "data.documents_seed": "seed of the documents",
    "train.steps": "optimizer steps",
    "train.sequence_length": "tokens that each row predicts; at most the model's context",
    "train.gradient_accumulation_steps": "forward and backward passes per optimizer step",
    "train.data_parallel_size": "copies of the model that share the batch, processes",
    "train.tensor_parallel_size": "processes that one copy of the model is split over; divides the attention heads",
    "train.zero_stage": "DeepSpeed's ZeRO stage",
    "train.device": "auto: CUDA if torch finds it",
    "train.log_every_steps": "steps between lines of `metrics.jsonl`",
    "train.optimizer.learning_rate": "the peak of the schedule",
    "train.optimizer.betas": "AdamW's two",
    "train.optimizer.eps": "AdamW's",
    "train.optimizer.weight_decay": "AdamW's, on matrices only",
    "train.schedule.kind": "shape of the decay after the warm-up",
    "train.checkpoint.every_steps": "steps between checkpoints; one is also written at the end and on a stop",
    "train.checkpoint.keep_last": "newest checkpoints that are kept",
    "evaluation.items_seed": "seed of the benchmarks' items",
    "evaluation.num_fewshot": "solved examples before each item",
    "evaluation.batch_size": "requests per forward pass",
}

Schema = Mapping[str, Any]
_BOUNDS = {"ge": "≥", "minimum": "≥", "gt": ">", "exclusiveMinimum": ">", "le": "≤", "maximum": "≤", "lt": "<"}
_BOUNDS["exclusiveMaximum"] = "<"


def tables() -> str:
    """All keys as Markdown, one table a section."""
    root = RunConfig.model_json_schema()
    return "\n\n".join(_section("", root, root["$defs"]))


def updated(page: str) -> str:
    """`page` with the tables between its markers. Raises BadInputError when the markers are not there, once each."""
    return between(page, PAGE.name, BEGIN, END, tables())


def described() -> Iterator[tuple[str, bool]]:
    """Each key with whether the schema itself describes it."""
    root = RunConfig.model_json_schema()
    yield from _described("", root, root["$defs"])


def _section(prefix: str, schema: Schema, definitions: Schema) -> Iterator[str]:
    rows, inner = [], []
    for name, field in schema["properties"].items():
        sections = _sections_of(field, definitions)
        inner += [(f"{prefix}{name}", section) for section in sections]
        if sections and not _may_be_left_out(field):
            continue
        required = name in schema.get("required", ())
        meaning = field.get("description") or MEANINGS.get(f"{prefix}{name}", "")
        cells = (f"`{name}`", _type(field, definitions), _default(field, required), meaning)
        rows.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    title = f"### `{prefix.rstrip('.')}`{_kind(schema)}" if prefix else "### The top"
    about = schema.get("description", "").split("\n")[0]
    table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
    yield f"{title}\n\n{about}\n\n{table}"
    for path, section in inner:
        yield from _section(f"{path}.", section, definitions)


def _described(prefix: str, schema: Schema, definitions: Schema) -> Iterator[tuple[str, bool]]:
    for name, field in schema["properties"].items():
        sections = _sections_of(field, definitions)
        for section in sections:
            yield from _described(f"{prefix}{name}.", section, definitions)
        if not sections or _may_be_left_out(field):
            yield f"{prefix}{name}", "description" in field


def _sections_of(field: Schema, definitions: Schema) -> list[Schema]:
    """The sub-section that a field is, or that its items are; several where it can be one of several; none for a value.

    A distribution is a value with a shape of its own.
    """
    choices = field.get("oneOf") or field.get("anyOf") or [field["items"] if _is_list(field) else field]
    names = [choice.get("$ref", "").rpartition("/")[2] for choice in choices]
    return [definitions[name] for name in names if name not in ("", "Distribution")]


def _is_list(field: Schema) -> bool:
    return field.get("type") == "array" and "items" in field


def _may_be_left_out(field: Schema) -> bool:
    """A section that need not be there, or a list of them, is a key with a meaning of its own."""
    return _is_list(field) or "anyOf" in field


def _kind(schema: Schema) -> str:
    """Which of several kinds of a section this is."""
    kind = schema["properties"].get("source", {}).get("const")
    return f" with `source: {kind}`" if kind else ""


def _type(field: Schema, definitions: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_type(choice, definitions) for choice in field["anyOf"])
    if "$ref" in field:
        return "distribution" if field["$ref"].endswith("/Distribution") else "section"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        parts = [_type(item, definitions) for item in field.get("prefixItems", ())]
        return f"[{'; '.join(parts)}]" if parts else f"list of {_items(field['items'], definitions)}"
    if field["type"] == "object":
        values = field["additionalProperties"]
        return "mapping" if values is True else f"mapping of {_type(values, definitions)}"
    kind = str(field["type"]).replace("string", "text")
    bounds = [f"{sign} {field[key]}" for key, sign in _BOUNDS.items() if key in field]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _items(field: Schema, definitions: Schema) -> str:
    return "sections" if _sections_of(field, definitions) else _type(field, definitions)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<name>", "&lt;name&gt;")


def _default(field: Schema, required: bool) -> str:
    if required:
        return "required"
    value = field.get("default", {})
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key != "source"}
        return "`{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    write_text(PAGE, updated(PAGE.read_text(encoding="utf-8")))
