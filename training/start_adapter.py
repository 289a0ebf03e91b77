"""Whether a run can go on from an adapter: its shape, its base model and its chat template are those of the run.

Reads the adapter's small files and the base checkpoint's, never weights, so that a look before a job can ask too.
"""

import json
from pathlib import Path

from service.contract import folder
from service.contract.fingerprint import base_sha256
from service.contract.jobs import Manifest, TrainingSpec
from training import fingerprint
from training.refusal import Refused


def check(start: Path, spec: TrainingSpec) -> None:
    """Refuse an adapter that is not safetensors, of another shape, or made for another base or template.

    Raises `Refused` with code `bad_start_adapter` or `wrong_template`.
    """

    def refuse(why: str) -> Refused:
        return Refused("bad_start_adapter", f"The adapter to start from {why}", "start_adapter")

    if (
        not (start / fingerprint.ADAPTER_WEIGHTS).is_file()
        or not (start / fingerprint.ADAPTER_CONFIG).is_file()
    ):
        raise refuse(
            f"is not in '{start.name}': {fingerprint.ADAPTER_WEIGHTS} and {fingerprint.ADAPTER_CONFIG} are needed."
        )
    config = json.loads((start / fingerprint.ADAPTER_CONFIG).read_text())
    if bool(config.get("use_rslora")) is not spec.settings.use_rslora:
        raise refuse("is scaled by another power of its rank (use_rslora). Ask for the adapter's own.")
    shape = (config.get("r"), config.get("lora_alpha"))
    if shape != (spec.settings.lora_rank, spec.settings.lora_alpha):
        raise refuse(
            f"has rank {shape[0]} and alpha {shape[1]}, the job asks for {spec.settings.lora_rank} and "
            f"{spec.settings.lora_alpha}. Ask for the adapter's own, or start without it."
        )
    if not (start / folder.MANIFEST).is_file():
        return  # an adapter made elsewhere: its shape is all that can be checked
    manifest = Manifest.model_validate(folder.read_json(start / folder.MANIFEST))
    base = Path(spec.base_model)
    if manifest.base_sha256 != base_sha256(base):
        raise refuse(f"was made for another base model ({manifest.base_model}). Start without it.")
    if manifest.template_sha256 != fingerprint.template_sha256(base):
        raise Refused(
            "wrong_template",
            "The adapter to start from was made with another chat template than the base model has. Start without it.",
            "start_adapter",
        )
