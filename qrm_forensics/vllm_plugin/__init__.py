"""Teaches vLLM the checkpoints whose quantization happens as the model runs; loaded by vLLM itself, in every process of it.

A checkpoint of ours with a runtime description (:mod:`qrm_forensics.runtime.spec`) has a model type that vLLM does not know.
Where this package is installed vLLM finds it by its entry point (group ``vllm.general_plugins``) and learns three
things: the model types (:mod:`~qrm_forensics.vllm_plugin.configs`), the quantization method ``qrm``
(:mod:`~qrm_forensics.vllm_plugin.quantization`), and the architectures that go with it (:mod:`~qrm_forensics.vllm_plugin.models`).
Models of vLLM are used as they are, and every other checkpoint is left alone.
"""

from __future__ import annotations


def register() -> None:
    """Called by vLLM, once or more, in every process."""
    from vllm import ModelRegistry

    from qrm_forensics.vllm_plugin import configs, quantization

    configs.register()
    quantization.register()
    known = ModelRegistry.get_supported_archs()
    for architecture in configs.ARCHITECTURES.values():
        if architecture not in known:
            # named, not imported: workers are forked from this process, and models may start CUDA
            ModelRegistry.register_model(architecture, f"qrm_forensics.vllm_plugin.models:{architecture}")
