"""A custom readout: five levels instead of good and poor."""

from qdebias import Question, Vanilla

LEVELS = Vanilla(
    question=Question(
        text="How would you rate the quality of this image?",
        answer_prefix="The quality of the image is",
        options=(" excellent", " good", " fair", " poor", " bad"),
        values=(1.0, 0.75, 0.5, 0.25, 0.0),
    )
)
