"""The tokenizer of a base checkpoint, with its chat template and the tokens that end an answer.

Owns what a checkpoint must have to be trained as a chat model. Knows no weights, so that a check without them is quick.
"""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from service.contract import fingerprint
from training.data import Chat, check_template
from training.refusal import Refused


def load_chat(base: Path) -> Chat:
    """The tokenizer of a base checkpoint. Raises `Refused` with code `bad_base_model`."""
    if not (base / "config.json").is_file():
        raise Refused(
            "bad_base_model",
            f"There is no base model in {base}. Prepare it with `python -m training.base_model {base}`.",
            "base_model",
        )
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    stops = frozenset(fingerprint.stop_token_ids(base)) | {tokenizer.eos_token_id}
    if not tokenizer.chat_template or None in stops:
        raise Refused(
            "bad_base_model",
            "The base model has no chat template or no end token. Use an instruction-tuned model.",
            "base_model",
        )
    chat = Chat(tokenizer, stops)
    check_template(chat)
    return chat
