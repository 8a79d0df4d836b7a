# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The text encoder and its heads: BERT's numbers with BERT's weights, pooling by a loop, padding, saving, resizing."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    Trainer,
    TrainingArguments,
)

import locant
from locant import (
    LocantConfig,
    LocantEncoderModel,
    LocantForConditionalGeneration,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
)
from locant.modeling.pooling import first_token, mean_token

SENTENCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
TYPES = [[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1], [1, 0]]
OURS = {"activation_function": "gelu", "norm_eps": 1e-12, "position_encoding": "learned", "embedding_norm": True}
OURS |= {"type_vocab_size": 2, "pooling": "first", "pooler_projection": True, "lm_head_bias": True}

MODELS = {
    BertModel: LocantEncoderModel,
    BertForMaskedLM: LocantForMaskedLM,
    BertForSequenceClassification: LocantForSequenceClassification,
    BertForTokenClassification: LocantForTokenClassification,
    BertForQuestionAnswering: LocantForQuestionAnswering,
}
HEADS = {
    r"pooler\.dense": "pooler.projection.0",
    r"^cls\.predictions\.transform\.dense": "transform.0",
    r"^cls\.predictions\.transform\.LayerNorm": "transform.2",
    r"^cls\.predictions\.decoder": "lm_head",
}


def single_labels():
    return {"labels": torch.tensor([2, 0, 1])}


def several_labels():
    return {"labels": torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 1]])}


def one_number():
    return {"labels": torch.tensor([0.5, -1.0, 2.0])}


def several_numbers():
    return {"labels": torch.linspace(-1, 1, 9).view(3, 3)}


def labels_of_tokens(ids, mask):
    """Labels of some real tokens, and of no padding."""
    return {"labels": torch.where((mask == 1) & (ids % 3 != 0), ids % 5, -100)}


def spans(mask):
    """Places of answers: the second ends with its sentence; the third begins beyond the batch, so it does not count."""
    first = mask.argmax(1)
    return {"start_positions": first + torch.tensor([1, 0, 9]), "end_positions": first + torch.tensor([4, 3, 1])}


# their class, what its config needs besides, labels of a batch
CASES = {
    "masked": (BertForMaskedLM, {}, labels_of_tokens),
    "sequences, one label": (BertForSequenceClassification, {"num_labels": 3}, lambda ids, mask: single_labels()),
    "sequences, labels": (BertForSequenceClassification, {"num_labels": 3}, lambda ids, mask: several_labels()),
    "sequences, number": (BertForSequenceClassification, {"num_labels": 1}, lambda ids, mask: one_number()),
    "sequences, numbers": (
        BertForSequenceClassification,
        {"num_labels": 3, "problem_type": "regression"},
        lambda ids, mask: several_numbers(),
    ),
    "tokens": (BertForTokenClassification, {"num_labels": 5}, labels_of_tokens),
    "questions": (BertForQuestionAnswering, {"num_labels": 2}, lambda ids, mask: spans(mask)),
}


