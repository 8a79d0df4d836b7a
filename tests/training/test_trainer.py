# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What the Trainer computes, against the same by hand."""

import numpy as np
import pytest
import sacrebleu
import torch
from datasets import Dataset
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, EvalPrediction, MarianConfig, MarianMTModel

from locant import LocantForConditionalGeneration
from locant.training.data.batching import TrainingRows
from locant.training.data.preprocessing import pair_lengths, tokenize_pairs
from locant.training.run.trainer import GenerationTrainer, by_length
from locant.training.tasks.generation import GenerationMetrics
from locant.training.tasks.translation_arguments import TranslationTraining

IDS = ["input_ids", "labels"]
LEARNING_RATE = 0.01
DECAY = 0.1


def longest_first(pairs):
    return by_length(pairs.select_columns(IDS), pair_lengths(pairs))


@pytest.fixture(scope="module")
def tokenizer(trained_run):
    return AutoTokenizer.from_pretrained(trained_run)


@pytest.fixture(scope="module")
def tokens(toy, tokenizer):
    def tokenize(pairs):
        sources, targets = zip(*pairs, strict=True)
        return tokenize_pairs(Dataset.from_dict({"source": sources, "target": targets}), tokenizer)

    return {split: tokenize(pairs) for split, pairs in toy.pairs.items()}


@pytest.fixture
def make_trainer(toy, trained_run, tokenizer, tokens, tmp_path):
    def make(**arguments):
        config = {key: arguments.pop(key) for key in ("dropout", "label_smoothing") if key in arguments}
        defaults = {"disable_tqdm": True, "learning_rate": LEARNING_RATE, "warmup_steps": 0, "save_strategy": "no"}
        defaults |= {"load_best_model_at_end": False, "output_dir": str(tmp_path)}
        model = arguments.pop("model", None) or LocantForConditionalGeneration.from_pretrained(trained_run, **config)
        return GenerationTrainer(
            args=TranslationTraining(**{**defaults, **arguments}),
            model=model,
            processing_class=tokenizer,
            data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
            train_dataset=TrainingRows(tokens["train"].select_columns(IDS)),
            train_lengths=pair_lengths(tokens["train"]),
            eval_dataset=longest_first(tokens["validation"]),
            compute_metrics=GenerationMetrics(tokenizer, [target for _, target in toy.pairs["validation"]]),
        )

    return make


def log_probabilities(model, row):
    """Of all the vocabulary at each label of one pair, `(labels, vocabulary)`, without any padding."""
    labels = torch.tensor([row["labels"]])
    decoder_input_ids = torch.cat([torch.tensor([[1]]), labels[:, :-1]], dim=1)
    return (
        model(input_ids=torch.tensor([row["input_ids"]]), decoder_input_ids=decoder_input_ids).logits[0].log_softmax(1)
    )


def summed_loss(model, row, smoothing=0.0):
    """The loss of one pair, summed over its tokens."""
    found = log_probabilities(model, row)
    plain = -found[range(len(row["labels"])), row["labels"]].sum()
    return (1 - smoothing) * plain - smoothing * found.mean(dim=1).sum()


