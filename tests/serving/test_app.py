# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The endpoints, on models and beside the functions that the commands call."""

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
import transformers
from starlette.testclient import TestClient
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForSequenceClassification,
    TextClassificationPipeline,
)

from locant.hub.engines.ctranslate2_model import CTranslate2Model
from locant.hub.engines.exporting import export
from locant.modeling import LocantForConditionalGeneration
from locant.serving import served_models
from locant.serving.app import create_app
from locant.serving.schemas import Limits
from locant.serving.served_models import ServedClassifier, ServedTranslator, TranslatedText
from locant.training.inference import Translation, load, translate

HOSTILE = [
    "",
    "   ",
    "\u0000",
    "a\u0000b",
    "日本語のテキスト",
    "שלום עולם",
    "👩‍👩‍👧‍👦🏴‍☠️",
    "é" * 50,
    "a\nb\r\n",
    "</s> <pad>",
    "\ufffe",
]


@pytest.fixture(scope="module")
def loaded(translator):
    return load(translator, "cpu")


@pytest.fixture(scope="module")
def client(loaded):
    with TestClient(create_app(ServedTranslator(*loaded), "a translator")) as client:
        yield client


@pytest.fixture(scope="module")
def classifier_client(classifier):
    pipe = transformers.pipeline("text-classification", model=classifier, device="cpu")
    with TestClient(create_app(ServedClassifier(pipe), "a classifier")) as client:
        yield client


def sample(client, name):
    """The value of a metric without labels."""
    return float(re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)[1])


class TestTranslations:
    def test_with_scores_are_computed_in_batches_that_fit_into_memory(self, loaded, texts, monkeypatch):
        sizes, original = [], LocantForConditionalGeneration.generate

        def generate(self, **inputs):
            sizes.append(len(inputs["input_ids"]))
            return original(self, **inputs)

        monkeypatch.setattr(LocantForConditionalGeneration, "generate", generate)
        monkeypatch.setattr(served_models, "_SCORE_BYTES", 4 * (4 * 3 * 5 * len(loaded[1])) + 1)
        options = {"num_beams": 3, "max_new_tokens": 5}
        served = ServedTranslator(*loaded)
        found = served.compute(texts[:10], options | {"scores": True})
        assert max(sizes) == 4 and sum(sizes) == 10
        sizes.clear()
        expected = served.compute(texts[:10], options)
        assert sizes == [10]
        assert [one.translations[0].text for one in found] == [one.translations[0].text for one in expected]

    def test_are_those_of_each_text_alone(self, client, loaded, texts):
        alone = [translate(*loaded, [text], show_progress=False)[0][0] for text in texts]
        assert len({translation.text for translation in alone}) > 0.8 * len(texts)
        found = client.post("/translate", json={"text": texts, "scores": True}).json()["translations"]
        assert [one["text"] for one in found] == [one.text for one in alone]
        assert [one["score"] for one in found] == pytest.approx([one.score for one in alone], abs=1e-4)
        assert all(one["alternatives"] == [] for one in found)

    def test_of_one_text_are_a_list_of_one(self, client, loaded, texts):
        [[expected]] = translate(*loaded, texts[:1], show_progress=False)
        answer = client.post("/translate", json={"text": texts[0]}).json()
        assert answer == {"translations": [{"text": expected.text, "score": None, "alternatives": []}]}
        assert client.post("/translate", json={"text": []}).json() == {"translations": []}

    def test_take_the_options_of_the_search(self, client, loaded, texts):
        options = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 5, "length_penalty": 0.3}
        expected = translate(*loaded, texts[:4], show_progress=False, **options)
        found = client.post("/translate", json={"text": texts[:4], "scores": True, **options}).json()["translations"]
        for one, alternatives in zip(found, expected, strict=True):
            rows = [one, *one["alternatives"]]
            assert [row["text"] for row in rows] == [translation.text for translation in alternatives]
            assert [row["score"] for row in rows] == pytest.approx([t.score for t in alternatives], abs=1e-4)

    def test_have_the_prefix_of_the_run(self, loaded, texts):
        expected = translate(*loaded, texts[:3], source_prefix="red ", show_progress=False)
        with TestClient(create_app(ServedTranslator(*loaded, source_prefix="red "), "")) as client:
            found = client.post("/translate", json={"text": texts[:3]}).json()["translations"]
        assert [one["text"] for one in found] == [best.text for best, *_ in expected]

    def test_of_concurrent_clients_are_not_mixed_up(self, client, loaded, texts):
        """Single texts and lists, with two kinds of options, from eight clients at a time."""
        requests = [
            {"text": texts[n] if n % 3 else texts[n : n + 5], "num_beams": 1 + n % 2, "scores": True}
            for n in range(len(texts) - 5)
        ]
        expected = {
            beams: dict(zip(texts, translate(*loaded, texts, num_beams=beams, show_progress=False), strict=True))
            for beams in (1, 2)
        }
        before = sample(client, "locant_batch_texts_count")
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda request: client.post("/translate", json=request).json(), requests))
        for request, answer in zip(requests, answers, strict=True):
            given = [request["text"]] if isinstance(request["text"], str) else request["text"]
            of_beams = expected[request["num_beams"]]
            assert [one["text"] for one in answer["translations"]] == [of_beams[text][0].text for text in given]
            found = [one["score"] for one in answer["translations"]]
            assert found == pytest.approx([of_beams[text][0].score for text in given], abs=1e-4)
        assert sample(client, "locant_batch_texts_count") - before < len(requests)

    def test_of_ctranslate2_are_those_of_the_model(self, translator, texts, tmp_path):
        pytest.importorskip("ctranslate2")
        model = CTranslate2Model(export(translator, tmp_path / "exported"), "cpu")
        tokenizer = AutoTokenizer.from_pretrained(translator)
        expected = translate(model, tokenizer, texts, num_beams=3, num_return_sequences=2, show_progress=False)
        with TestClient(create_app(ServedTranslator(model, tokenizer), "", engine="ctranslate2")) as client:
            request = {"text": texts, "num_beams": 3, "num_return_sequences": 2}
            found = client.post("/translate", json=request).json()["translations"]
            assert client.get("/health").json()["engine"] == "ctranslate2"
        texts_of = [[one["text"], *(other["text"] for other in one["alternatives"])] for one in found]
        assert texts_of == [[one.text for one in alternatives] for alternatives in expected]


