"""The YAML that `replibench init` writes: every key with where its value is from. Plain text, checked by the loader."""

import json
import re
import textwrap
from collections.abc import Iterator, Sequence

from configs.recipes import KnownRecipe, Part
from configs.schema import FilesData, OptimizerConfig, ScheduleConfig
from extrapolate.throughput import Plan
from scripts.init import MICRO_BATCH, Start
from scripts.init_estimate import loss_words, size_words

WIDTH = 118
USUAL_TASKS = ("lambada_openai", "hellaswag", "piqa", "arc_easy")
CHECKPOINTS = 20  # of a run at least
LONGEST_BETWEEN_CHECKPOINTS = 1_000  # steps, as Pythia's


def text(start: Start, name: str | None, command: str, estimates: Sequence[str], layout: Plan | None) -> str:
    """The whole file. `estimates`: a line for each machine; `layout`: that of the machine that it is written for."""
    parts = (
        _head(start, name, command, estimates),
        _model(start),
        _data(start),
        _train(start, layout),
        _evaluation(start),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(start: Start, name: str | None, command: str, estimates: Sequence[str]) -> Iterator[str]:
    original, known = start.original, start.original.known
    at = f" at {original.asked}" if original.asked not in (None, "main") else ""
    what = "Replicate" if original.reference else "Train"
    yield from _comment(f"{what} {original.title}{at}. Written by `{command}`; every key may be changed.")
    yield "#"
    if known is None:
        yield from _comment(
            "No recipe of this model is known (configs/recipes): learning rate, schedule and batch are this harness's "
            "defaults and the budget is 20 tokens a parameter. A replica by another recipe than the original's tests "
            "that recipe too: set the original's own where you know it."
        )
    elif known.by == "shape":
        yield from _comment(
            f"It has the shape of {known.name}, so the recipe of the {known.recipe.suite} suite is taken: check that "
            "this is what it is."
        )
    else:
        yield from _comment(f"The recipe is that of the {known.recipe.suite} suite: configs/recipes.")
    for note in known.notes if known else ():
        yield from _comment(f"- {note}")
    yield "#"
    yield from _comment(f"What it takes: {size_words(start.budget)}.")
    for estimate in estimates:
        yield from _comment(f"- On {estimate}.")
    yield from _changes(start)
    yield f"name: {name or _name(start)}"


def _changes(start: Start) -> Iterator[str]:
    """What a smaller budget than the original's changes."""
    if not start.is_part:
        return
    budget, whole = start.budget, start.whole
    yield "#"
    if start.scale_down is None:
        yield from _comment(
            f"The original at {start.original.asked} has seen as many tokens, by the learning rates of the whole "
            "training "
            f"({whole.steps:,} steps): so has the replica, and the two are compared at the same tokens."
        )
        return
    warmup = _warmup_fraction(start.original.known)
    kept = "the original's" if start.original.known else "this harness's defaults"
    of = "the original's" if start.original.known else "20 tokens a parameter's"
    yield from _comment(
        f"Scaled down to {start.scale_down:g} of {of} {whole.steps:,} steps; batch and learning rate are {kept}. Of "
        f"the {warmup * start.horizon_steps:,.1f} steps of warm-up {round(warmup * start.horizon_steps):,} are made "
        f"(of the whole budget's {_warmup_original(start):,.0f}). It is another training than the original's: expect "
        "it to be "
        f"worse than the finished one; {loss_words(budget, whole)}."
    )


def _warmup_original(start: Start) -> float:
    known = start.original.known
    return _warmup_fraction(known) * (known.horizon_steps if known else start.whole.steps)


def _warmup_fraction(known: KnownRecipe | None) -> float:
    return known.warmup_fraction if known else ScheduleConfig().warmup_fraction


def _name(start: Start) -> str:
    parts = [start.original.title.rpartition("/")[2]]
    if start.original.asked not in (None, "main"):
        parts.append(str(start.original.asked))
    if start.scale_down is not None:
        parts.append(f"x{start.scale_down:g}")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).lstrip("._-") or "replica"


