"""specframe's EAGLE heads as draft models of vLLM, induction heads included."""

ARCHITECTURES = {
    "EagleSpecframeForCausalLM": "specframe_vllm.draft_head.eagle:EagleSpecframeForCausalLM",
    "Eagle3SpecframeForCausalLM": "specframe_vllm.draft_head.eagle3:Eagle3SpecframeForCausalLM",
}


def register() -> None:
    """Make vLLM know the draft models, and transformers their config; once more does no harm.

    The models are imported when vLLM builds one.
    """
    from vllm import ModelRegistry

    from specframe_vllm.draft_head.config import register_config

    register_config()
    for architecture, where in ARCHITECTURES.items():
        if architecture not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(architecture, where)
