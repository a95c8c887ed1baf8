"""How a head is trained: everything but the data and the kind of head."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Recipe:
    """Everything about a training but the data and the kind of head.

    Attributes:
        epochs: passes over the data.
        batch_tokens: most tokens of a batch, padding included.
        learning_rate: peak of AdamW's warm-up and cosine.
        weight_decay: of AdamW, on matrices.
        unroll_steps: depths of the last part.
        unroll_share: how much of the training the last part is.
        depth_decay: weight of each further depth.
        random_tokens: ids drawn from the rest of the vocabulary per batch.
        soft_share: of the target's distribution in the labels; the rest is its argmax.
        feature_weight: of the distance between features.
        user_weight: of what the target wrote in user turns; answers count 1.
        noise: uniform noise on the input features, as a share of their root mean square.
        dropout: share of the layer's inputs that is left out.
        ema: decay of the moving average of the weights; 0 for none.
        evaluations: how often the head is measured on the way.
        patience: evaluations without a better one after which the training ends; 0 for never.
        seed: of the order, the noise and the draws.
        autocast: matrix products in bfloat16.
    """

    epochs: int
    batch_tokens: int
    learning_rate: float
    weight_decay: float
    unroll_steps: int
    unroll_share: float
    depth_decay: float
    random_tokens: int
    soft_share: float
    feature_weight: float
    user_weight: float
    noise: float
    dropout: float
    ema: float
    evaluations: int
    patience: int
    seed: int
    autocast: bool
