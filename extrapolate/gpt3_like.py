"""Is a model GPT-3-like? Dense, autoregressive on text, at least 1e23 FLOP, and data enough for the scaling laws.

The definition is the study's; what it leaves open is settled here, and docs/cases.md defends it:

- FLOP are model FLOP, 6·N·D with every parameter, which is how the study counts. A number of another kind (hardware
  FLOP, hours × peak × utilisation) may count a second forward pass, so it stands for three quarters of itself to all
  of it; where 1e23 lies in between, the answer is unknown.
- Data are enough if the tokens seen reach those of compute-efficient training of a model of this size, by Kaplan et
  al. 2020 or by Hoffmann et al. 2022. Either will do: GPT-3 follows the first and falls far short of the second.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from accounting.architecture import Architecture
from accounting.flops import BACKWARD_PER_FORWARD, FlopLedger, flop_ledger
from configs.cases import Case, FlopKind
from configs.files import Record
from configs.presets import ArchitecturePreset
from train.record import RunRecord

LEAST_FLOP: Final = 1e23
"""Training compute from which a model is GPT-3-like: about a third of GPT-3's (the study's definition)."""

# Kaplan et al. 2020, Table 6: N = 1.3e9·C^0.73 non-embedding parameters and D = 2e10·C^0.27 tokens, C in PF-days.
KAPLAN_PARAMETERS, KAPLAN_PARAMETERS_POWER = 1.3e9, 0.73
KAPLAN_TOKENS, KAPLAN_TOKENS_POWER = 2e10, 0.27
KAPLAN_SOURCE = "Kaplan et al. 2020, Table 6: 2e10·(N/1.3e9)^(0.27/0.73), N without embeddings"
# Hoffmann et al. 2022, Table 3: 20.0 (400 million parameters) to 22.4 (67 billion); Chinchilla itself, Table 1: 20.0.
HOFFMANN_TOKENS_PER_PARAMETER = 20
HOFFMANN_SOURCE = "Hoffmann et al. 2022, Tables 1 and 3: 20 tokens a parameter"

# Full recompute runs the forward pass twice: of 8·N·D hardware FLOP 6·N·D are the model's.
LEAST_MODEL_SHARE = (1 + BACKWARD_PER_FORWARD) / (2 + BACKWARD_PER_FORWARD)

Criterion = Literal["dense", "autoregressive", "compute", "data"]
Answer = Literal["pass", "fail", "unknown"]


class Reason(Record):
    """One of the four criteria: whether it is met (None: not known), and the numbers in words."""

    criterion: Criterion
    met: bool | None
    text: str


class LawReading(Record):
    """The tokens that a law wants for a model of this size. `factor` = needed / seen: above 1 is undertrained."""

    needed_tokens: float
    factor: float | None  # None: the tokens seen are not known
    source: str


class Undertrained(Record):
    """By how much, against each law. Above 1 for both is what fails."""

    kaplan: LawReading
    hoffmann: LawReading


class Gpt3Like(Record):
    """The answer: `fail` if any criterion is not met, `unknown` if none fails and any is not known.

    `model_flop` and `tokens` are the least that the facts can mean.
    """

    name: str
    verdict: Answer
    reasons: tuple[Reason, ...]
    undertrained: Undertrained | None  # None: the number of parameters is not known
    model_flop: float | None
    tokens: float | None


@dataclass(frozen=True)
class Facts:
    """A row of facts; None is not known. `parameters` are all, `non_embedding` those without embeddings and head.

    `flop` is a published number of training FLOP; it is used only where tokens or parameters are not known. Raises
    ValueError for a number that is not above zero.
    """

    name: str
    dense: bool | None = None
    autoregressive: bool | None = None
    parameters: float | None = None
    non_embedding: float | None = None
    tokens: float | None = None
    flop: float | None = None
    flop_kind: FlopKind = "unknown"

    def __post_init__(self) -> None:
        for field in ("parameters", "non_embedding", "tokens", "flop"):
            value = getattr(self, field)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{self.name}: {field} must be a number above zero, not {value}")


class _Span(NamedTuple):
    """The least and the most that a number can be, and how it is known."""

    low: float
    high: float
    how: str

    def reaches(self, threshold: float) -> bool | None:
        """None where the threshold lies in between."""
        return True if self.low >= threshold else False if self.high < threshold else None

    def __str__(self) -> str:
        return _short(self.low) if self.low == self.high else f"{_short(self.low)} to {_short(self.high)}"


def of_facts(facts: Facts) -> Gpt3Like:
    """The answer for a row of facts. What is not known stays unknown: nothing is assumed of it."""
    flop, tokens = _model_flop(facts), _tokens(facts)
    undertrained = _undertrained(facts, tokens)
    reasons = (
        _shape("dense", facts.dense, "dense: every parameter works on every token", "not densely activated"),
        _shape("autoregressive", facts.autoregressive, "autoregressive on text", "not autoregressive on text"),
        _compute(flop),
        _data(undertrained, tokens),
    )
    met = [reason.met for reason in reasons]
    return Gpt3Like(
        name=facts.name,
        verdict="fail" if False in met else "unknown" if None in met else "pass",
        reasons=reasons,
        undertrained=undertrained,
        model_flop=flop.low if flop else None,
        tokens=tokens.low if tokens else None,
    )


def of_ledger(name: str, ledger: FlopLedger) -> Gpt3Like:
    """The answer for training that has been counted. What the ledger counts is dense and autoregressive."""
    return of_facts(
        Facts(
            name=name,
            dense=True,
            autoregressive=True,
            parameters=ledger.parameters_all,
            non_embedding=ledger.parameters_non_embedding,
            tokens=ledger.tokens or None,
        )
    )


def of_architecture(name: str, architecture: Architecture, tokens: int) -> Gpt3Like:
    """The answer for an architecture on so many tokens; the length of the sequences does not matter here."""
    return of_ledger(name, flop_ledger(architecture, tokens, architecture.context))


def of_run(run: RunRecord) -> Gpt3Like:
    """The answer for a run: of the tokens it has seen."""
    return of_ledger(run.name, run.flops)


def of_preset(preset: ArchitecturePreset, tokens: int | None = None) -> Gpt3Like:
    """The answer for a preset on `tokens` tokens, else on those published; with neither, `unknown`."""
    published = preset.published.tokens if preset.published else None
    return of_architecture(preset.name, preset.architecture, tokens or published or 0)


def of_case(name: str, case: Case) -> Gpt3Like:
    """The answer for a case study, or for a run of the user's own among them."""
    return of_architecture(name, case.shape(), case.training_tokens())


