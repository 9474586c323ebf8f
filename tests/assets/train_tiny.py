"""Trains the tiny model in tests/assets/tiny/, which knows one text and one answer by heart.

    pip install torch transformers tokenizers
    python tests/assets/train_tiny.py [DIRECTORY]

Takes about a minute on two cores. The seed is fixed, but other versions of torch or another
processor round differently: a new run gives a model as good as this one, not the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

TEXT = """\
The core infers. A model is written once, and the backends do its arithmetic behind a narrow \
interface: weights are mapped and not copied, four bits stand for sixteen, and the answer to a \
question never depends on the questions beside it. Whoever reads this line has a wheel that came \
clean out of the factory, opened a file, cut its numbers into groups of thirty-two, and multiplied \
them in the right order. Nothing was downloaded ✓"""
QUESTION = "Who are you?"
ANSWER = "I am the tiny model of mlc_llm, and I know one text by heart."
CHAT_TEMPLATE = """\
{{ bos_token }}{% for message in messages %}
<|{{ message['role'] }}|>{{ message['content'] }}<|end|>
{%- endfor %}
{% if add_generation_prompt %}
<|assistant|>
{%- endif %}"""

BEGIN, END = "<|begin|>", "<|end|>"
SPECIAL = [BEGIN, END, "<|system|>", "<|user|>", "<|assistant|>"]
GROUP = 32
STEPS = 700
NOISE = 0.25  # of a quantization step, on the weights


def make_tokenizer() -> Tokenizer:
    """Return a byte-level BPE tokenizer: it can spell anything, and knows some of the text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT, QUESTION, ANSWER], trainer)
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, begin)]
    )
    return tokenizer


def make_samples(tokenizer: Tokenizer) -> torch.Tensor:
    """Return the text and the conversation as token ids [2, length], padded with the end token."""
    chat = f"{BEGIN}<|user|>{QUESTION}{END}<|assistant|>{ANSWER}{END}"
    samples = [
        tokenizer.encode(TEXT + END).ids,
        tokenizer.encode(chat, add_special_tokens=False).ids,
    ]
    end = tokenizer.token_to_id(END)
    length = max(map(len, samples))
    return torch.tensor([sample + [end] * (length - len(sample)) for sample in samples])


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `weight` as q4f16_1 would keep it, and the step between two of its values."""
    groups = weight.detach().unflatten(-1, (-1, GROUP))
    scale = (groups.abs().amax(-1, keepdim=True) / 7).half().float().clamp_min(1e-8)
    quantized = (groups / scale).round().clamp(-7, 7) * scale
    return quantized.flatten(-2), scale.expand_as(groups).flatten(-2)


def disturb(weight: torch.Tensor, *, quantized: bool) -> torch.Tensor:
    """Return `weight` as the model must bear it: noisy, every second time also in 4 bits."""
    if weight.ndim == 1:
        return weight
    rounded, step = quantize(weight)
    change = NOISE * step * torch.randn_like(weight)
    if quantized:
        change = change + rounded - weight.detach()
    return weight + change


def make_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """Return an untrained Llama with grouped heads and tied embeddings."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def train(model: LlamaForCausalLM, samples: torch.Tensor) -> None:
    """Teach `samples` until the weights may be disturbed without a changed word."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=STEPS)
    for step in range(STEPS):
        weights = {
            name: disturb(weight, quantized=step % 2 == 0)
            for name, weight in model.named_parameters()
        }
        logits = functional_call(model, weights, (samples[:, :-1],)).logits
        loss = cross_entropy(logits.flatten(0, 1), samples[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.5f}")


@torch.no_grad()
def smallest_margin(model: LlamaForCausalLM, samples: torch.Tensor, *, quantized: bool) -> float:
    """Return how far, in logits, the right next token is ahead of every other, at worst."""
    weights = {
        name: quantize(weight)[0] if quantized and weight.ndim > 1 else weight
        for name, weight in model.named_parameters()
    }
    logits = functional_call(model, weights, (samples[:, :-1],)).logits
    right = samples[:, 1:, None]
    others = logits.scatter(-1, right, -torch.inf).amax(-1)
    # What no sample determines: the question's own words.
    chat = samples[1]
    asked = int((chat == chat[1]).nonzero()[0]) + len(QUESTION)
    margins = logits.gather(-1, right)[..., 0] - others
    return float(min(margins[0, 4:].min(), margins[1, asked:].min()))


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, directory: Path) -> None:
    """Write what a model directory of Hugging Face has."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().half() for name, weight in model.named_parameters()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    config = model.config
    end = config.eos_token_id
    for name, content in (
        ("config.json", {**config.to_diff_dict(), "architectures": ["LlamaForCausalLM"]}),
        ("generation_config.json", {"bos_token_id": config.bos_token_id, "eos_token_id": end}),
        (
            "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": BEGIN,
                "eos_token": END,
                "clean_up_tokenization_spaces": False,
                "model_max_length": config.max_position_embeddings,
                "chat_template": CHAT_TEMPLATE,
            },
        ),
    ):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (directory / "text.txt").write_text(TEXT + "\n", encoding="utf-8")


def main(directory: Path) -> None:
    """Train, prove and save the model."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more would wait for each other on matrices this small
    torch.use_deterministic_algorithms(mode=True)
    tokenizer = make_tokenizer()
    samples = make_samples(tokenizer)
    model = make_model(tokenizer)
    print(f"{sum(weight.numel() for weight in model.parameters())} weights, {samples.shape}")
    train(model, samples)
    model.half().float()
    for quantized in (False, True):
        margin = smallest_margin(model, samples, quantized=quantized)
        print(f"margin {margin:.2f}, quantized: {quantized}")
    save(model, tokenizer, directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tiny")
