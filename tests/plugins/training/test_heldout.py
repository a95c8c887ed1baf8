"""Heads are measured on what they were not trained on, as drafting would use them."""

import torch
from tiny_models import tiny_target

from specframe_plugins.drafters.eagle.architecture import EagleArchitecture
from specframe_plugins.drafters.eagle.induction import with_induction
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.heldout import best_ids, chain_acceptance
from specframe_plugins.training.shards import ANSWER, Sequence, ShardSet, ShardWriter
from specframe_plugins.training.statistics import split


def test_chain_acceptance_is_that_of_drafting():
    target = tiny_target()
    torch.manual_seed(0)
    head = with_induction(EagleHead(EagleConfig.for_target(target.config)), 1)
    with torch.no_grad():
        # A head that is right now and then.
        head.norm.weight.copy_(target.decoder.norm.weight)
    number, length, depths = 0, 6, 3
    torch.manual_seed(2)
    tokens = torch.randint(3, 101, (length + depths + 3,))
    with torch.no_grad():
        features = target.decoder(input_ids=tokens[None]).last_hidden_state[0]
        # Greedy text, so that accepted tokens are the text itself.
        for position in range(2, len(tokens)):
            features = target.decoder(input_ids=tokens[None]).last_hidden_state[0]
            tokens[position] = best_ids(target.output_head, features[None, position - 1 : position])[0, 0]
        features = target.decoder(input_ids=tokens[None]).last_hidden_state[0]
    one = Sequence(0, tokens.int(), torch.full((len(tokens),), ANSWER, dtype=torch.uint8), features)

    class One:
        def __getitem__(self, key):
            return one

    found = chain_acceptance(EagleArchitecture(), head, TrainingData(One(), target), [number], depths)
    starts = len(tokens) - 2 - depths + 1
    expected = [0] * depths
    with torch.no_grad():
        embeddings = target.embed_tokens(tokens)[None]
        for start in range(starts):
            own, drafted = features[None, : start + 1], embeddings[:, 1 : start + 2]
            for depth in range(depths):
                stop = start + depth + 1
                predicted = head(drafted, own, torch.arange(stop)[None])[:, -1:]
                token = best_ids(target.output_head, predicted)[0, 0]
                if token != tokens[stop + 1]:
                    break
                expected[depth] += 1
                own = torch.cat((own, predicted), dim=1)
                drafted = torch.cat((drafted, target.embed_tokens(token)[None, None]), dim=1)
    assert found.starts == starts
    assert [round(share * starts) for share in found.by_depth] == expected


def test_held_out_conversations_stay_held_out_when_data_grows(tmp_path):
    writer = ShardWriter(tmp_path, 0, 10**6, 101, {})
    for index in range(100):
        writer.add(Sequence(index, torch.zeros(3, dtype=torch.int32), torch.zeros(3, dtype=torch.uint8)))
    writer.close()
    training, held_out = split(ShardSet.open(tmp_path))
    assert sorted(training + held_out) == list(range(100))
    assert held_out == [0, 40, 80]
