"""Configurations as they are typed: names, options behind a colon, commas between all of them."""

from __future__ import annotations

import pytest

from specframe.bench.configurations import parse_configurations
from specframe.bench.peers import peer_settings
from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.errors import UsageError


def labels(*texts: str) -> list[str]:
    return [configuration.label for configuration in parse_configurations(texts)]


def test_a_comma_ends_a_configuration_unless_an_option_follows() -> None:
    text = "autoregressive,full, nanospec:capacity=1024,harvest_topk=1,static:size=8192"
    assert labels(text) == [
        "autoregressive",
        "full",
        "nanospec:capacity=1024,harvest_topk=1",
        "static:size=8192",
    ]


def test_several_lists_are_one() -> None:
    assert labels("full,static", "nanospec") == ["full", "static", "nanospec"]


def test_a_key_without_a_dot_is_an_option_of_the_strategy() -> None:
    (one,) = parse_configurations(["nanospec:capacity=1024,drafter.nodes=16,vocabulary.eviction=lru"])
    assert one.options == {
        "vocabulary": {"capacity": "1024", "eviction": "lru"},
        "drafter": {"nodes": "16"},
    }


def test_a_configuration_may_keep_its_drafter_warm() -> None:
    (one,) = parse_configurations(["full:drafter=suffix,warm=shared"])
    assert one.run_config(RunConfig()).warm == "shared"


def test_a_component_can_be_chosen_for_one_configuration() -> None:
    (one,) = parse_configurations(["nanospec:drafter=other,gather=torch,drafter.nodes=4"])
    config = one.run_config(RunConfig(drafter="eagle", options={"drafter": {"nodes": "8", "depth": "3"}}))
    assert (config.strategy, config.drafter, config.gather) == ("nanospec", "other", "torch")
    assert config.options == {"drafter": {"nodes": "4", "depth": "3"}}


def test_a_configuration_may_have_sampling_parameters_of_its_own() -> None:
    greedy, sampled = parse_configurations(["nanospec,nanospec:sampling.temperature=0.7,sampling.top_k=9"])
    assert greedy.run_config(RunConfig()).sampling.temperature == 0
    sampling = sampled.run_config(RunConfig(sampling=SamplingParams(top_p=0.5, temperature=1.0))).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.7, 9, 0.5)


def test_alternatives_stand_for_one_configuration_each() -> None:
    assert labels("full,nanospec:capacity=512|1024,drafter.nodes=6|12") == [
        "full",
        "nanospec:capacity=512,drafter.nodes=6",
        "nanospec:capacity=512,drafter.nodes=12",
        "nanospec:capacity=1024,drafter.nodes=6",
        "nanospec:capacity=1024,drafter.nodes=12",
    ]


def test_the_label_is_what_was_typed() -> None:
    assert labels("nanospec:capacity=1024,eviction=lru") == ["nanospec:capacity=1024,eviction=lru"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("full,full", "'full' was given twice"),
        ("static:size=9|9", "'static:size=9' was given twice"),
        ("full,capacity=3", "'capacity=3' belongs to no strategy"),
        ("capacity=3", "'capacity=3' belongs to no strategy"),
        ("nanospec:capacity", "'capacity' is not KEY=VALUE"),
        ("nanospec:tree.nodes=3", r"option 'tree.nodes' of .*vocabulary, gather, drafter, verifier"),
        ("autoregressive:capacity=3", "autoregressive has no vocabulary"),
        ("autoregressive:drafter=eagle", "autoregressive has no drafter"),
        ("hf-greedy:drafter.nodes=3", "hf-greedy has no drafter"),
        ("hf-greedy:sampling.temperature=1", "hf-greedy has no sampling"),
        (
            "nanospec:sampling.heat=1",
            "unknown sampling parameter in .* 'heat'; known: min_p, repetition_penalty",
        ),
        ("nanospec:sampling.top_k=1.5", r"sampling.top_k = '1.5' of .* must be a whole number"),
    ],
)
def test_a_malformed_list_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_configurations([text])


def test_prompt_lookup_has_options() -> None:
    (peer,) = parse_configurations(["hf-prompt-lookup:num_tokens=4"])
    assert peer.is_peer
    assert peer_settings(peer) == {"prompt_lookup_num_tokens": 4, "max_matching_ngram_size": 2}


def test_an_unknown_option_of_a_peer_is_refused() -> None:
    (peer,) = parse_configurations(["hf-prompt-lookup:tokens=4"])
    with pytest.raises(UsageError, match="unknown option of peer 'hf-prompt-lookup' 'tokens'"):
        peer_settings(peer)
