"""What the README of an export says: how to run what is in the folder.

Names in, Markdown out; every command is meant to be run in the folder of the export.
"""


def peft(version: str, base: str, has_adapter: bool, tag: str) -> str:
    """Of the files as they are."""
    if not has_adapter:
        return _page(
            version,
            "A judge without an adapter: its tiers are in the safetensors here, and "
            "`flywheel judge score` reads the folder. Plain `peft` has nothing to load.",
        )
    return _page(
        version,
        "A LoRA adapter in PEFT's own format. It works on the weights that it was trained on.",
        _code(
            "from peft import PeftModel",
            "from transformers import AutoModel  # AutoModelForCausalLM for a model that writes",
            "",
            f"base = AutoModel.from_pretrained({base!r})",
            'model = PeftModel.from_pretrained(base, ".")',
            language="python",
        ),
        _tagged(tag, by_itself=False),
    )


def vllm(version: str, command: str, tag: str) -> str:
    """Of an adapter for vLLM; `command` stands for this folder."""
    return _page(
        version,
        "A LoRA adapter for vLLM. In this folder:",
        _code(command),
        f"A request names it as its `model`: `{version}`. The base answers under its own name, "
        "through the same chat template.",
        _tagged(tag, by_itself=True),
    )


def merged(version: str, base: str, tag: str) -> str:
    """Of a causal model that holds its adapter."""
    return _page(
        version,
        f"The base `{base}` with the adapter in its weights, as safetensors, with its tokenizer.",
        _code(f"vllm serve . --served-model-name {version}"),
        "For llama.cpp, convert the folder, and make it smaller where that is wanted:",
        _code(
            "python convert_hf_to_gguf.py . --outfile model-f16.gguf --outtype f16",
            "llama-quantize model-f16.gguf model-q8_0.gguf q8_0",
            "llama-server -m model-q8_0.gguf --jinja",
        ),
        "`convert_hf_to_gguf.py` is in llama.cpp's repository. Numbers of fewer bits are another "
        "model: send it through the gate before it answers anybody.",
        _tagged(tag, by_itself=True),
    )


def merged_encoder(version: str, base: str) -> str:
    """Of an encoder that holds its adapter."""
    return _page(
        version,
        f"The encoder `{base}` with the judge's adapter in its weights. It gives vectors; the head "
        "and the calibration that make a verdict of them are in the export as `peft`.",
    )


def _tagged(tag: str, by_itself: bool) -> str:
    if not tag:
        return ""
    how = (
        "The chat template here writes it by itself; where a server cannot run that template, "
        "write it there."
        if by_itself
        else "Write it there: plain `peft` does not."
    )
    return (
        f"It was trained with tags, and has to be asked with `{tag}` in a line of its own at the "
        f"end of the last message of the user. {how}"
    )


def _page(version: str, *paragraphs: str) -> str:
    said = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    return f"# {version}\n\n{said}\n\nWhat is known of it, and its limits: `CARD.md`.\n"


def _code(*lines: str, language: str = "sh") -> str:
    return "\n".join((f"```{language}", *lines, "```"))