class TestClassifications:
    def test_have_the_probability_of_each_label(self, classifier_client, classifier, texts):
        model = AutoModelForSequenceClassification.from_pretrained(classifier)
        tokenizer = AutoTokenizer.from_pretrained(classifier)
        short = [text for text in texts if len(tokenizer(text)["input_ids"]) <= 24][:10]
        found = classifier_client.post("/classify", json={"text": short}).json()["classifications"]
        for text, one in zip(short, found, strict=True):
            with torch.no_grad():
                probabilities = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
            expected = {model.config.id2label[n]: p.item() for n, p in enumerate(probabilities)}
            assert {row["label"]: row["score"] for row in one["scores"]} == pytest.approx(expected, abs=1e-5)
            assert one["label"] == max(expected, key=expected.get) == one["scores"][0]["label"]
            assert one["truncated"] is False

    def test_of_long_texts_are_those_of_their_beginning(self, classifier_client, classifier):
        tokenizer = AutoTokenizer.from_pretrained(classifier)
        pipe = transformers.pipeline("text-classification", model=classifier, device="cpu", top_k=3)
        long = "the red cat sees a young dog " * 20
        assert len(tokenizer(long)["input_ids"]) > 24
        [expected] = pipe([long], truncation=True, max_length=24)
        [one] = classifier_client.post("/classify", json={"text": long}).json()["classifications"]
        assert one["truncated"] is True
        assert one["scores"] == [pytest.approx(row) for row in expected]

    def test_of_blank_texts_have_no_label(self, classifier_client, texts):
        found = classifier_client.post("/classify", json={"text": ["", texts[0], "  "]}).json()["classifications"]
        assert [one["label"] is None for one in found] == [True, False, True]
        assert found[0]["scores"] == []


