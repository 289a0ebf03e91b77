"""LoRA adapters for tests, made by hand in PEFT's file format: random, but strong enough to change answers."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

_LAYERS = {
    "self_attn.q_proj": ("hidden", "query"),
    "self_attn.k_proj": ("hidden", "key"),
    "self_attn.v_proj": ("hidden", "key"),
    "self_attn.o_proj": ("query", "hidden"),
    "mlp.gate_proj": ("hidden", "inner"),
    "mlp.up_proj": ("hidden", "inner"),
    "mlp.down_proj": ("inner", "hidden"),
}


def write_adapter(folder: Path, model: Path, *, seed: int = 0, strength: float = 0.04, rank: int = 16) -> str:
    """Write a LoRA of `rank` on every linear layer of the Llama checkpoint `model`; returns the folder.

    `strength` is the standard deviation of B; 0 gives an adapter that does nothing.
    """
    config = json.loads((model / "config.json").read_text())
    heads, head = config["num_attention_heads"], config["head_dim"]
    widths = {
        "hidden": config["hidden_size"],
        "inner": config["intermediate_size"],
        "query": heads * head,
        "key": config["num_key_value_heads"] * head,
    }
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for number in range(config["num_hidden_layers"]):
        for layer, (source, target) in _LAYERS.items():
            name = f"base_model.model.model.layers.{number}.{layer}"
            a = torch.randn(rank, widths[source], generator=random) / widths[source] ** 0.5
            tensors[f"{name}.lora_A.weight"] = a
            tensors[f"{name}.lora_B.weight"] = torch.randn(widths[target], rank, generator=random) * strength
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [layer.rpartition(".")[2] for layer in _LAYERS],
        "base_model_name_or_path": model.name,
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return str(folder)