class TestEvaluation:
    def test_by_length_has_every_pair_once_longest_first(self, tokens):
        ordered = longest_first(tokens["validation"])
        lengths = pair_lengths(ordered).sum(axis=1)
        assert (np.diff(lengths) <= 0).all()
        assert sorted(ordered["row"]) == list(range(40))
        for row in ordered:
            assert tokens["validation"][row["row"]]["labels"] == row["labels"]

    def test_loss_is_the_mean_over_all_tokens_without_smoothing(self, make_trainer, tokens):
        trainer = make_trainer(per_device_eval_batch_size=13, predict_with_generate=False)  # and one alone
        metrics = trainer.evaluate()
        model = trainer.model.eval()
        assert model.config.label_smoothing == 0.1
        rows = list(longest_first(tokens["validation"]))
        with torch.no_grad():
            losses = [summed_loss(model, row).item() for row in rows]
        counts = [len(row["labels"]) for row in rows]
        assert metrics["eval_loss"] == pytest.approx(sum(losses) / sum(counts), rel=1e-5)
        assert metrics["eval_perplexity"] == pytest.approx(np.exp(sum(losses) / sum(counts)), rel=1e-5)
        assert "eval_bleu" not in metrics
        batches = [slice(start, start + 13) for start in range(0, 40, 13)]
        mean_of_means = np.mean([sum(losses[batch]) / sum(counts[batch]) for batch in batches])
        assert metrics["eval_loss"] != pytest.approx(mean_of_means, rel=1e-3)

    def test_bleu_is_of_greedy_translations_of_all_pairs(self, make_trainer, toy, tokenizer):
        trainer = make_trainer(per_device_eval_batch_size=7)
        translations = []
        for source, _ in toy.pairs["validation"]:
            ids = trainer.model.generate(**tokenizer(source, return_tensors="pt"), num_beams=1, max_new_tokens=64)
            translations.append(tokenizer.decode(ids[0], skip_special_tokens=True))
        expected = sacrebleu.corpus_bleu(translations, [[target for _, target in toy.pairs["validation"]]]).score
        assert trainer.evaluate()["eval_bleu"] == pytest.approx(expected)
        assert expected > 0

    def test_searches_with_the_beams_for_evaluation_and_stops_what_does_not_end(self, make_trainer, monkeypatch):
        trainer = make_trainer(generation_num_beams=3, max_new_tokens=25, per_device_eval_batch_size=8)
        calls, original = [], trainer.model.generate

        def generate(input_ids, **options):
            calls.append((options["num_beams"], options["max_new_tokens"], 2 * input_ids.shape[1] + 10))
            return original(input_ids=input_ids, **options)

        monkeypatch.setattr(trainer.model, "generate", generate)
        trainer.evaluate()
        assert len(calls) == 5
        assert [(beams, limit) for beams, limit, _ in calls] == [(3, min(25, longest)) for *_, longest in calls]
        assert {longest < 25 for *_, longest in calls} == {True, False}

    def test_metrics_match_translations_to_references_by_row(self, tokenizer):
        references = ["le chat voit le roi", "le roi voit le chat"]
        ids = [tokenizer(references[row]).input_ids for row in (1, 0)]
        assert len(ids[0]) == len(ids[1])
        tokens = np.pad(np.array(ids), ((0, 0), (1, 2)), constant_values=((1, -100),))
        outputs = (np.array([3.0, 1.0]), np.array([5, 3]), tokens)
        compute = GenerationMetrics(tokenizer, references)
        found = compute(EvalPrediction(predictions=outputs, label_ids=np.array([1, 0])))
        assert found == {"loss": 0.5, "perplexity": pytest.approx(np.exp(0.5)), "bleu": pytest.approx(100)}
        assert compute(EvalPrediction(predictions=outputs, label_ids=np.array([0, 1])))["bleu"] < 100