class TestHostileTexts:
    @pytest.mark.parametrize("text", HOSTILE, ids=ascii)
    def test_are_answered_as_the_command_answers(self, client, classifier_client, loaded, text):
        [[expected]] = translate(*loaded, [text], show_progress=False)
        [found] = client.post("/translate", json={"text": text}).json()["translations"]
        assert found["text"] == expected.text
        assert classifier_client.post("/classify", json={"text": text}).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            rb'{"text": "\ud800"}',
            rb'{"text": ["a", "\udfff b"]}',
            rb'{"text": "\xff"}',
            b'{"text": "\xff"}',
            b'{"text": ',
            b"",
            b"null",
            b"[" * 100_000,
            b'{"text": "a", "num_beams": 1' + b"0" * 5000 + b"}",
            b'{"text": "a", "length_penalty": NaN}',
            b'{"text": "a", "length_penalty": 1e999}',
            b'{"text": "a", "length_penalty": 10.5}',
            b'{"text": "a", "length_penalty": -1e300}',
            b'{"text": 1}',
            b'{"text": null}',
            b'{"text": [["a"]]}',
            b'{"text": "a", "nonsense": 1}',
            b'{"text": "a", "num_beams": 0}',
            b'{"text": "a", "num_beams": 9}',
            b'{"text": "a", "max_new_tokens": 513}',
            b'{"text": "a", "num_beams": 2, "num_return_sequences": 3}',
            b'{"text": "a", "num_return_sequences": 3, "num_beams": 1}',
            b'{"text": "' + b"a" * 2001 + b'"}',
            b'{"text": [' + b'"a",' * 256 + b'"a"]}',
        ],
        ids=lambda body: ascii(body[:40]),
    )
    def test_and_requests_that_are_not_valid_are_refused(self, client, body):
        answer = client.post("/translate", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        assert answer.json()["detail"]

    def test_of_a_length_that_the_model_cannot_read_are_refused_alone(self, texts):
        """A model of another family, which has no message of its own for texts beyond its position table."""
        client_texts = [*texts[:3], "the " * 30, *texts[3:6]]
        with marian(texts) as client, ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda text: client.post("/translate", json={"text": text}), client_texts))
            too_long = answers.pop(3)
            assert [answer.status_code for answer in answers] == [200] * 6
            assert too_long.status_code == 422
            assert re.search(r"A text has \d+ tokens, but the model reads at most 24: split", too_long.json()["detail"])
            longest = client.post("/translate", json={"text": texts[0], "max_new_tokens": 512})
            assert longest.status_code == 200


@contextmanager
def marian(texts):
    """A client of a model with 24 positions whose translations never end."""
    import locant

    tokenizer = locant.train_tokenizer(iter(texts), vocab_size=320, show_progress=False)
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id")}
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=24,
            decoder_start_token_id=tokenizer.pad_token_id,
            forced_eos_token_id=None,
            **shape,
            **heads,
            **ids,
        )
    )
    model.generation_config.max_new_tokens = 8
    model.final_logits_bias[0, tokenizer.eos_token_id] = -1e4
    with TestClient(create_app(ServedTranslator(model, tokenizer), ""), raise_server_exceptions=False) as client:
        yield client


def test_a_classifier_without_a_limit_reads_whole_texts(texts):
    import locant

    tokenizer = locant.train_tokenizer(iter(texts), vocab_size=320, show_progress=False)
    ids = {name: tokenizer.pad_token_id for name in ("pad_token_id", "decoder_start_token_id")}
    ids["eos_token_id"] = tokenizer.eos_token_id
    config = T5Config(vocab_size=len(tokenizer), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, **ids)
    pipe = TextClassificationPipeline(model=T5ForSequenceClassification(config), tokenizer=tokenizer)
    text = " ".join(texts)
    [found] = ServedClassifier(pipe).compute([text], {})
    assert found.source_tokens == len(tokenizer(text).input_ids) and not found.is_cut


class Blocked:
    """A translator that waits for `gate` and then returns the texts themselves; it cannot translate "broken"."""

    task = "translation"

    def __init__(self):
        self.gate = threading.Event()
        self.seen = []

    def compute(self, texts, options):
        self.seen += texts
        assert self.gate.wait(30)
        if "broken" in texts:
            raise RuntimeError("secret path")
        return [TranslatedText([Translation(text, float("nan"))], 1) for text in texts]


@pytest.fixture
def blocked():
    served = Blocked()
    app = create_app(served, "", limits=Limits(waiting_texts=4, body_bytes=1000))
    with TestClient(app, raise_server_exceptions=False) as client:
        client.served = served
        yield client