class TestBert:
    @pytest.fixture
    def build(self, spread, other_implementations):
        """A model of transformers, and ours with its weights."""

        def build(cls, **fields):
            theirs = cls(BertConfig(**other_implementations.BERT, **fields)).eval()
            spread(theirs, 1)
            for module in theirs.modules():  # whose names do not all say that they are norms
                if isinstance(module, torch.nn.LayerNorm):
                    torch.nn.init.normal_(module.weight, 1.0, 0.2)
            ours = MODELS[cls](LocantConfig(**{**other_implementations.STACK, **OURS}, **fields)).eval()
            ours.load_state_dict(self.by_our_names(theirs, other_implementations), strict=True)
            return theirs, ours

        return build

    def by_our_names(self, theirs, other_implementations):
        """All weights of a BERT model under our names."""
        body = getattr(theirs, "bert", theirs)
        weights = {} if body is theirs else theirs.state_dict()
        weights = {name: weight for name, weight in weights.items() if not name.startswith("bert.")}
        for name, weight in other_implementations.bert_weights(body).items():
            name = name if name.startswith("pooler") else f"encoder.{name}"
            weights[name if body is theirs else f"model.{name}"] = weight
        weights.pop("cls.predictions.bias", None)  # the decoder's
        return other_implementations.renamed(weights, HEADS)

    @torch.no_grad()
    def alone(self, theirs, **options):
        """The outputs of BERT for each sentence without padding."""
        return [
            theirs(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]), **options)
            for ids, types in zip(SENTENCES, TYPES, strict=True)
        ]

    @pytest.fixture
    def batch(self, make_batch, side):
        ids, mask = make_batch(SENTENCES, side)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": make_batch(TYPES, side)[0]}

    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    def test_encoder_and_pooler(self, build, batch, backend, no_grad, other_implementations):
        theirs, ours = build(BertModel)
        ours.set_attn_implementation(backend)
        outputs = ours(**batch, output_hidden_states=True)
        for row, expected in enumerate(self.alone(theirs, output_hidden_states=True)):
            real = batch["attention_mask"][row].bool()
            other_implementations.assert_same(outputs.last_hidden_state[row, real], expected.last_hidden_state[0])
            other_implementations.assert_same(outputs.pooler_output[row], expected.pooler_output[0])
            assert len(outputs.hidden_states) == len(expected.hidden_states)
            for state, other in zip(outputs.hidden_states, expected.hidden_states, strict=True):
                other_implementations.assert_same(state[row, real], other[0])

    @pytest.mark.pairwise
    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    @pytest.mark.parametrize("case", ["masked", "sequences, one label", "tokens", "questions"])
    def test_logits(self, build, batch, case, backend, no_grad, other_implementations):
        cls, fields, _ = CASES[case]
        theirs, ours = build(cls, **fields)
        ours.set_attn_implementation(backend)
        outputs = ours(**batch)
        names = [name for name in outputs if name.endswith("logits")]
        assert names == (["start_logits", "end_logits"] if case == "questions" else ["logits"])
        for row, expected in enumerate(self.alone(theirs)):
            real = batch["attention_mask"][row].bool()
            for name in names:
                logits = outputs[name][row] if case.startswith("sequences") else outputs[name][row, real]
                other_implementations.assert_same(logits, expected[name][0])

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    @pytest.mark.parametrize("case", CASES)
    def test_loss_and_gradients(self, build, make_batch, batch, side, case, backend, other_implementations):
        cls, fields, labels_of = CASES[case]
        theirs, ours = build(cls, **fields)
        ours.set_attn_implementation(backend)
        # their pooler takes padding for the first token
        ids, mask = make_batch(SENTENCES, "right" if case.startswith("sequences") else side)
        types, positions = make_batch(TYPES, "right" if case.startswith("sequences") else side)[0], mask.cumsum(1) - 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        expected = theirs(**inputs, position_ids=positions.clamp(min=0), **labels_of(ids, mask)).loss
        loss = ours(**batch, **labels_of(batch["input_ids"], batch["attention_mask"])).loss
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
        expected.backward()
        loss.backward()
        for parameter in theirs.parameters():
            parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        gradients = self.by_our_names(theirs, other_implementations)
        own = {name: parameter.grad for name, parameter in ours.named_parameters()}
        if "lm_head.weight" in gradients:  # which is the embeddings'
            gradients.pop("lm_head.weight")
        assert own.keys() == gradients.keys()
        for name, gradient in gradients.items():
            if name.endswith("embed_tokens.weight"):  # their padding is outside of the gradient
                gradient, own[name] = gradient[1:], own[name][1:]
            torch.testing.assert_close(own[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
            if gradient.ndim == 2:
                assert gradient.abs().max() > 1e-4, name

    def test_token_types_are_0_by_default(self, build, make_batch, no_grad, other_implementations):
        theirs, ours = build(BertModel)
        ids, mask = make_batch(SENTENCES)
        states = ours(ids, mask).last_hidden_state
        assert torch.equal(states, ours(ids, mask, token_type_ids=torch.zeros_like(ids)).last_hidden_state)
        assert not torch.allclose(states, ours(ids, mask, token_type_ids=torch.ones_like(ids)).last_hidden_state)
        expected = theirs(ids, mask).last_hidden_state
        other_implementations.assert_same(states[mask.bool()], expected[mask.bool()])

    def test_embeddings_instead_of_ids(self, build, batch, no_grad):
        _, ours = build(BertForSequenceClassification, num_labels=3)
        expected = ours(**batch).logits
        embeddings = ours.get_input_embeddings()(batch.pop("input_ids"))
        assert torch.equal(ours(inputs_embeds=embeddings, **batch).logits, expected)


def loop_mean(states, mask):
    """The mean of the states of the real tokens, in a loop."""
    means = []
    for row, real in zip(states, mask, strict=True):
        total, count = torch.zeros(states.shape[-1]), 0
        for state, is_real in zip(row, real.tolist(), strict=True):
            if is_real:
                total, count = total + state, count + 1
        means.append(total / count)
    return torch.stack(means)


class TestPooling:
    def test_a_long_mean_does_not_overflow_in_float16(self):
        states = torch.full((1, 2048, 4), 100.0, dtype=torch.float16)
        assert torch.equal(mean_token(states, torch.ones(1, 2048)), states[:, 0])

    def test_mean_of_the_real_tokens(self, make_model, make_batch, side, no_grad):
        ids, mask = make_batch(SENTENCES, side)
        outputs = make_model(LocantEncoderModel)(ids, mask)
        torch.testing.assert_close(outputs.pooler_output, loop_mean(outputs.last_hidden_state, mask))

    def test_mean_of_all_tokens_without_a_mask(self, make_model, no_grad):
        ids = torch.randint(3, 24, (2, 7))
        outputs = make_model(LocantEncoderModel)(ids)
        expected = loop_mean(outputs.last_hidden_state, torch.ones_like(ids))
        torch.testing.assert_close(outputs.pooler_output, expected)

    def test_first_of_the_real_tokens(self, make_model, make_batch, side, no_grad):
        ids, mask = make_batch(SENTENCES, side)
        outputs = make_model(LocantEncoderModel, pooling="first")(ids, mask)
        for row, sentence in enumerate(SENTENCES):
            first = 7 - len(sentence) if side == "left" else 0
            assert torch.equal(outputs.pooler_output[row], outputs.last_hidden_state[row, first])

    @pytest.mark.parametrize("pool", [mean_token, first_token])
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_states_of_padding_may_be_anything(self, pool, value):
        states, seen = torch.randn(2, 4, 3, requires_grad=True), torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1]])
        spoilt = states.masked_fill(seen[..., None] == 0, value)
        expected, pooled = pool(states, seen), pool(spoilt, seen)
        assert torch.equal(pooled, expected)
        weight = torch.randn_like(expected)
        gradients = [torch.autograd.grad((vectors * weight).sum(), states)[0] for vectors in (pooled, expected)]
        assert torch.equal(*gradients)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("pooling", ["mean", "first"])
    @pytest.mark.parametrize("kind", ["boolean", "whole numbers", "floating"])
    @pytest.mark.parametrize("heads", [1, 4])
    def test_masks_of_four_dimensions(self, make_model, make_batch, side, pooling, kind, heads, no_grad):
        """Pooling counts a token if any token sees it in any head."""
        model = make_model(LocantEncoderModel, pooling=pooling)
        ids, mask = make_batch(SENTENCES, side)
        own = mask.bool()[:, None, None].expand(-1, heads, 7, -1)
        if heads > 1:  # a token that one head alone sees still counts
            own = own & (torch.arange(4)[:, None] == torch.arange(7) % 4)[:, None]
        own = {
            "boolean": own,
            "whole numbers": own.long(),
            "floating": torch.where(own, 0.0, -torch.inf),
        }[kind]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        outputs = model(ids, own, position_ids=positions)
        if heads == 1:
            torch.testing.assert_close(outputs.pooler_output, model(ids, mask).pooler_output)
        states = outputs.last_hidden_state
        first = states[torch.arange(3), mask.argmax(1)]
        torch.testing.assert_close(outputs.pooler_output, first if pooling == "first" else loop_mean(states, mask))

    @pytest.mark.parametrize("pooling", ["mean", "first"])
    def test_one_mask_of_four_dimensions_for_all(self, make_model, pooling, no_grad):
        model = make_model(LocantEncoderModel, pooling=pooling)
        ids, mask = torch.randint(3, 24, (3, 5)), torch.tensor([0, 1, 1, 0, 1])
        outputs = model(ids, mask.expand(1, 1, 5, 5))
        expected = loop_mean(outputs.last_hidden_state, mask.expand(3, 5))
        expected = outputs.last_hidden_state[:, 1] if pooling == "first" else expected
        torch.testing.assert_close(outputs.pooler_output, expected)

    @pytest.mark.parametrize("pooling", ["mean", "first"])
    def test_any_number_but_0_is_a_real_token(self, make_model, make_batch, side, pooling, no_grad):
        model = make_model(LocantEncoderModel, pooling=pooling, position_encoding="none")
        ids, mask = make_batch(SENTENCES, side)
        numbers = mask * torch.arange(1, 8)
        expected = model(ids, mask).pooler_output
        for other in (numbers, mask.bool(), mask.float()):
            torch.testing.assert_close(model(ids, other).pooler_output, expected)

    def test_projection_is_tanh_of_a_linear_layer(self, make_model, make_batch, no_grad):
        model = make_model(LocantEncoderModel, pooler_projection=True)
        ids, mask = make_batch(SENTENCES)
        outputs = model(ids, mask)
        weights = {name.split(".")[-1]: weight for name, weight in model.pooler.named_parameters()}
        expected = (loop_mean(outputs.last_hidden_state, mask) @ weights["weight"].T + weights["bias"]).tanh()
        torch.testing.assert_close(outputs.pooler_output, expected)

    def test_without_a_pooler(self, make_config):
        model = LocantEncoderModel(make_config(pooler_projection=True), add_pooling_layer=False)
        assert model(torch.tensor([[5, 6]])).pooler_output is None
        assert not any("pooler" in name for name in model.state_dict())


