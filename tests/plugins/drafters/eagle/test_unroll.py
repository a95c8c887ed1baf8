"""The unrolled layer of a training sees what drafting sees."""

import pytest
import torch
from tiny_models import tiny_target

from specframe_plugins.drafters.eagle.induction import with_induction
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.eagle.unroll import unroll


@pytest.mark.parametrize("induction_groups", [0, 1])
def test_unrolling_computes_what_drafting_computes(induction_groups):
    torch.manual_seed(0)
    head = with_induction(EagleHead(EagleConfig.for_target(tiny_target().config)), induction_groups)
    length, steps = 9, 4
    torch.manual_seed(1)
    torch.nn.init.normal_(head.attention.o_proj.weight)
    embeddings, features = torch.randn(2, length, 64), torch.randn(2, length, 64)
    with torch.no_grad():
        unrolled = list(unroll(head, embeddings, features, steps))
        for start in range(length - steps + 1):
            own = features[:, : start + 1]
            for depth in range(steps):
                stop = start + depth + 1
                positions = torch.arange(stop).expand(2, -1)
                predicted = head(embeddings[:, :stop], own, positions)[:, -1:]
                torch.testing.assert_close(
                    unrolled[depth][:, stop - 1 : stop], predicted, rtol=1e-4, atol=1e-4
                )
                own = torch.cat((own, predicted), dim=1)