def _model(start: Start) -> Iterator[str]:
    original = start.original
    if original.reference is None:
        yield from _comment(
            "Its weights were not published, so there is no `reference` to compare with: `replibench train`."
        )
        yield "architecture:"
        for key, value in (original.config or {}).items():
            yield f"  {key}: {json.dumps(value)}"
        return
    yield from _comment(
        "The architecture and the tokenizer are the reference's own; `architecture:` would change them, which then is "
        "no "
        "replication."
    )
    yield f"reference: {json.dumps(original.reference)}"
    if original.unpinned:
        yield from _comment(original.unpinned)
    if original.revision is not None:
        name = f"  # {original.asked}" if original.asked not in (None, original.revision) else ""
        yield f"revision: {json.dumps(original.revision)}{name}"
    if original.sha256:
        yield "reference_sha256:  # as found now; a reference with other bytes is refused"
        for file, sha256 in original.sha256.items():
            yield f"  {json.dumps(file)}: {sha256}"
    yield from _controls(start)


def _controls(start: Start) -> Iterator[str]:
    known, original = start.original.known, start.original
    controls = known.controls(str(original.reference)) if known else ()
    if not controls:
        return
    assert known is not None
    yield ""
    yield from _comment(
        "Other seeds of the original's own recipe. Set each to a path of its lm-eval results (of the same tasks and, "
        "for a "
        "like-for-like comparison, the same revision), and the verdict shows where the replica stands among them. "
        f"Source: {known.recipe.sources['controls']}."
    )
    yield "controls:"
    for control in controls:
        yield f"  {control}: null"


def _data(start: Start) -> Iterator[str]:
    known = start.original.known
    said = f"The original's corpus: {known.recipe.corpus}." if known else "The original's corpus is not known."
    yield from _comment(
        f"{said} Name the text to train on in its place (docs/corpora.md): files, a data set of the hub, or a "
        "tokenised corpus."
    )
    yield "data:"
    yield "  sources:"
    yield "    - path: corpus/*.jsonl.zst  # a place for yours; or {dataset: ID, subset: …, split: train, revision: …}"
    held_out = FilesData.model_fields["held_out_fraction"].default
    yield f"  held_out_fraction: {held_out}  # of the documents, kept from training for the held-out loss"
    yield "  # hygiene: {}  # duplicates and the text of the benchmarks below are taken out (docs/corpora-hygiene.md)"
    yield "  # order: stored  # one tokenised source in the order that it lies in, as Pythia's; left out: shuffled"