class TestPadding:
    @pytest.mark.pairwise
    @pytest.mark.parametrize("pooling", ["mean", "first"])
    def test_sentence_embeddings_are_those_of_each_sentence_alone(
        self, make_model, make_batch, encoding, side, pooling, no_grad
    ):
        model = make_model(LocantEncoderModel, position_encoding=encoding, pooling=pooling, pooler_projection=True)
        embeddings = model(*make_batch(SENTENCES, side)).pooler_output
        for embedding, sentence in zip(embeddings, SENTENCES, strict=True):
            alone = model(torch.tensor([sentence])).pooler_output[0]
            torch.testing.assert_close(embedding, alone, atol=1e-5, rtol=1e-5)

    def test_guesses_are_those_of_each_sentence_alone(self, make_model, make_batch, encoding, side, no_grad):
        model = make_model(LocantForMaskedLM, position_encoding=encoding)
        ids, mask = make_batch(SENTENCES, side)
        logits = model(ids, mask).logits
        for row, sentence in enumerate(SENTENCES):
            alone = model(torch.tensor([sentence])).logits[0]
            torch.testing.assert_close(logits[row, mask[row].bool()], alone, atol=2e-5, rtol=1e-5)

    def test_documents_of_a_packed_sequence_are_those_alone(self, make_model, encoding, no_grad):
        model = make_model(LocantForMaskedLM, position_encoding=encoding)
        packed = torch.tensor([(word, number) for number, words in enumerate(SENTENCES) for word in words])
        logits = model(packed[None, :, 0], document_ids=packed[None, :, 1]).logits
        alone = torch.cat([model(torch.tensor([sentence])).logits for sentence in SENTENCES], dim=1)
        torch.testing.assert_close(logits, alone, atol=2e-5, rtol=1e-5)

    def test_documents_are_refused_where_each_row_is_pooled(self, make_model):
        model = make_model(LocantForSequenceClassification, num_labels=3)
        with pytest.raises(ValueError, match=r"^document_ids is given to a sequence classifier, which pools each row"):
            model(torch.tensor([[5, 6]]), document_ids=torch.tensor([[0, 1]]))


