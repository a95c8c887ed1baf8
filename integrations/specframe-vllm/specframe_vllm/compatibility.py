"""Which of vLLM's methods are listened to, and whether the installed vLLM has them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable

import attrs

# What the tests run with. What others lack is found when they load the plugin.
TESTED = "0.32.0"


@attrs.frozen(slots=True)
class HookPoint:
    """A method of vLLM, and the parameters that it is called with.

    Attributes:
        module: where its class is.
        owner: name of the class, which defines the method itself.
        method: its name.
        parameters: names of the first parameters after ``self``, in order.
    """

    module: str
    owner: str
    method: str
    parameters: tuple[str, ...]

    @property
    def name(self) -> str:
        """Class and method."""
        return f"{self.owner}.{self.method}"

    def find(self) -> type:
        """Return the class.

        Raises:
            LookupError: something is missing, or called in another way.
        """
        try:
            owner: type = getattr(importlib.import_module(self.module), self.owner)
        except Exception:  # a module of another release may fail in any way
            raise LookupError(f"{self.module}.{self.owner}") from None
        method = vars(owner).get(self.method)
        if method is None:
            raise LookupError(self.name)
        found = tuple(inspect.signature(method).parameters)[1:]
        if found[: len(self.parameters)] != self.parameters:
            raise LookupError(f"{self.name}({', '.join(self.parameters)})")
        return owner


# Where it is missing, settings are checked later, when the draft model is loaded.
CONFIGURE = HookPoint("vllm.engine.arg_utils", "EngineArgs", "create_engine_config", ())

_PROPOSER = "vllm.v1.spec_decode.llm_base_proposer"
_V1 = "vllm.v1.worker.gpu_model_runner"

LOAD = HookPoint(_PROPOSER, "SpecDecodeBaseProposer", "load_model", ("target_model",))
UPDATE = HookPoint(_V1, "GPUModelRunner", "_update_states", ("scheduler_output",))
SAMPLE = HookPoint(_V1, "GPUModelRunner", "_sample", ("logits", "spec_decode_metadata"))
PROPOSE = HookPoint(
    _V1,
    "GPUModelRunner",
    "propose_draft_token_ids",
    (
        "scheduler_output",
        "sampled_token_ids",
        "sampling_metadata",
        "hidden_states",
        "sample_hidden_states",
        "aux_hidden_states",
        "spec_decode_metadata",
        "common_attn_metadata",
        "slot_mappings",
    ),
)
MODEL_RUNNER_V1 = (LOAD, UPDATE, SAMPLE, PROPOSE)

_V2 = "vllm.v1.worker.gpu"

LOAD_V2 = HookPoint(f"{_V2}.spec_decode.speculator", "DraftModelSpeculator", "load_model", ("target_model",))
FINISH_V2 = HookPoint(f"{_V2}.model_runner", "GPUModelRunner", "finish_requests", ("scheduler_output",))
SAMPLE_V2 = HookPoint(f"{_V2}.model_runner", "GPUModelRunner", "sample", ("hidden_states", "input_batch"))
SAMPLER_V2 = HookPoint(f"{_V2}.sample.sampler", "Sampler", "__call__", ("logits", "input_batch"))
REJECT_V2 = HookPoint(
    f"{_V2}.spec_decode.rejection_sampler", "RejectionSampler", "__call__", ("logits", "input_batch")
)
MODEL_RUNNER_V2 = (LOAD_V2, FINISH_V2, SAMPLE_V2, SAMPLER_V2, REJECT_V2)

_SCHEDULER = "vllm.v1.core.sched.scheduler"

SCHEDULER = HookPoint(_SCHEDULER, "Scheduler", "__init__", ("vllm_config",))
SCHEDULER_OUTPUT = HookPoint(
    _SCHEDULER, "Scheduler", "update_from_output", ("scheduler_output", "model_runner_output")
)
SCHEDULING = (SCHEDULER, SCHEDULER_OUTPUT)


def missing(points: Iterable[HookPoint]) -> list[str]:
    """Return what the installed vLLM lacks, each in the words of a signature."""
    lacking = []
    for point in points:
        try:
            point.find()
        except LookupError as error:
            lacking.append(str(error.args[0]))
    return lacking