def _train(start: Start, layout: Plan | None) -> Iterator[str]:
    known, budget = start.original.known, start.budget
    yield "train:"
    yield f"  steps: {budget.steps}{_origin(known, 'tokens', _scaled(start))}"
    yield f"  sequence_length: {budget.sequence_length}"
    yield from _batch(start, layout)
    yield from _precision(known, layout)
    origin = _origin(known, "initialisation", known.initialisation if known else None)
    yield f"  initialisation: {known.model.initialise if known else 'paper'}{origin}"
    yield "  seed: 0"
    yield from _optimizer(known)
    yield from _schedule(start)
    every = min(LONGEST_BETWEEN_CHECKPOINTS, max(1, budget.steps // CHECKPOINTS))
    yield f"  checkpoint: {{every_steps: {every}, keep_last: 2}}"


def _scaled(start: Start) -> str | None:
    if start.original.known is None:
        return "20 tokens a parameter"
    if not start.is_part:
        return None
    return f"{start.budget.steps / start.whole.steps:.3g} of the original's {start.whole.steps:,}"


def _batch(start: Start, layout: Plan | None) -> Iterator[str]:
    rows = start.budget.rows
    if layout is None:
        micro = max(n for n in range(1, MICRO_BATCH + 1) if rows % n == 0)
        sizes = {"micro_batch_size": micro, "gradient_accumulation_steps": rows // micro, "data_parallel_size": 1}
    else:
        sizes = {
            "micro_batch_size": layout.micro_batch_size,
            "gradient_accumulation_steps": layout.micro_batches,
            "data_parallel_size": layout.data_parallel_size,
            "tensor_parallel_size": layout.tensor_parallel_size,
            "pipeline_parallel_size": layout.pipeline_parallel_size,
            "zero_stage": max(1, layout.zero_stage),
        }
    origin = _origin(start.original.known, "batch", f"the product of these three is the batch, {rows:,} rows")
    for at, (key, value) in enumerate(sizes.items()):
        yield f"  {key}: {value}{origin if at == 0 else ''}"
    if layout is not None and layout.recompute == "full":
        yield "  activation_checkpointing: true"


def _precision(known: KnownRecipe | None, layout: Plan | None) -> Iterator[str]:
    theirs = known.precision if known else None
    if theirs is None:
        yield f"  precision: auto{_origin(known, 'precision', None)}"
    elif layout is None:
        yield f"  precision: auto{_origin(known, 'precision', f'the original: {theirs}, for which a GPU is needed')}"
    else:
        yield f"  precision: {theirs}{_origin(known, 'precision', None)}"


def _optimizer(known: KnownRecipe | None) -> Iterator[str]:
    own = OptimizerConfig()
    recipe = known.recipe if known else None
    betas = list(recipe.betas if recipe else own.betas)
    yield "  optimizer:"
    rate = known.model.learning_rate if known else own.learning_rate
    yield f"    learning_rate: {rate:g}{_origin(known, 'learning_rate', None)}"
    yield f"    betas: {betas}{_origin(known, 'optimizer', None)}"
    yield f"    eps: {recipe.eps if recipe else own.eps:g}"
    yield f"    weight_decay: {recipe.weight_decay if recipe else own.weight_decay:g}"
    yield f"    gradient_clipping: {recipe.gradient_clipping if recipe else own.gradient_clipping:g}"


def _schedule(start: Start) -> Iterator[str]:
    known, own = start.original.known, ScheduleConfig()
    kind, final = (known.recipe.schedule, known.recipe.final_fraction) if known else (own.kind, own.final_fraction)
    yield "  schedule:"
    yield f"    kind: {kind}{_origin(known, 'schedule', None)}"
    yield f"    warmup_fraction: {_warmup_fraction(known):.6g}"
    yield f"    final_fraction: {final:g}"
    if start.horizon_steps != start.budget.steps:
        yield f"    horizon_steps: {start.horizon_steps}  # the learning rate is at its lowest after so many"


def _evaluation(start: Start) -> Iterator[str]:
    known = start.original.known
    if known is None:
        yield from _comment("On which benchmarks the original was published is not known: four usual ones are taken.")
    else:
        yield from _comment(
            f"Of the benchmarks that it was published with these are not here: {known.recipe.left_out}."
        )
    yield "evaluation:"
    yield "  suite: lm_eval"
    tasks, shots = (known.recipe.tasks, known.recipe.shots) if known else (USUAL_TASKS, 0)
    yield f"  tasks: [{', '.join(tasks)}]{_origin(known, 'tasks', None)}"
    yield f"  num_fewshot: {shots}"


def _origin(known: KnownRecipe | None, part: Part, what: str | None) -> str:
    """The comment behind a value: what it is, and where from."""
    said = [what] if what else []
    if known is None:
        said.append("not known of the original: this harness's default")
    else:
        said.append(known.origin(part))
    return f"  # {'; '.join(said)}"


def _comment(words: str) -> Iterator[str]:
    prefix = "#   " if words.startswith("- ") else "# "
    for at, line in enumerate(textwrap.wrap(words, WIDTH - 4, break_on_hyphens=False, break_long_words=False)):
        yield f"# {line}" if at == 0 else f"{prefix}{line}"