class TestLoss:
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("items", [None, 37, torch.tensor(37)])
    def test_of_a_masked_language_model(self, make_model, make_batch, smoothing, items):
        model = make_model(LocantForMaskedLM, label_smoothing=smoothing)
        ids, mask = make_batch(SENTENCES)
        labels = labels_of_tokens(ids, mask)["labels"]
        for training in (True, False):
            outputs = model.train(training)(ids, mask, labels=labels, num_items_in_batch=items)
            total = cross_entropy(
                outputs.logits.flatten(0, 1),
                labels.flatten(),
                label_smoothing=smoothing if training else 0.0,
                reduction="sum",
            )
            torch.testing.assert_close(outputs.loss, total / ((labels != -100).sum() if items is None else items))

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("case", [name for name in CASES if name != "questions"])
    def test_accumulated_steps_learn_what_one_large_batch_does(self, make_model, tmp_path, case):
        """Three accumulated steps of two rows change the weights as one step of six rows does."""
        cls, fields, labels_of = CASES[case]
        ids = torch.randint(3, 24, (6, 5))
        labels = labels_of(ids, torch.ones_like(ids))["labels"]
        if case.startswith("sequences"):
            labels = labels.repeat(2, *[1] * (labels.ndim - 1))
        rows = [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]
        learned = []
        for size, steps in ((6, 1), (2, 3)):
            model = make_model(MODELS[cls], **fields)
            options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "max_steps": 1}
            arguments = TrainingArguments(
                str(tmp_path),
                **options,
                optim="sgd",
                learning_rate=1.0,
                max_grad_norm=0.0,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            )
            before = {name: weight.clone() for name, weight in model.state_dict().items()}
            Trainer(model, arguments, train_dataset=rows).train()
            learned.append({name: weight - before[name] for name, weight in model.state_dict().items()})
        for name, change in learned[0].items():
            torch.testing.assert_close(
                learned[1][name], change, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )
        assert max(change.abs().max() for change in learned[0].values()) > 0.01