class TestTraining:
    def test_loss_is_smoothed_and_a_mean_over_the_tokens_of_the_step(self, make_trainer, tokens):
        """Two batches accumulated: the step is the gradient of the mean over the tokens of both."""
        trainer = make_trainer(
            dropout=0.0,
            label_smoothing=0.2,
            optim="sgd",
            max_grad_norm=0,
            learning_rate=1.0,
            lr_scheduler_type="constant",
            per_device_train_batch_size=5,
            gradient_accumulation_steps=2,
            max_steps=1,
            logging_steps=1,
            eval_strategy="no",
        )
        model = LocantForConditionalGeneration(trainer.model.config)
        model.load_state_dict(trainer.model.state_dict())
        sampler = trainer.get_train_dataloader().batch_sampler
        batches = [[tokens["train"][row] for _, row in batch] for batch, _ in zip(sampler, range(2), strict=False)]
        rows = [row for batch in batches for row in batch]
        assert len(rows) == 10
        count = sum(len(row["labels"]) for row in rows)
        loss = sum(summed_loss(model.train(), row, smoothing=0.2) for row in rows) / count
        loss.backward()

        trainer.train()
        logged = trainer.state.log_history[0]
        assert logged["loss"] == pytest.approx(loss.item(), rel=1e-4)
        sides = ("input_ids", "labels")
        slots = sum(len(batch) * max(len(row[side]) for row in batch) for batch in batches for side in sides)
        assert logged["padding"] == pytest.approx(1 - sum(len(row[side]) for row in rows for side in sides) / slots)
        assert logged["padding"] > 0
        trained = dict(trainer.model.named_parameters())
        for name, weight in model.named_parameters():
            torch.testing.assert_close(trained[name].data, weight.data - weight.grad, rtol=1e-4, atol=1e-5, msg=name)

    def test_makes_no_logits_and_evaluation_does(self, make_trainer):
        trainer = make_trainer(max_steps=2, eval_strategy="steps", eval_steps=2, predict_with_generate=False)
        skipped = []

        def record(model, inputs, keywords, outputs):
            skipped.append((model.training, outputs.logits is None))

        trainer.model.register_forward_hook(record, with_kwargs=True)
        trainer.train()
        assert skipped[:2] == [(True, True)] * 2
        assert set(skipped[2:]) == {(False, False)}

    @pytest.mark.slow
    def test_a_model_that_cannot_leave_out_logits_is_not_asked_to(self, make_trainer):
        marian = MarianMTModel(MarianConfig(vocab_size=2000, d_model=16, pad_token_id=0, decoder_start_token_id=0))
        trainer = make_trainer(max_steps=1, eval_strategy="no", model=marian)
        assert trainer.train().global_step == 1

    @pytest.mark.parametrize("coupled", [True, False])
    def test_weight_decay_is_coupled_or_not(self, make_trainer, coupled):
        """The first step of Adam moves each weight by the learning rate, in the direction of its gradient's sign."""
        trainer = make_trainer(coupled_weight_decay=coupled, weight_decay=DECAY, adam_epsilon=1e-12)
        optimizer = trainer.create_optimizer()
        assert isinstance(optimizer, torch.optim.Adam)
        assert isinstance(optimizer, torch.optim.AdamW) is not coupled
        decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
        torch.manual_seed(0)
        expected, kinds = {}, set()
        for name, weight in trainer.model.named_parameters():
            weight.grad = 0.05 * torch.randn_like(weight)
            decay = DECAY if id(weight) in decayed else 0.0
            kinds.add((decay > 0, weight.dim() > 1))
            gradient = weight.grad + decay * weight.data if coupled else weight.grad
            shrunk = weight.data if coupled else (1 - LEARNING_RATE * decay) * weight.data
            expected[name] = shrunk - LEARNING_RATE * gradient.sign()
        assert kinds == {(True, True), (False, False)}  # matrices decay; biases and norms do not
        optimizer.step()
        for name, weight in trainer.model.named_parameters():
            torch.testing.assert_close(weight.data, expected[name], rtol=1e-5, atol=1e-6, msg=name)

    def test_coupled_decay_goes_through_the_moments(self, make_trainer):
        """Three steps with the same gradient, as `torch.optim.Adam` with L2 takes them, and AdamW does not."""
        weights = {}
        for coupled in (True, False):
            trainer = make_trainer(coupled_weight_decay=coupled, weight_decay=DECAY, adam_beta1=0.8, adam_beta2=0.9)
            optimizer, weight = (
                trainer.create_optimizer(),
                trainer.model.model.encoder.layers[0].self_attn.q_proj.weight,
            )
            reference = torch.nn.Parameter(weight.detach().clone())
            options = {"lr": LEARNING_RATE, "betas": (0.8, 0.9), "weight_decay": DECAY}
            by_hand = (torch.optim.Adam if coupled else torch.optim.AdamW)([reference], **options)
            for step in range(3):
                weight.grad = torch.linspace(-1, 1, weight.numel()).view_as(weight) * (step + 1)
                reference.grad = weight.grad.clone()
                optimizer.step()
                by_hand.step()
            torch.testing.assert_close(weight.data, reference.data)
            weights[coupled] = weight.data
        assert (weights[True] - weights[False]).abs().max() > 1e-3

    @pytest.mark.parametrize("options", [{"per_device_train_batch_size": 6}, {"max_tokens_per_batch": 120}], ids=str)
    def test_every_epoch_has_each_pair_once_in_new_batches(self, make_trainer, tokens, options):
        loader = make_trainer(**options).get_train_dataloader()
        epochs = []
        for epoch in range(2):
            loader.set_epoch(epoch)
            batches = [[tuple(ids[ids != -100].tolist()) for ids in batch["labels"]] for batch in loader]
            assert len(batches) == len(loader)
            assert sorted(ids for batch in batches for ids in batch) == sorted(map(tuple, tokens["train"]["labels"]))
            epochs.append(batches)
        assert epochs[0] != epochs[1]

    def test_data_seed_decides_the_batches_where_it_is_given(self, make_trainer):
        def first_batches(**options):
            return list(make_trainer(**options).get_train_dataloader().batch_sampler)

        assert first_batches(seed=1, data_seed=5) == first_batches(seed=2, data_seed=5)
        assert first_batches(seed=1) != first_batches(seed=2)
        assert first_batches(seed=5) == first_batches(seed=1, data_seed=5)
