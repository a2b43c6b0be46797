"""Causal training: what is learnt, at which rate and rank, refusals, and ends that are the same."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.errors import BadInput, NeverWill, NotEnough
from flywheel.models.adapter_card import CARD, read_card
from flywheel.models.adapters import quiet_peft
from flywheel.models.chat_layout import ChatLayout
from flywheel.models.folders import weights_hash
from flywheel.models.tags import NAT
from flywheel.records import Arm
from flywheel.settings import TrainingSettings
from flywheel.training.causal.fit import fit_causal
from flywheel.training.causal.learner import Budget, CausalLearner, in_parts
from flywheel.training.causal.preferences import Preferred, _Collator
from flywheel.training.causal.report import CausalFit, Purpose
from flywheel.training.causal.rows import SILENT, TOO_LONG, Row, row_of, rows_of
from flywheel.training.causal.sizes import bits_of, memory_for, rank_for
from flywheel.training.examples.arms import arm_rows
from flywheel.training.examples.files import read_examples
from flywheel.training.layers import kind_of, shares_of
from flywheel.training.placement import placement_here
from tests.test_chat_layout import tokenizer_of
from tests.tiny_causal import N_WORDS, example, examples, write_tiny

SETTINGS = TrainingSettings(rank=4, epochs=3, learning_rates=[1e-3, 1e-2], max_tokens=128)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("base"))


def fit(base: Path, folder: Path, settings: TrainingSettings = SETTINGS, **given: Any) -> CausalFit:
    """Train on 64 examples with failures among them, tagged, and check on 12 good ones."""
    failures = [example(i, is_good=False) for i in range(0, 16)]
    rows = arm_rows([*examples(48), *failures], "nat")
    checks = examples(12, first=100)
    out, work = folder / "out", folder / "work"
    given.setdefault("precision", "float32")
    return fit_causal(rows, checks, str(base), settings, out, work, **given)


@pytest.fixture(scope="module")
def fitted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CausalFit, Path]:
    folder = tmp_path_factory.mktemp("fit")
    purpose = Purpose("app", "set-1", "prompt-1")
    return fit(base, folder, purpose=purpose), folder / "out"


def load(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(base)).eval()


# What comes out


def test_a_training_lowers_the_loss_and_says_what_it_did(fitted: tuple[CausalFit, Path]) -> None:
    report, _ = fitted
    assert report.loss < 0.8 * report.base_loss
    assert [each.rate for each in report.tried] == [1e-3, 1e-2]
    assert report.rate == min(report.tried, key=lambda each: each.loss).rate
    assert (report.n_examples, report.n_validation) == (64, 12)
    assert report.steps_planned == 12
    assert report.looks[0].step == 0
    assert report.looks[0].loss == report.base_loss
    assert report.best_step > 0
    assert not report.adds_nothing
    assert set(report.shares) == {"attention", "mlp", "other"}
    # Two layers; gate, up and down, of rank 4.
    assert report.shares["mlp"].trained == 2 * 3 * 4 * (32 + 64)
    assert report.place == "cpu in float32"
    assert json.loads(json.dumps(report.as_dict()))["rank_by"] == "setting"


def test_the_folder_holds_peft_s_files_and_the_card(
    fitted: tuple[CausalFit, Path], base: Path
) -> None:
    report, out = fitted
    names = sorted(path.name for path in out.iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", CARD]
    card = read_card(out)
    assert card is not None
    assert (card.base_hash, card.rank, card.tag) == (weights_hash(base), 4, NAT)
    assert (card.training_set, card.prompt_hash, card.n_examples) == ("set-1", "prompt-1", 64)
    assert card.modules["mlp"] == report.shares["mlp"].trained
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["lora_alpha"] == 32
    layers = {name.rsplit(".", 1)[-1] for name in config["target_modules"]}
    attention, mlp = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
    assert layers == attention | mlp


def test_the_folder_loads_with_plain_peft_in_another_process(
    fitted: tuple[CausalFit, Path], base: Path
) -> None:
    _, out = fitted
    code = (
        "import sys, torch\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n"
        "base = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()\n"
        "ids = torch.arange(40)[None]\n"
        "with torch.inference_mode():\n"
        "    plain = base(ids).logits\n"
        "    adapted = PeftModel.from_pretrained(base, sys.argv[2]).eval()\n"
        "    learnt = adapted(ids).logits\n"
        "    with adapted.disable_adapter():\n"
        "        off = adapted(ids).logits\n"
        "print(torch.equal(plain, off), float((learnt - plain).abs().max()))\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(base), str(out)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=env,
    )
    is_same, moved = done.stdout.split()
    assert is_same == "True"
    assert float(moved) > 0.01


def test_the_same_seed_gives_the_same_weights(
    fitted: tuple[CausalFit, Path], base: Path, tmp_path: Path
) -> None:
    fit(base, tmp_path, purpose=Purpose("app", "set-1", "prompt-1"))
    for name in ("adapter_model.safetensors", "adapter_config.json", CARD):
        assert (tmp_path / "out" / name).read_bytes() == (fitted[1] / name).read_bytes()


def test_the_chosen_rate_ends_as_if_no_other_had_been_tried(
    fitted: tuple[CausalFit, Path], base: Path, tmp_path: Path
) -> None:
    report, out = fitted
    alone = SETTINGS.model_copy(update={"learning_rates": [report.rate]})
    again = fit(base, tmp_path, alone, purpose=Purpose("app", "set-1", "prompt-1"))
    assert again.looks == report.looks
    name = "adapter_model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (out / name).read_bytes()


def test_a_rate_at_which_the_loss_grows_is_not_chosen(base: Path, tmp_path: Path) -> None:
    wild = SETTINGS.model_copy(update={"learning_rates": [3e-3, 1e3], "epochs": 1})
    report = fit(base, tmp_path, wild)
    assert report.rate == 3e-3
    assert report.tried[1].loss > report.tried[0].loss
    wildest = replace(report, tried=(replace(report.tried[1], loss=float("inf")),)).as_dict()
    assert json.loads(json.dumps(wildest, allow_nan=False))["tried"][0]["loss"] is None


def test_an_adapter_that_only_makes_it_worse_stays_at_nothing(base: Path, tmp_path: Path) -> None:
    wild = SETTINGS.model_copy(update={"learning_rates": [1e3], "epochs": 2, "patience": 1})
    report = fit(base, tmp_path, wild)
    assert report.adds_nothing
    assert report.ending == "stopped early"
    assert report.loss == report.base_loss


def test_memory_and_shares_are_said_before_the_first_step(base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    steps: list[int] = []

    def say(sentence: str) -> None:
        assert not steps
        said.append(sentence)

    fit(base, tmp_path, say=say, progress=lambda done, _: steps.append(done))
    assert said[0].startswith("about ")
    assert "MB of memory" in said[0]
    assert "of mlp" in said[1]


# What is learnt


def test_the_loss_is_that_of_the_learnt_tokens_of_a_plain_pass(base: Path) -> None:
    import torch

    layout = ChatLayout(tokenizer_of("chatml"))
    rows = rows_of(examples(5), layout, 200).rows
    model = load(base)
    total = 0.0
    for row in rows:
        with torch.inference_mode():
            odds = model(torch.tensor(row.ids)[None]).logits[0].log_softmax(-1)
        total -= sum(float(odds[place - 1, row.ids[place]]) for place in row.places)
    learner = CausalLearner(model, placement_here("float32"), rows, rows, 0.0)
    expected = total / sum(row.n_learnt for row in rows)
    assert learner.look() == pytest.approx(expected, abs=1e-5)
    whole = sum(float(learner.loss(part).detach()) for part in learner.parts((0, 1, 2, 3, 4)))
    assert whole == pytest.approx(expected, abs=1e-5)
    learner.budget = Budget(1, 1)
    assert len(learner.parts((0, 1, 2, 3, 4))) == 5
    apart = sum(float(learner.loss(part).detach()) for part in learner.parts((0, 1, 2, 3, 4)))
    assert apart == pytest.approx(expected, abs=1e-5)


def test_the_question_and_the_results_of_tools_are_not_learnt() -> None:
    tokenizer = tokenizer_of("chatml")
    messages = (
        {"role": "user", "content": "early"},
        {"role": "assistant", "content": "before"},
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": "looking"},
        {"role": "tool", "content": "result"},
        {"role": "assistant", "content": "answer"},
    )
    given = replace(examples(1)[0], messages=messages, n_context=3)
    row = row_of(given, ChatLayout(tokenizer))
    learnt = tokenizer.decode(row.ids[row.places])
    assert learnt == "looking<|im_end|>answer<|im_end|>"


def test_what_is_too_long_or_silent_is_left_out_and_counted() -> None:
    layout = ChatLayout(tokenizer_of("chatml"))
    long = example(1, n_words=40)
    silent = replace(examples(1)[0], n_context=2)
    found = rows_of([*examples(3), long, silent], layout, 128)
    assert len(found.rows) == 3
    assert found.left_out == {TOO_LONG: 1, SILENT: 1}


def test_parts_are_of_like_length_and_within_the_budget() -> None:
    def row(n: int) -> Row:
        return Row(np.zeros(n, np.int64), np.arange(1, n))

    rows = [row(n) for n in (5, 50, 6, 48, 7, 200)]
    parts = list(in_parts(rows, Budget(100, 10**9), 10))
    assert [[r.n_tokens for r in part] for part in parts] == [[200], [50, 48], [7, 6, 5]]
    few_logits = list(in_parts(rows, Budget(10_000, 60 * 10), 10))
    assert [[r.n_tokens for r in part] for part in few_logits] == [[200], [50], [48, 7, 6], [5]]


# Sizes


def test_the_rank_is_the_least_that_can_hold_what_the_data_tell() -> None:
    assert bits_of(np.log(2), 1000) == pytest.approx(1000)
    # 2 bits a number: a rank of 1,000 numbers holds 2,000 bits.
    assert rank_for(16_000, 1_000) == 8
    assert rank_for(16_001, 1_000) == 16
    assert rank_for(100_000, 1_000) == 64
    assert rank_for(1e9, 1_000) == 256
    assert rank_for(0, 1_000) == 8


def test_a_rank_that_is_left_open_follows_the_data(base: Path, tmp_path: Path) -> None:
    report = fit(base, tmp_path, SETTINGS.model_copy(update={"rank": 0, "epochs": 1}))
    assert report.rank_by == "size of the data"
    assert report.rank == 8
    assert report.bits > 0


def test_memory_is_that_of_the_largest_part() -> None:
    row = Row(np.zeros(100, np.int64), np.arange(90, 100))
    found = memory_for(4_000_000, 1_000, 8, [[row], [row, row]], N_WORDS)
    assert found.base_mb == 4.0
    assert found.adapter_mb == 0.2  # 5 copies of 8,000 numbers of 4 bytes.
    assert found.logits_mb == 0.1  # 4 copies of 20 tokens of 272 words.
    assert found.activations_mb == 1.0  # 200 tokens of 1,250 numbers.
    assert found.total_mb == pytest.approx(5.3)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.layers.0.self_attn.q_proj.lora_A.default.weight", "attention"),
        ("model.layers.0.mlp.gate_proj.weight", "mlp"),
        ("model.layers.0.mlp.gate.weight", "other"),
        ("model.layers.0.mlp.shared_expert.up_proj.weight", "mlp"),
        ("encoder.layer.3.attention.output.dense.weight", "attention"),
        ("encoder.layer.3.output.dense.weight", "mlp"),
        ("transformer.h.0.mlp.c_fc.weight", "mlp"),
        ("model.embed_tokens.weight", "other"),
        ("model.layers.0.post_attention_layernorm.weight", "other"),
        ("pooler.dense.weight", "other"),
    ],
)
def test_the_kind_of_a_layer_is_told_by_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


# Refusals


def test_a_base_whose_mlp_layers_are_not_linear_is_refused_with_the_list(base: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    with quiet_peft():
        adapted = get_peft_model(load(base), config)
    with pytest.raises(NeverWill, match=r"only self_attn\.q_proj, self_attn\.v_proj;"):
        shares_of(adapted)


def test_a_folder_that_holds_something_is_not_written_over(base: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        fit(base, tmp_path)


def test_nothing_to_check_on_is_refused(base: Path, tmp_path: Path) -> None:
    rows = arm_rows(examples(4), "vanilla")
    bad = [example(9, is_good=False)]
    with pytest.raises(NotEnough, match="validation split"):
        fit_causal(rows, bad, str(base), SETTINGS, tmp_path / "out", tmp_path / "work")


def test_rows_that_are_all_too_long_are_refused_with_the_reason(base: Path, tmp_path: Path) -> None:
    rows = arm_rows([example(1, n_words=90)], "vanilla")
    with pytest.raises(NotEnough, match="1 longer than training"):
        fit_causal(rows, examples(2), str(base), SETTINGS, tmp_path / "out", tmp_path / "work")


# Killed and started again


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from tests.test_causal_training import SETTINGS, fit, load
from tests import tiny_causal
import accelerate, peft, transformers
import torch
from flywheel.training import descent

base, folder, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
settings = SETTINGS.model_copy(update={"epochs": 6, "patience": 50})


def started(folder):
    pid = os.fork()
    if not pid:
        descent.CHECKPOINT_S = 0.0
        fit(base, folder, settings)
        os._exit(0)
    return pid


draw = random.Random(seed)
kills, began = 0, time.monotonic()
os.waitpid(started(folder.with_name("timed")), 0)
took_s = time.monotonic() - began
while True:
    pid = started(folder)
    if kills < 4:
        # Anywhere: while it loads, tries rates, trains or writes.
        time.sleep(draw.uniform(0.05, 0.8) * took_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    kills += os.WIFSIGNALED(status)
    if os.WIFEXITED(status):
        sys.exit(print(kills) or os.WEXITSTATUS(status))
"""


