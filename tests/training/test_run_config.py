# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The configuration of a run, from YAML and command line."""

import dataclasses
import inspect
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from transformers.integrations import integration_utils
from transformers.trainer_utils import SchedulerType

from locant import LocantForConditionalGeneration
from locant.configuration import PRESETS, LocantConfig
from locant.training.errors import InputError
from locant.training.options import options, run_config
from locant.training.options.arguments import DataArguments, ModelArguments, TrainingArguments, option
from locant.training.options.options import decided_elsewhere, known_options
from locant.training.options.run_config import parse_run_config, read_run_data, run_config_from_python
from locant.training.tasks.registry import TASKS, Task
from locant.training.tasks.translation_arguments import TranslationTraining

DATA = "data:\n  train_file: [a.en, a.fr]\n"


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Parse a file of the given text, written where the message can name it, and a command line."""
    monkeypatch.chdir(tmp_path)

    def parse(text: str, *arguments: str):
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        return parse_run_config(["run.yaml", *arguments])

    return parse


def test_defaults_then_file_then_command_line(parse):
    config = parse(DATA + "training: {learning_rate: 0.01, seed: 1}", "--seed", "2")
    assert (config.training.learning_rate, config.training.seed) == (0.01, 2)
    assert config.training.metric_for_best_model == "bleu"
    assert config.given == {"train_file": ["a.en", "a.fr"], "learning_rate": 0.01, "seed": 2}


def test_the_file_is_optional():
    config = parse_run_config(["--train_file", "a.en", "a.fr", "--d_model=64", "--encoder_attention_heads", "4"])
    assert config.data.train_file == ["a.en", "a.fr"]
    assert config.model.overrides == {"d_model": 64, "encoder_attention_heads": 4}


def test_only_given_model_fields_are_handed_on_so_that_the_preset_stands(parse):
    model = parse(DATA + "model: {preset: iwslt, dropout: 0.2}").model
    assert (model.preset, model.overrides) == ("iwslt", {"dropout": 0.2})
    config = model.make_config(vocab_size=100)
    assert (config.dropout, config.encoder_ffn_dim, config.vocab_size) == (0.2, 1024, 100)


def test_null_takes_back_what_the_file_gave(parse):
    text = DATA + "model: {preset: tiny}\ntraining: {max_steps: 5, max_tokens_per_batch: 100}"
    config = parse(text, "--max_steps", "null", "--max_tokens_per_batch", "null", "--preset", "null")
    assert config.training.max_steps == -1
    assert config.training.max_tokens_per_batch is None
    assert config.model.preset is None


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", "1", 1.0),
        ("max_steps", "-1", -1),
        ("num_beams", "8", 8),
        ("predict_with_generate", "false", False),
        ("eval_strategy", "no", "no"),
        ("output_dir", "007", "007"),
        ("lr_scheduler_type", "cosine", "cosine"),
        ("lr_scheduler_kwargs", '{"timescale": 1e4}', {"timescale": 1e4}),
        ("report_to", "none", "none"),
    ],
)
def test_a_value_is_the_same_in_the_file_and_on_the_command_line(parse, name, written, value):
    extra = ["--no_load_best_model_at_end"]
    for config in (parse(DATA + f"training:\n  {name}: {written}", *extra), parse(DATA, f"--{name}={written}", *extra)):
        assert config.given[name] == value
        assert type(config.given[name]) is type(value)


@pytest.mark.parametrize("code", ["no", "on", "yes", "fr"])
def test_a_language_is_text_though_other_yaml_readers_take_norwegian_for_false(parse, code):
    assert parse(f"data:\n  train_file: [a, b]\n  source_lang: {code}\n").data.source_lang == code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--bf16_full_eval"], True), (["--bf16_full_eval", "false"], False), (["--no_bf16_full_eval"], False)],
)
def test_switches(parse, arguments, expected):
    config = parse(DATA + "training: {bf16_full_eval: true}", *arguments)
    assert config.training.bf16_full_eval is expected


@pytest.mark.parametrize(
    ("written", "files"), [("a.tsv", "a.tsv"), ("[a.tsv]", "a.tsv"), ("[a.en, a.fr]", ["a.en", "a.fr"])]
)
def test_a_split_is_one_file_or_two(parse, written, files):
    assert parse(f"data: {{train_file: {written}}}").data.train_file == files


def test_mappings_are_given_as_json_and_stay_as_given(parse):
    config = parse(DATA, "--position_encoding", "rotary", "--rope_parameters", '{"rope_theta": 500.0}')
    assert config.model.overrides["rope_parameters"] == {"rope_theta": 500.0}


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_names_are_unique_across_sections(task):
    fields = [field.name for cls in (ModelArguments, task.data, task.training) for field in dataclasses.fields(cls)]
    own = set(inspect.get_annotations(LocantConfig))
    assert len(fields) == len(set(fields))
    assert own & set(fields) <= {"use_cache", "source_lang", "target_lang"}
    assert set(decided_elsewhere(task)) <= own | set(fields)
    assert "task" not in own | set(fields)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_field_of_the_trainer_and_of_the_config_is_an_option_or_decided(task):
    known, decided = known_options(task), set(decided_elsewhere(task))
    trainer = {field.name for field in dataclasses.fields(transformers.TrainingArguments) if field.init}
    # an object has no text form
    assert trainer - known.keys() - decided == {"parallelism_config"}
    assert set(inspect.get_annotations(LocantConfig)) - known.keys() <= decided


def test_a_translator_has_both_stacks_and_generates():
    known = known_options(TASKS["translation"])
    assert {"encoder_layers", "decoder_layers", "cross_position_encoding", "generation_max_length"} <= known.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training:\n  learning_rat: 1", r"^learning_rat is not an option \(run.yaml, line 2\): .*learning_rate"),
        ("model:\n  hidden_size: 1", "hidden_size is not an option .*did you mean d_model"),
        ("model:\n  num_hidden_layers: 1", "num_hidden_layers is not an option .*did you mean encoder_layers"),
        (
            "task: language_modeling\nmodel:\n  num_hidden_layers: 1",
            "num_hidden_layers is not an option .*did you mean decoder_layers",
        ),
        ("model:\n  vocab_size: 1", "vocab_size is not an option .*set tokenizer_vocab_size"),
        ("training:\n  epochs: 1", "did you mean num_train_epochs"),
        ("model:\n\n  seed: 1", r"seed stands under model: \(run.yaml, line 3\), but belongs under training:"),
        ("seed: 1", "seed stands under no section .*belongs under training:"),
        ("modle: {}", "modle is not a section .*: the sections are model, data, training"),
        ("training: 3", "training is a section .*line 1"),
        ("training: 0", "training is a section .*line 1"),
        ("task: false", "task is False .*line 1.*must be one of"),
        ("- a", "run.yaml must have sections .* data is given with --train_file"),
        ("data:\n  license: a\n  license: b", r"license is given twice \(run.yaml, lines 2 and 3\)"),
        ("model: {rope_parameters: {\n a: 1,\n a: 2}}", "a is given twice .*lines 2 and 3"),
        ("data: [1, 2", "run.yaml, line 1, is not YAML"),
        ("data:\n\t- x", "run.yaml, line 2, is not YAML"),
        ("model: &a {b: *a}", "run.yaml has a YAML alias inside of its own anchor"),
        ("training:\n  learning_rate: fast", r"learning_rate is 'fast' \(run.yaml, line 2\), but must be a number"),
        ("training: {learning_rate: .nan}", "must be a number"),
        ("training: {max_steps: 1.5}", "max_steps is 1.5 .*must be a whole number"),
        ("training: {bf16: 1}", "must be true or false"),
        ("training: {run_name: 7}", "must be text"),
        ("training: {lr_scheduler_type: inverse}", "must be one of .*did you mean inverse_sqrt"),
        ("model: {rope_parameters: 3}", "must be a mapping"),
        ("model: {preset: tinny}", "must be one of tiny, iwslt, base, big: did you mean tiny"),
    ],
)  # fmt: skip
def test_the_file_is_checked(parse, text, message):
    with pytest.raises(InputError, match=message) as error:
        parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--learning_rat 1", "^--learning_rat is not an option: did you mean --learning_rate"),
        ("--learning-rate=1", "^--learning-rate is not an option: did you mean --learning_rate"),
        ("--lr 1", "--lr is not an option: did you mean --learning_rate"),
        ("--device cuda", "--device is not an option: training uses the accelerator if there is one, unless use_cpu"),
        ("--batch_size 8", "--batch_size is not an option: did you mean --per_device_train_batch_size"),
        ("--epochs 3", "--epochs is not an option: did you mean --num_train_epochs"),
        ("--xyzzy 3", "--xyzzy is not an option: see locant train --help"),
        ("other.yaml", "'other.yaml' belongs to no option: give one CONFIG.yaml"),
        ("--d_model", "--d_model: expected one argument"),
        ("--d_model wide", r"d_model is 'wide' \(command line\), but must be a whole number"),
        ("--rope_parameters {x", "must be a mapping"),
        ("--d_model 100 --encoder_attention_heads 7", "encoder_attention_heads=7 does not divide d_model=100"),
        ("--dropout 2", "dropout: must be at least 0 and below 1, got 2"),
        ("--position_encoding rope", 'the name of .rope. in Locant is "rotary"'),
        ("--learning_rate -1", "learning_rate is -1.0, but must be above 0"),
        ("--max_steps 0", "max_steps is 0, but must be above 0, or -1"),
        ("--seed -1", "seed is -1, but must be from 0 to 2"),
        ("--data_seed 4294967296", "data_seed is 4294967296, but must be from 0 to 2"),
        ("--adam_beta2 1", "adam_beta2 is 1.0, but must be at least 0 and below 1"),
        ("--adam_epsilon -1", "adam_epsilon is -1.0, but must be 0 or more"),
        ("--dataloader_num_workers -1", "dataloader_num_workers is -1, but must be 0 or more"),
        ("--dataloader_persistent_workers true", "no worker processes: set dataloader_num_workers"),
        ("--coupled_weight_decay true --optim sgd", "coupled_weight_decay is for Adam, but optim is sgd"),
        ("--enable_jit_checkpoint true", "SIGTERM always saves a checkpoint"),
        ("--generation_config x", "num_beams, length_penalty and max_new_tokens decide the search"),
        ("--average_checkpoints -1", "average_checkpoints is -1"),
        ("--bpe_dropout 1", "bpe_dropout is 1.0"),
        ("--label_smoothing_factor 0.1", "use the model's label_smoothing"),
        ("--save_strategy steps", "requires the save and eval strategy to match, except when .* strategy: .*STEPS"),
        ("--eval_strategy no", "requires the save and eval strategy to match, except when .* strategy: .*NO"),
        ("--dataset_name x", "dataset_name and train_file are both given"),
        ("--dataset_config_name x", "without dataset_name"),
        ("--train_file null", "No training data are given"),
        ("--train_file a b c", "train_file has 3 paths"),
        ("--preset tiny --model_name_or_path x", "preset and model_name_or_path are both given"),
        ("--tokenizer_name x --tokenizer_kind word", "tokenizer_kind is given, but tokenizer_name"),
        ("--model_name_or_path x --tokenizer_name y", "tokenizer_name is given, but model_name_or_path"),
    ],
)  # fmt: skip
def test_the_command_line_is_checked(parse, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        parse(DATA, *arguments.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("schedule", ["reduce_lr_on_plateau", "greedy"])
@pytest.mark.parametrize(("metric", "mode"), [("bleu", "max"), ("loss", None)])
def test_a_schedule_that_follows_a_metric_knows_whether_higher_is_better(parse, schedule, metric, mode):
    options = ["--lr_scheduler_type", schedule, "--metric_for_best_model", metric]
    found = parse(DATA, *options, "--lr_scheduler_kwargs", '{"patience": 2}').training.lr_scheduler_kwargs
    assert found == {"patience": 2, **({"mode": mode} if mode else {})}


SIMILAR_NAMES = {
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "steps": "max_steps",
    "train_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "warmup": "warmup_steps",
    "warmup_ratio": "warmup_steps",
    "warmup_updates": "warmup_steps",
    "scheduler": "lr_scheduler_type",
    "lr_scheduler": "lr_scheduler_type",
    "patience": "early_stopping_patience",
    "cpu": "use_cpu",
    "beam": "num_beams",
    "beams": "num_beams",
    "output": "output_dir",
    "tokenizer": "tokenizer_name",
    "src_lang": "source_lang",
    "tgt_lang": "target_lang",
}
"""Options of other programs that are found by their spelling, with the option of Locant that has the same effect."""


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_names_of_other_programs_lead_to_options(task):
    known = known_options(task)
    everywhere = {name for other in TASKS.values() for name in known_options(other)}
    for name, meant in (options._OTHER_NAMES | SIMILAR_NAMES).items():
        assert name not in everywhere
        assert meant in everywhere
        assert meant not in known or options.nearest_option(name, known) == meant


def test_the_sizes_of_the_presets_are_those_in_the_help():
    def parameters(**fields):
        with torch.device("meta"):
            return LocantForConditionalGeneration(LocantConfig(vocab_size=8000, **fields)).num_parameters()

    text = known_options(TASKS["translation"])["preset"].help
    sizes = {name: parameters(**fields) for name, fields in PRESETS.items()}
    for name, size in sizes.items():
        assert re.search(rf"\b{size / 1e6:.0f} million\b( parameters)? (as|with) {name} ", text)
    assert parameters() == sizes["base"]  # "also the default shape"


class TestFineTuningFromAFile:
    text = (
        f"{DATA}  tokenizer_kind: word\n"
        "model:\n  preset: tiny\n  d_model: 64\n  dropout: 0.3\n  attn_implementation: eager\n"
    )

    def test_the_trained_model_of_the_command_line_brings_what_the_file_says_of_a_new_one(self, parse, capsys):
        config = parse(self.text, "--model_name_or_path", "runs/x")
        assert (config.model.preset, config.model.overrides) == (None, {"dropout": 0.3})
        assert config.model.attn_implementation == "eager"
        assert capsys.readouterr().out == (
            "runs/x already has a shape, and a tokenizer or image processor, so these options of run.yaml are "
            "ignored: tokenizer_kind, preset, d_model.\n"
        )

    def test_but_not_what_stands_beside_it(self, parse):
        with pytest.raises(InputError, match="preset and model_name_or_path are both given"):
            parse(self.text, "--model_name_or_path", "runs/x", "--preset", "base")
        with pytest.raises(InputError, match="preset and model_name_or_path are both given"):
            parse(DATA + "model: {preset: tiny, model_name_or_path: runs/x}")

    def test_a_file_without_them_says_nothing(self, parse, capsys):
        parse(DATA, "--model_name_or_path", "runs/x")
        assert capsys.readouterr().out == ""


class TestPython:
    def test_options_go_before_the_file_and_have_their_types(self, parse, tmp_path):
        parse(DATA + "training: {learning_rate: 0.01, seed: 1}\n")
        given = {"seed": 2, "output_dir": tmp_path / "x", "lr_scheduler_type": SchedulerType.COSINE}
        config = run_config_from_python(tmp_path / "run.yaml", given)
        assert yaml.safe_load(config.to_yaml())["training"]["lr_scheduler_type"] == "cosine"
        assert (config.training.seed, config.training.learning_rate) == (2, 0.01)
        assert config.given["output_dir"] == str(tmp_path / "x")

    def test_a_dictionary_is_a_file(self):
        sections = {"task": "language_modeling", "data": {"train_file": [Path("a.txt"), "b.txt"]}, "training": None}
        config = run_config_from_python(sections, {"block_size": 64})
        assert (config.task, config.data.train_file, config.data.block_size) == (
            "language_modeling",
            ["a.txt", "b.txt"],
            64,
        )

    def test_a_trained_model_leaves_out_the_shape_of_a_dictionary(self, capsys):
        sections = {"model": {"preset": "tiny"}, "data": {"train_file": "a.tsv"}}
        config = run_config_from_python(sections, {"model_name_or_path": "runs/x"})
        assert (config.model.preset, config.model.model_name_or_path) == (None, "runs/x")
        assert "so these options of the dictionary are ignored: preset." in capsys.readouterr().out

    def test_options_alone(self):
        assert run_config_from_python(None, {"train_file": ("a.en", "a.fr")}).data.train_file == ["a.en", "a.fr"]

    @pytest.mark.parametrize(
        ("config", "options", "message"),
        [
            (
                {"modle": {}},
                {},
                "'modle' is not a section with a dictionary of options: give a dictionary with some of mo",
            ),
            (None, {"train_file": "a.tsv", "epochs": 3}, "epochs is not an option: did you mean num_train_epochs?"),
            (None, {"train_file": "a.tsv", "seed": "x"}, r"seed is 'x' \(locant.train\), but must be a whole number"),
            (None, {"task": "translating"}, r"task is 'translating' \(locant.train\), but must be one of translation"),
            ("nowhere.yaml", {}, "nowhere.yaml cannot be read"),
        ],
    )
    def test_mistakes_are_one_sentence(self, config, options, message):
        with pytest.raises(InputError, match=message):
            run_config_from_python(config, options)


class TestDataOfAKeptRun:
    text = "data: {train_file: a.tsv, source_prefix: '>> '}\ntraining: {seed: 7}"

    def test_options_replace_them(self, tmp_path):
        (tmp_path / "run_config.yaml").write_text(self.text)
        arguments = ["--test_file", "new.csv", "--target_column", "fr"]
        _, data, seed = read_run_data(tmp_path / "run_config.yaml", arguments)
        assert (data.test_file, data.target_column, data.train_file, seed) == ("new.csv", "fr", "a.tsv", 7)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--seed", "3"],
                "--seed is no option of the section data:, but only options of this section can be given",
            ),
            (["--targt_column", "fr"], "--targt_column is not an option: did you mean --target_column"),
            (["--label_column", "x"], "--label_column is not an option of translation, but of sequence_classification"),
            (["new.csv"], "'new.csv' belongs to no option: put an --option before each value."),
        ],
    )
    def test_other_options_are_refused(self, tmp_path, arguments, message):
        (tmp_path / "run_config.yaml").write_text(self.text)
        with pytest.raises(InputError, match=message):
            read_run_data(tmp_path / "run_config.yaml", arguments)


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.yaml cannot be read: No such file"):
        parse_run_config(["nowhere.yaml"])
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("data: {license: é}".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        parse_run_config([str(latin)])


def test_the_kept_file_asks_for_the_same_run(parse):
    config = parse(
        "model: {preset: tiny, rope_parameters: {rope_theta: 5e3}}\ndata: {train_file: [é.en, é.no], source_lang: no}",
        *("--eval_strategy", "no", "--no_load_best_model_at_end", "--max_source_length", "null"),
        *("--run_name", "1e5"),
    )
    again = parse(config.to_yaml())
    assert again.given == {"task": "translation", **config.given}
    assert (again.model, again.data) == (config.model, config.data)


def test_access_tokens_are_not_kept(parse):
    kept = parse(DATA, "--hub_token", "hf_secret", "--hub_model_id", "me/x").to_yaml()
    assert "hf_secret" not in kept
    assert yaml.safe_load(kept)["training"] == {"hub_model_id": "me/x"}


def test_the_data_of_a_kept_run_are_read_without_setting_up_training(tmp_path):
    kept = tmp_path / "run_config.yaml"
    kept.write_text("data: {train_file: a.tsv, source_prefix: '>> '}\ntraining: {seed: 7, tf32: true}")
    task, data, seed = read_run_data(kept)
    assert (task.name, data.train_file, data.source_prefix, seed) == ("translation", "a.tsv", ">> ", 7)


@pytest.mark.parametrize(("average", "limit", "kept"), [(0, 3, 3), (5, 3, 6), (2, 8, 8), (5, None, None)])
def test_as_many_checkpoints_are_kept_as_are_averaged(tmp_path, average, limit, kept):
    arguments = TranslationTraining(str(tmp_path), average_checkpoints=average, save_total_limit=limit)
    assert arguments.save_total_limit == kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("csv", r"^report_to is csv, but must be none, all, or some of .*tensorboard.*wandb.*\.$"),
        (
            "wandb",
            r"^report_to is wandb, but this reporter cannot be used \(.*\): pip install 'locant\[wandb\]', or leave re",
        ),
    ],
)
def test_a_reporter_that_is_not_there_is_found_before_training(parse, monkeypatch, given, message):
    def missing():
        raise RuntimeError("It needs a package.\nInstall it.")

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", missing)
    with pytest.raises(InputError, match=message) as error:
        parse(DATA, "--report_to", given, "--dry_run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("logs_model", "is_refused"), [("end", True), ("false", False)])
def test_a_reporter_that_would_push_private_files_is_refused(parse, monkeypatch, logs_model, is_refused):
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", object)
    monkeypatch.setenv("WANDB_LOG_MODEL", logs_model)
    options = (DATA, "--report_to", "wandb")
    parse(*options)
    expected = pytest.raises(InputError, match="WANDB_LOG_MODEL is set, with which wandb uploads the whole folder")
    with expected if is_refused else nullcontext():
        parse(*options, "--push_to_hub", "true")


@pytest.mark.parametrize(("metric", "greater_is_better"), [(None, True), ("bleu", True), ("loss", False)])
def test_whether_more_is_better_follows_from_the_measure(tmp_path, metric, greater_is_better):
    arguments = TranslationTraining(str(tmp_path), metric_for_best_model=metric)
    assert arguments.greater_is_better is greater_is_better


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_help_is_grouped_by_section_with_each_option_once(capsys, task):
    with pytest.raises(SystemExit) as exit:
        parse_run_config(["--task", task.name, "--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    headings = re.findall(r"^(\w.*):$", text, re.MULTILINE)[-5:]
    assert headings == ["task", "model", "data", "training", "training, other options of the Hugging Face Trainer"]
    assert re.findall(r"^  --(\w+)", text, re.MULTILINE) == list(known_options(task))
    assert re.search(r"--learning_rate X\s.*\[0.0005\]", text, re.DOTALL)
    assert "--no_" not in re.sub(r"--no_option", "", text)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_option_of_our_own_is_explained(task):
    unexplained = [entry.name for entry in known_options(task).values() if entry.often_used and not entry.help]
    assert unexplained in ([], ["initializer_range"])


class TestTask:
    """A stand-in for a second task, so that what is said here depends on no recipe."""

    @pytest.fixture(autouse=True)
    def labelling(self, monkeypatch):
        @dataclasses.dataclass
        class Data(DataArguments):
            text_column: str | None = option(None, "Column of the text.")
            columns = ("text", "label")

        @dataclasses.dataclass
        class Training(TrainingArguments):
            num_train_epochs: float = option(3.0, "Passes.")

            def find_measures(self, data):
                return {"accuracy" if data.text_column is None else "f1": True, "loss": False}

        task = Task("labelling", "a text's label", Data, Training, "none:None", {"is_encoder_decoder": False})
        monkeypatch.setitem(TASKS, "labelling", task)
        choices = dataclasses.replace(options.TASK_OPTION, choices=(*TASKS,))
        monkeypatch.setattr(options, "TASK_OPTION", choices)
        monkeypatch.setattr(run_config, "TASK_OPTION", choices)

    table = "data: {train_file: a.tsv}\n"

    def test_stands_in_the_file_or_on_the_command_line_which_wins(self, parse):
        assert parse(DATA).task == "translation"
        assert parse("task: labelling\n" + self.table).task == "labelling"
        assert parse(self.table, "--task", "labelling", "--text_column", "x").data.text_column == "x"
        assert parse("task: labelling\n" + self.table, "--task", "translation").task == "translation"

    def test_stands_anywhere_among_the_options(self, tmp_path):
        file = tmp_path / "a.yaml"
        file.write_text("task: labelling\n" + self.table)
        for arguments in (["--text_column", "x", "{}"], ["{}", "--text_column", "x"]):
            config = parse_run_config([argument.format(file) for argument in arguments])
            assert (config.task, config.data.text_column, config.training.num_train_epochs) == ("labelling", "x", 3.0)

    def test_chooses_defaults_and_what_is_measured(self, parse):
        config = parse("task: labelling\n" + self.table)
        assert (config.training.num_train_epochs, config.training.metric_for_best_model) == (3.0, "accuracy")
        assert parse("task: labelling\n" + self.table, "--text_column", "x").training.metric_for_best_model == "f1"
        assert config.training.greater_is_better is True

    def test_is_kept(self, parse):
        config = parse("task: labelling\n" + self.table)
        assert yaml.safe_load(config.to_yaml())["task"] == "labelling"
        assert parse(config.to_yaml()).task == "labelling"

    def test_help_is_of_the_task_that_the_file_names(self, parse, capsys):
        with pytest.raises(SystemExit):
            parse("task: labelling\n" + self.table, "--help")
        text = capsys.readouterr().out
        assert "--text_column" in text
        assert "--source_column" not in text
        assert all(f"\n  {name} " in text for name in TASKS)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--task labeling", r"task is 'labeling' \(command line\), but must be one of .*did you mean labelling"),
            ("--num_beams 4", "^--num_beams is not an option of labelling, but of translation"),
            ("--decoder_layers 4", "^--decoder_layers is not an option: the model of this task has no decoder"),
            ("--cross_position_encoding none", "has no decoder"),
            ("--is_encoder_decoder false", "the task decides it"),
            ("--train_file a b c", r"takes one file with columns, or parallel text files \(text, label\)"),
            ("--metric_for_best_model bleu", "bleu, but the metrics of this run are accuracy, loss: choose one"),
        ],
    )
    def test_mistakes_are_one_sentence(self, parse, arguments, message):
        with pytest.raises(InputError, match=message):
            parse("task: labelling\n" + self.table, *arguments.split())

    def test_mistakes_in_the_file_are_one_sentence(self, parse):
        for text, message in (
            ("task: labeling", r"task is 'labeling' \(run.yaml, line 1\), .*did you mean labelling"),
            (
                "task: labelling\ntraining: {num_beams: 4}",
                r"num_beams is not an option of labelling \(run.yaml, line 2\)",
            ),
        ):
            with pytest.raises(InputError, match=message):
                parse(text)
