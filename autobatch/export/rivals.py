"""Keys beside the tuned ones that work against them."""

from __future__ import annotations

_ON_GPU = "it was measured on a GPU"
_IN_EVALUATION = "evaluation was measured in another precision"
_PRECISION = "it trains in another precision than was measured"
_COMPILED = "it turns torch.compile on by itself, in its own way"
PACKED = "a micro-batch then counts packs of samples: effective batch, time and memory are not what was measured"
QUANTIZED = "the weights were not quantised when this was measured"
COMMON = {
    "auto_find_batch_size": "it changes the micro-batch when memory runs out",
    **dict.fromkeys(("pure_bf16", "bfloat16", "float16"), _PRECISION),
    "tf32": "it was not when this was measured; a CPU refuses it",
    **dict.fromkeys(("torch_compile_mode", "torch_compile_backend"), _COMPILED),
    "use_cpu": _ON_GPU,
    "no_cuda": _ON_GPU,
    "bf16_full_eval": _IN_EVALUATION,
    "fp16_full_eval": _IN_EVALUATION,
}
"""Key of transformers' -> what is to be said where it is set and is not tuned."""