class TestRefusals:
    @pytest.mark.parametrize("cls", MODELS.values(), ids=lambda cls: cls.__name__)
    def test_token_types_where_there_are_none(self, make_model, cls):
        model, ids = make_model(cls), torch.tensor([[5, 6, 7]])
        message = r"^token_type_ids are given, but type_vocab_size is 0: leave them out, or set type_vocab_size to"
        with pytest.raises(ValueError, match=message):
            model(ids, token_type_ids=torch.tensor([[0, 0, 1]]))
        expected = model(ids)[0]
        assert torch.equal(model(ids, token_type_ids=torch.zeros_like(ids))[0], expected)

    @pytest.mark.parametrize("cls", MODELS.values(), ids=lambda cls: cls.__name__)
    def test_images(self, make_model, cls):
        with pytest.raises(ValueError, match=r"^pixel_values is given to an encoder of tokens: set encoder_i"):
            make_model(cls)(torch.tensor([[5]]), pixel_values=torch.zeros(1, 3, 16, 16))

    @pytest.mark.parametrize("cls", MODELS.values(), ids=lambda cls: cls.__name__)
    def test_no_input_or_two(self, make_model, cls):
        model, ids = make_model(cls), torch.tensor([[5]])
        for inputs in ({}, {"input_ids": ids, "inputs_embeds": torch.zeros(1, 1, 32)}):
            with pytest.raises(ValueError, match=r"inputs_embeds( are both given: leave one of them out)?\.$"):
                model(**inputs)

    def test_a_mask_of_another_size(self, make_model):
        with pytest.raises(ValueError, match=r"^attention_mask has the shape \(1, 2\), but there are 1 sequences of 3"):
            make_model(LocantEncoderModel)(torch.tensor([[5, 6, 7]]), torch.ones(1, 2))

    @pytest.mark.parametrize("cls", MODELS.values(), ids=lambda cls: cls.__name__)
    def test_beyond_a_learned_table(self, make_model, cls):
        model = make_model(cls, position_encoding="learned", max_position_embeddings=4)
        with pytest.raises(ValueError, match="max_position_embeddings"):
            model(torch.tensor([[5, 6, 7, 8, 9]]))


AUTO = {
    AutoModel: LocantEncoderModel,
    AutoModelForTextEncoding: LocantEncoderModel,
    AutoModelForMaskedLM: LocantForMaskedLM,
    AutoModelForSequenceClassification: LocantForSequenceClassification,
    AutoModelForTokenClassification: LocantForTokenClassification,
    AutoModelForQuestionAnswering: LocantForQuestionAnswering,
}


def same_weights(model, other):
    assert model.state_dict().keys() == other.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


