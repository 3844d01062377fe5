"""What is done to a corpus before it is tokenised: duplicates and benchmarks' text go."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from configs.distributions import is_number

Similarity = Annotated[float, BeforeValidator(is_number), Field(gt=0, lt=1)]


class NearDuplicatesConfig(BaseModel):
    """Which documents are too alike: MinHash of their sequences of five words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: Similarity | None = Field(
        0.8, description="share of common five-word sequences (Jaccard) from which the later one goes; null: none goes"
    )


class HygieneConfig(BaseModel):
    """What is taken out of the corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exact_duplicates: bool = Field(
        True, description="remove documents of the same words as an earlier one, whatever case and punctuation"
    )
    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()
    decontaminate: bool = Field(
        True, description="cut the text of the benchmarks out of the corpus (13-grams; GPT-3's Appendix C)"
    )