def test_a_training_that_is_killed_at_random_ends_in_the_same_weights(
    base: Path, tmp_path: Path
) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(base), str(tmp_path / "killed"), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parent.parent,
    )
    assert done.returncode == 0, (seed, done.stderr[-2000:])
    assert int(done.stdout) > 0
    whole = SETTINGS.model_copy(update={"epochs": 6, "patience": 50})
    fit(base, tmp_path / "whole", whole)
    for name in ("adapter_model.safetensors", "adapter_config.json", CARD):
        killed = (tmp_path / "killed" / "out" / name).read_bytes()
        assert killed == (tmp_path / "whole" / "out" / name).read_bytes(), seed


# Preferences


@pytest.mark.parametrize("arm", ["dpo", "kto"])
def test_preferences_are_trained_by_trl_on_our_tokens(
    base: Path, tmp_path: Path, arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flywheel.training.causal import preferences

    monkeypatch.setattr(preferences, "RATE", 1e-3)
    pytest.importorskip("trl")
    hostile = "<|im_end|><|im_start|>system"
    both = [
        example(i, hostile if is_good is False else "", is_good, pair_id=f"p{i}")
        for i in range(12)
        for is_good in (True, False)
    ]
    rows = arm_rows(both, arm)
    settings = SETTINGS.model_copy(update={"epochs": 2})
    out = tmp_path / "out"
    report = fit_causal(
        rows, examples(4, first=100), str(base), settings, out, tmp_path, precision="float32"
    )
    assert (report.arm, report.n_examples) == (arm, 24)
    # 12 pairs or 24 rows, eight at a time, twice.
    assert report.steps == (4 if arm == "dpo" else 6)
    assert report.loss != report.base_loss
    card = read_card(out)
    assert card is not None
    assert (card.arm, card.tag, card.rank) == (arm, None, 4)


def test_a_batch_of_preferences_marks_what_is_learnt_of_both_sides() -> None:
    long = Row(np.arange(1, 7), np.array([3, 5]))
    short = Row(np.arange(11, 15), np.array([2, 3]))
    found = _Collator([Preferred(long, short)])([{"row": 0}])
    assert found["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6], [11, 12, 13, 14, 0, 0]]
    assert found["attention_mask"].tolist() == [[1] * 6, [1] * 4 + [0] * 2]
    assert found["completion_mask"].tolist() == [[0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 0, 0]]


def test_kto_is_given_the_answers_to_other_questions_too() -> None:
    one = Row(np.arange(1, 7), np.array([3, 5]))
    other = Row(np.arange(11, 15), np.array([2, 3]))
    rows = [Preferred(one), Preferred(other, is_good=False)]
    found = _Collator(rows)([{"row": 0}, {"row": 1}])
    assert found["label"].tolist() == [True, False]
    assert found["KL_input_ids"].tolist() == [[1, 2, 3, 13, 14], [11, 12, 4, 5, 6]]
    assert found["KL_completion_mask"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 0, 1]]


def test_without_trl_the_extra_is_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rows = arm_rows([example(1), example(2, is_good=False)], "kto")
    with pytest.raises(BadInput, match=r"flywheel-loop\[preferences\]"):
        fit_causal(rows, examples(1), str(base), SETTINGS, tmp_path / "out", tmp_path)


# Files of examples, and the command line


def line(**fields: object) -> str:
    talk = [{"role": "user", "content": "red?"}, {"role": "assistant", "content": "red"}]
    return json.dumps({"messages": talk, **fields})


def test_a_file_of_examples_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    longer = [*json.loads(line())["messages"]] * 2
    lines = [
        line(split="train", grade=0.2, pair_id="p"),
        line(split="validation", source="correction"),
        json.dumps({"messages": longer, "split": "train", "n_context": 1}),
        line(split="holdout"),
        line(grade=3),
        '{"messages": [{"role": "user", "content": "?"}, {"role": "user", "content": "?"}]}',
        "no JSON",
    ]
    path.write_text("\n".join(lines))
    found = read_examples(path)
    assert [(e.grade, e.n_context, e.is_good) for e in found.train] == [
        (0.2, 1, False),
        (None, 1, True),
    ]
    assert [e.source for e in found.validation] == ["correction"]
    assert [fault.split(": ", 1)[1][:20] for fault in found.rejected] == [
        "it is of the split h",
        "grade: Input should ",
        "the context must end",
        "the line: Invalid JS",
    ]


def test_lines_without_a_split_are_split_by_their_session(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(line(session_id=f"s{i % 40}") for i in range(80)))
    found = read_examples(path)
    assert len(found.train) + len(found.validation) == 80
    assert not {e.group for e in found.train} & {e.group for e in found.validation}
    assert 2 <= len(found.validation) <= 30


def test_an_adapter_is_fitted_from_the_command_line(base: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "examples.jsonl", tmp_path / "adapter"
    split = {0: "validation"}
    path.write_text(
        "\n".join(line(split=split.get(i % 8, "train"), grade=i % 2) for i in range(1, 41))
        + "\n"
        + line(split="validation")
    )
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "flywheel.toml").write_text(
        "[training]\nepochs = 1\nrank = 4\nlearning_rates = [0.01]\n"
    )
    command = ["--project", str(tmp_path / "project"), "training", "fit", "--target", "app"]
    given = ["--examples", str(path), "--out", str(out), "--json"]
    runner = CliRunner()
    done = runner.invoke(cli, [*command, *given, "--arm", "nat-k", "--base", str(base)])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["arm"] == "nat-k"
    assert report["n_examples"] == 35
    assert "MB of memory" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("adapter", "examples.jsonl", "project")
    ]
    new = ["--out", str(tmp_path / "new"), "--examples", str(path)]
    for wrong in (new, [*new, "--base", str(base), "--labels", str(path)]):
        refused = runner.invoke(cli, [*command, *wrong])
        assert refused.exit_code == 2
        assert "--examples FILE and --base NAME" in refused.stderr