class TestSaving:
    @pytest.mark.parametrize("auto", AUTO, ids=lambda cls: cls.__name__)
    def test_each_auto_class_loads_the_same_bits(self, make_model, make_batch, auto, tmp_path, no_grad):
        model = make_model(AUTO[auto], num_labels=3, **OURS)
        model.save_pretrained(tmp_path)
        loaded, info = auto.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is AUTO[auto]
        assert not any(info.values())
        same_weights(model, loaded)
        batch = make_batch(SENTENCES)
        assert torch.equal(loaded(*batch)[0], model(*batch)[0])
        assert (loaded.config.is_encoder_decoder, loaded.config.is_decoder) == (False, False)
        assert type(auto.from_config(model.config)) is AUTO[auto]

    @pytest.mark.parametrize("share", [True, False], ids=["shared", "unshared"])
    @pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
    def test_a_translators_encoder(self, make_model, make_batch, share, tie, tmp_path, no_grad):
        fields = {"share_encoder_decoder_embeddings": share, "tie_word_embeddings": tie, "position_encoding": "shaw"}
        translator = make_model(LocantForConditionalGeneration, **fields)
        translator.save_pretrained(tmp_path)
        encoder, info = LocantEncoderModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"]
        same_weights(translator.get_encoder(), encoder.encoder)
        batch = make_batch(SENTENCES)
        states = translator.get_encoder()(*batch).last_hidden_state
        assert torch.equal(encoder(*batch).last_hidden_state, states)
        assert not encoder.config.is_encoder_decoder
        encoder.save_pretrained(tmp_path / "encoder")  # and is then one like any other
        again = AutoModel.from_pretrained(tmp_path / "encoder")
        assert torch.equal(again(*batch).pooler_output, encoder(*batch).pooler_output)

    def test_a_masked_language_model_becomes_a_classifier(self, make_model, make_batch, tmp_path, no_grad):
        masked = make_model(LocantForMaskedLM, pooler_projection=True)
        masked.save_pretrained(tmp_path)
        model, info = LocantForSequenceClassification.from_pretrained(tmp_path, num_labels=3, output_loading_info=True)
        same_weights(masked.model.encoder, model.model.encoder)
        fresh = {"classifier.weight", "classifier.bias"}
        fresh |= {"model.pooler.projection.0.weight", "model.pooler.projection.0.bias"}
        assert set(info["missing_keys"]) == fresh
        assert all(name.startswith("transform.") for name in info["unexpected_keys"])
        assert model.classifier.weight.abs().max() > 0  # drawn, as in a new model
        assert model(*make_batch(SENTENCES)).logits.shape == (3, 3)
        masked.model.save_pretrained(tmp_path / "body")  # without a pooler, too
        _, info = LocantForSequenceClassification.from_pretrained(
            tmp_path / "body", num_labels=3, output_loading_info=True
        )
        assert set(info["missing_keys"]) == fresh

    def test_body_and_whole_load_each_other(self, make_model, tmp_path):
        whole = make_model(LocantForTokenClassification)
        whole.save_pretrained(tmp_path / "whole")
        body = LocantEncoderModel.from_pretrained(tmp_path / "whole")
        same_weights(whole.model.encoder, body.encoder)
        body.save_pretrained(tmp_path / "body")
        again, info = LocantForTokenClassification.from_pretrained(tmp_path / "body", output_loading_info=True)
        same_weights(again.model.encoder, body.encoder)
        assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}


class TestEmbeddings:
    @pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
    def test_output_layer(self, make_model, tie, tmp_path):
        model = make_model(LocantForMaskedLM, tie_word_embeddings=tie)
        assert (model.lm_head.weight is model.get_input_embeddings().weight) == tie
        model.save_pretrained(tmp_path)
        loaded = LocantForMaskedLM.from_pretrained(tmp_path)
        assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) == tie
        same_weights(model, loaded)

    @pytest.mark.parametrize("cls", MODELS.values(), ids=lambda cls: cls.__name__)
    @pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
    def test_resizing(self, make_model, cls, tie, tmp_path, no_grad):
        model = make_model(cls, tie_word_embeddings=tie, lm_head_bias=True)
        ids = torch.tensor([[5, 6, 23]])
        before = model(ids)[0]
        model.resize_token_embeddings(30)
        assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 30
        after = model(ids)[0]
        if cls is LocantForMaskedLM:
            assert model.lm_head.weight.shape == (30, 32)
            assert model.lm_head.bias.shape == (30,)
            assert (model.lm_head.weight is model.get_input_embeddings().weight) == tie
            after = after[..., :24]
        torch.testing.assert_close(after, before)
        model(ids + 6)
        model.save_pretrained(tmp_path)
        same_weights(model, cls.from_pretrained(tmp_path))

    def test_a_config_is_left_as_it_was(self, make_config):
        config = make_config(encoder_input="patches")
        before = config.to_dict()
        for cls in set(AUTO.values()):
            model = cls(config)
            assert not model.config.is_encoder_decoder
        assert config.to_dict() == before
        assert locant.LocantForMaskedLM(config).config.encoder_input == "tokens"