def kaplan_tokens(non_embedding: float) -> float:
    """Tokens of compute-efficient training, one epoch, at this size: Kaplan et al. 2020, Table 6, C eliminated."""
    pf_days = (non_embedding / KAPLAN_PARAMETERS) ** (1 / KAPLAN_PARAMETERS_POWER)
    return float(KAPLAN_TOKENS * pf_days**KAPLAN_TOKENS_POWER)


def hoffmann_tokens(parameters: float) -> float:
    """Tokens of compute-optimal training at this size: Hoffmann et al. 2022, Table 3."""
    return HOFFMANN_TOKENS_PER_PARAMETER * parameters


def _model_flop(facts: Facts) -> _Span | None:
    if facts.parameters and facts.tokens:
        flop = 6 * facts.parameters * facts.tokens
        return _Span(flop, flop, "6·N·D, every parameter")
    if facts.flop is None:
        return None
    if facts.flop_kind == "model":
        return _Span(facts.flop, facts.flop, "as published, model FLOP")
    how = (
        f"{_short(facts.flop)} were published, {facts.flop_kind}: model FLOP are all of it, or 3/4 with full recompute"
    )
    return _Span(LEAST_MODEL_SHARE * facts.flop, facts.flop, how)


def _tokens(facts: Facts) -> _Span | None:
    if facts.tokens:
        return _Span(facts.tokens, facts.tokens, "")
    flop = _model_flop(facts)
    if flop is None or facts.parameters is None:
        return None
    return _Span(flop.low / (6 * facts.parameters), flop.high / (6 * facts.parameters), ", by FLOP / 6N")


def _undertrained(facts: Facts, tokens: _Span | None) -> Undertrained | None:
    if facts.parameters is None:
        return None

    def reading(needed: float, source: str) -> LawReading:
        return LawReading(needed_tokens=needed, factor=needed / tokens.low if tokens else None, source=source)

    # With embeddings in it, N is a little too large, and so is what the law wants.
    return Undertrained(
        kaplan=reading(kaplan_tokens(facts.non_embedding or facts.parameters), KAPLAN_SOURCE),
        hoffmann=reading(hoffmann_tokens(facts.parameters), HOFFMANN_SOURCE),
    )


def _shape(criterion: Criterion, known: bool | None, met: str, missed: str) -> Reason:
    text = "not known" if known is None else met if known else missed
    return Reason(criterion=criterion, met=known, text=text)


def _compute(flop: _Span | None) -> Reason:
    if flop is None:
        return Reason(criterion="compute", met=None, text="neither parameters and tokens nor FLOP are known")
    met = flop.reaches(LEAST_FLOP)
    side = {True: "at least", False: "less than", None: "on both sides of"}[met]
    return Reason(criterion="compute", met=met, text=f"{flop} FLOP, {side} {_short(LEAST_FLOP)} ({flop.how})")


def _data(undertrained: Undertrained | None, tokens: _Span | None) -> Reason:
    if undertrained is None or tokens is None:
        return Reason(criterion="data", met=None, text="parameters or tokens are not known")
    wanted = {"Kaplan": undertrained.kaplan.needed_tokens, "Hoffmann": undertrained.hoffmann.needed_tokens}
    by_law = [tokens.reaches(needed) for needed in wanted.values()]
    laws = "; ".join(f"{law} wants {_short(needed)}: {_margin(tokens, needed)}" for law, needed in wanted.items())
    return Reason(
        criterion="data",
        met=True if True in by_law else None if None in by_law else False,
        text=f"{tokens} tokens{tokens.how}: {laws}",
    )


def _margin(tokens: _Span, needed: float) -> str:
    if tokens.low >= needed:
        return f"enough by a factor of {tokens.low / needed:.3g}"
    return f"too few by a factor of {needed / tokens.low:.3g}"


def _short(value: float) -> str:
    return f"{value:.3g}".replace("e+", "e")
