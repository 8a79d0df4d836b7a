# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The classes for the JSON of requests and answers, and the limits of requests."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field


@dataclass(frozen=True)
class Limits:
    """The largest values that the server accepts.

    Args:
        texts: the number of texts in a request.
        text_length: the number of characters in a text.
        num_beams: the number of beams that a request may ask for, and so the number of translations of a text.
        max_new_tokens: the value of `max_new_tokens` that a request may ask for.
        body_bytes: the number of bytes in the body of a request.
        read_seconds: the seconds in which the headers of a request, and then its body, must arrive.
        waiting_texts: the number of texts in the queue.
    """

    texts: int = 256
    text_length: int = 2000
    num_beams: int = 8
    max_new_tokens: int = 512
    body_bytes: int = 2**20
    read_seconds: int = 10
    waiting_texts: int = 1024


def request_models(limits: Limits) -> tuple[type[BaseModel], type[BaseModel]]:
    """Define the classes of the bodies of POST /translate and POST /classify, which refuse values above `limits`."""

    class ClassificationRequest(BaseModel, extra="forbid"):
        """Texts to classify."""

        text: (
            Annotated[str, Field(max_length=limits.text_length)]
            | Annotated[
                list[Annotated[str, Field(max_length=limits.text_length)]],
                Field(max_length=limits.texts),
            ]
        ) = Field(description="A text, or a list of texts.", examples=["The cat sees the dog."])

    class TranslationRequest(ClassificationRequest):
        """Texts to translate, and options of the search.

        If `num_beams`, `max_new_tokens` or `length_penalty` is null or left out, the default of the model is used.
        """

        num_beams: int | None = Field(
            None, ge=1, le=limits.num_beams, description="Number of beams; 1 is greedy search.", examples=[4]
        )
        num_return_sequences: int = Field(
            1, ge=1, le=limits.num_beams, description="Number of translations of each text, at most `num_beams`."
        )
        max_new_tokens: int | None = Field(
            None, ge=1, le=limits.max_new_tokens, description="Longest translation, in tokens.", examples=[64]
        )
        length_penalty: float | None = Field(
            None,
            ge=-10,
            le=10,
            description="Beam search divides the log-probability of a translation by (number of tokens) ** "
            "length_penalty.",
            examples=[1.0],
        )
        scores: bool = Field(False, description="Whether to return the score of each translation.")

    return TranslationRequest, ClassificationRequest


class Alternative(BaseModel):
    """A translation and its score."""

    text: str = Field(examples=["Le chat voit le chien."])
    score: float | None = Field(
        examples=[-0.06],
        description="In beam search, the log-probability divided by (number of tokens) ** length_penalty; in greedy "
        "search, the log-probability. null if the request does not ask for scores.",
    )


class TextTranslation(Alternative):
    """The best translation of a text, and further translations, best first."""

    alternatives: list[Alternative]


class TranslationAnswer(BaseModel):
    """The translations of all texts of a request, in the order of the texts."""

    translations: list[TextTranslation]


class LabelScore(BaseModel):
    """A label and its probability; for a regression model, `score` is the predicted number."""

    label: str
    score: float


class Classification(BaseModel):
    """The most probable label of a text, and each label with its probability, the most probable label first."""

    label: str | None = Field(description="null for a blank text")
    scores: list[LabelScore]
    truncated: bool = Field(
        description="whether the text has more tokens than the model reads, so that the model read only its beginning"
    )


class ClassificationAnswer(BaseModel):
    """The classifications of all texts of a request, in the order of the texts."""

    classifications: list[Classification]


class Health(BaseModel):
    """The state of the server, and the model, task and engine that it serves."""

    status: str
    model: str
    task: str
    engine: str


class Problem(BaseModel):
    """The reason why the server refused a request."""

    detail: Any