class TestLimits:
    def test_a_full_queue_is_503_with_the_seconds_to_wait(self, blocked):
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(blocked.post, "/translate", json={"text": "a"})
            while "a" not in blocked.served.seen:
                pass
            second = threads.submit(blocked.post, "/translate", json={"text": ["b"] * 4})
            while sample(blocked, "locant_waiting_texts") < 4:
                pass
            refused = blocked.post("/translate", json={"text": "c"})
            blocked.served.gate.set()
            assert (first.result().status_code, second.result().status_code) == (200, 200)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert blocked.post("/translate", json={"text": "c"}).status_code == 200

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_body_of_too_many_bytes_is_413(self, blocked, chunked):
        blocked.served.gate.set()

        def post(size):
            body = b'{"text": "a"' + b" " * (size - 13) + b"}"
            parts = (body[start : start + 100] for start in range(0, size, 100))
            return blocked.post(
                "/translate", content=parts if chunked else body, headers={"content-type": "application/json"}
            )

        assert post(1000).status_code == 200
        assert post(1001).status_code == 413

    @pytest.mark.parametrize(("headers", "parts"), [([(b"content-length", b"10000")], 0), ([], 11)])
    def test_a_body_is_not_read_beyond_the_limit(self, blocked, headers, parts):
        read, sent = [], []

        async def receive():
            read.append(b" " * 100)
            return {"type": "http.request", "body": read[-1], "more_body": len(read) < 100}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/translate", "query_string": b"", "headers": headers}
        asyncio.run(blocked.app(scope, receive, send))
        assert sent[0]["status"] == 413
        assert len(read) == parts

    def test_an_error_of_the_model_is_500_without_details_and_others_are_answered(self, blocked):
        with ThreadPoolExecutor(2) as threads:
            good, bad = (threads.submit(blocked.post, "/translate", json={"text": text}) for text in ("a", "broken"))
            while not blocked.served.seen:
                pass
            blocked.served.gate.set()
            assert (good.result().status_code, bad.result().status_code) == (200, 500)
        assert "secret" not in bad.result().text
        page = blocked.get("/metrics").text
        assert 'locant_requests_total{endpoint="/translate",status="500"} 1.0' in page
        assert "disconnected" not in page

    def test_at_most_ten_faults_of_a_body_are_listed(self, blocked):
        answer = blocked.post("/translate", json={"text": [1] * 200})
        assert answer.status_code == 422
        assert len(answer.json()["detail"]) == 10

    def test_a_score_that_is_no_number_is_null(self, blocked):
        blocked.served.gate.set()
        answer = blocked.post("/translate", json={"text": "a"})
        assert answer.json()["translations"][0]["score"] is None


class TestMetrics:
    def test_count_requests_tokens_and_batches_of_equal_options(self, loaded, texts):
        with TestClient(create_app(ServedTranslator(*loaded), "")) as client:
            client.post("/translate", json={"text": texts[:20]})
            client.post("/translate", json={"text": texts[:5], "num_beams": 1})
            client.post("/translate", json={"text": 1})
            client.get("/made/up")
            page = client.get("/metrics").text
            tokens = sum(len(loaded[1](text)["input_ids"]) for text in [*texts[:20], *texts[:5]])
            assert sample(client, "locant_source_tokens_total") == tokens
        assert 'locant_requests_total{endpoint="/translate",status="200"} 2.0' in page
        assert 'locant_requests_total{endpoint="/translate",status="422"} 1.0' in page
        assert 'locant_requests_total{endpoint="other",status="404"} 1.0' in page
        assert 'locant_request_duration_seconds_count{endpoint="/translate"} 3.0' in page
        assert "locant_batch_texts_count 2.0" in page
        assert "locant_batch_texts_sum 25.0" in page


class TestPage:
    def test_refers_to_no_other_host(self, client):
        page = client.get("/docs")
        assert page.status_code == 200
        assert "http" not in re.sub(r"http-equiv|[\"']https?[\"']", "", page.text)
        paths = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
        assert paths
        for path in paths:
            assert client.get(path).status_code == 200, path

    def test_is_what_the_root_leads_to(self, client):
        answer = client.get("/")
        assert answer.url.path == "/docs" and answer.text == client.get("/docs").text

    def test_describes_only_the_task_of_the_model(self, client, classifier_client):
        assert set(client.get("/openapi.json").json()["paths"]) == {"/translate", "/health", "/metrics"}
        assert set(classifier_client.get("/openapi.json").json()["paths"]) == {"/classify", "/health", "/metrics"}
        assert classifier_client.post("/translate", json={"text": "a"}).status_code == 404

    def test_shows_the_limits(self, client):
        fields = client.get("/openapi.json").json()["components"]["schemas"]["TranslationRequest"]["properties"]
        assert fields["num_beams"]["anyOf"][0]["maximum"] == Limits().num_beams
        assert fields["text"]["anyOf"][0]["maxLength"] == Limits().text_length


def test_health_says_what_is_served(client):
    expected = {"status": "ok", "model": "a translator", "task": "translation", "engine": "torch"}
    assert client.get("/health").json() == expected
