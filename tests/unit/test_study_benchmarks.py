"""Benchmarks in a study: entries, sampling presets, prompts by the chat template, what makes a run another run."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics import builtin, pipeline
from qrm_forensics.benchmarks.coverage import run_coverage
from qrm_forensics.benchmarks.presets import MATH
from qrm_forensics.errors import InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.generate.prompts import chat_prompts, math_prompts, refuse_double_bos
from qrm_forensics.generate.traces import trace_of
from qrm_forensics.pipeline import make_plan, perplexity, request_of
from qrm_forensics.pipeline.estimate import Estimate, estimate
from qrm_forensics.records import Coverage, Finish, ModelRef
from qrm_forensics.store import Store
from qrm_forensics.study import BenchmarkSpec, Study, load_study
from qrm_forensics.tokenizer import load_tokenizer

SHARED = Path(__file__).resolve().parents[3] / "shared"
#: What DeepSeek-R1's template writes around one user turn.
R1_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% else %}"
    "<｜User｜>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)


def model(folder: Path, template: str = R1_TEMPLATE, bos: str = "<|begin|>") -> Path:
    """The built-in checkpoint with another chat template."""
    made = folder / "model"
    shutil.copytree(builtin.weights_dir(), made)
    (made / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((made / "tokenizer_config.json").read_text("utf-8"))
    config |= {"chat_template": template, "bos_token": bos}
    (made / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return made


def study(tmp_path: Path, **keys: Any) -> Path:
    whole = {"name": "s", "models": ["builtin"], "recipes": ["bf16"], "benchmarks": [{"name": "builtin"}], **keys}
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    return path


# --------------------------------------------------------------------------- entries


def test_an_entry_without_the_new_keys_is_written_as_it_always_was() -> None:
    assert BenchmarkSpec(name="b").model_dump(mode="json") == {"name": "b", "path": None, "limit": None}
    said = {"name": "b", "path": "x", "limit": 3, "kind": "choice", "fields": {"answer": "a"}, "prompt": "{problem}"}
    assert BenchmarkSpec.model_validate(said).model_dump(mode="json") == said
    assert BenchmarkSpec.model_validate(said).model_dump() == said


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "b", "feilds": {}}, "did you mean 'fields'"),
        ({"name": "b", "fields": {"anser": "a"}}, "did you mean 'answer'"),
        ({"name": "b", "kind": "maths"}, "benchmarks.0.kind: expected 'math', 'choice' or 'code'; found 'maths'"),
        ({"name": "b", "system": ""}, "benchmarks.0.system"),
    ],
)
def test_a_misspelt_entry_is_named(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_study(study(tmp_path, benchmarks=[entry]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"thinking": "suppress-32"}, r"thinking: expected a list such as \[a, b\]; found 'suppress-32'"),
        ({"thinking": [5]}, "thinking '5': expected free, suppress-64"),
        ({"thinking": None}, "found nothing"),
        ({"latency": 8}, "latency: expected keys with values such as {key: value}; found 8"),
        ({"backend": "server"}, "backend: expected keys with values .* found 'server'"),
        ({"backend": {"name": "server", "options": [1]}}, "backend.options: expected keys with values .* found a list"),
        ({"benchmarks": {"name": "builtin"}}, "benchmarks: expected a list .* found keys with values"),
        ({"name": "my study"}, "name: may hold letters, digits, .* found 'my study'"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_in_words_of_the_file(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        load_study(study(tmp_path, **changes))


def test_builtin_takes_no_prompt_of_somebody_elses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes no prompt"):
        make_plan(load_study(study(tmp_path, benchmarks=[{"name": "builtin", "prompt": "plain"}])))


# --------------------------------------------------------------------------- sampling


PAPER = {"temperature": 0.6, "top_p": 0.95, "max_new_tokens": 32768, "samples": 1, "seeds": [42, 43, 44]}


@pytest.mark.parametrize(
    ("models", "given", "changed"),
    [
        (["modelzoo/DeepSeek-R1/DeepSeek-R1-Distill-Qwen-1.5B"], {}, {"top_k": 0}),
        (["modelzoo/QwQ/QwQ-32B"], {}, {"top_k": 30}),
        (["QwQ-32B"], {"top_k": 0, "seeds": [7]}, {"top_k": 0, "seeds": [7]}),
        (["QwQ-32B", "other"], {"top_k": 5}, {"top_k": 5}),
    ],
)
def test_the_papers_sampling_is_written_out(
    tmp_path: Path, models: list[str], given: dict[str, Any], changed: dict[str, Any]
) -> None:
    read = load_study(study(tmp_path, models=models, sampling={"preset": "paper", **given}))
    assert read.sampling.model_dump(mode="json") == PAPER | changed
    assert read == load_study(study(tmp_path, models=models, sampling=PAPER | changed))


@pytest.mark.parametrize(
    ("models", "preset", "said"),
    [
        (["QwQ-32B", "other"], "paper", "top_k 30 for QwQ"),
        (["other"], "papper", "did you mean 'paper'"),
        (["other"], "x", "known presets: paper, greedy"),
    ],
)
def test_presets_that_cannot_be_meant(tmp_path: Path, models: list[str], preset: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_study(study(tmp_path, models=models, sampling={"preset": preset}))


def test_preset_in_python_too() -> None:
    made = Study.model_validate(
        {
            "name": "s",
            "models": ("builtin",),
            "recipes": ("bf16",),
            "benchmarks": ({"name": "builtin"},),
            "sampling": {"preset": "greedy"},
        }
    )
    assert made.sampling.temperature == 0


# --------------------------------------------------------------------------- prompts


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_whole_prompts_are_those_of_the_papers_response_files(tmp_path: Path) -> None:
    folder = model(tmp_path, R1_TEMPLATE.replace("{{ bos_token }}", "<｜begin▁of▁sentence｜>"))
    path = SHARED / "datasets"
    plan = make_plan(
        load_study(study(tmp_path, models=[str(folder)], benchmarks=[{"name": "AIME-90", "path": str(path)}]))
    )
    trace = "traces/outputs/inference/DeepSeek-R1-Distill-Qwen-1.5B-gptq-w4g128-tp1-seed42/AIME-90.jsonl"
    records = json.loads((SHARED / trace).read_text(encoding="utf-8"))
    assert [p.prompt for p in plan.problems] == [r["full_prompt"] for r in records]


def test_a_system_prompt_stands_in_front(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem": "2+2", "answer": 4}\n', encoding="utf-8")
    folder = model(tmp_path)
    entry = {"name": "mine", "path": str(path), "system": "Be brief."}
    (problem,) = make_plan(load_study(study(tmp_path, models=[str(folder)], benchmarks=[entry]))).problems
    asked = MATH.replace("{problem}", "2+2")
    assert problem.prompt == f"<|begin|>Be brief.<｜User｜>{asked}<｜Assistant｜><think>\n"
    mute = model(tmp_path / "mute", "{{ messages[-1].content }}")
    with pytest.raises(InputError, match="drops the system prompt"):
        chat_prompts([mute], ["2+2"], "Be brief.")
    strict = model(tmp_path / "strict", "{% if messages|length > 1 %}{{ raise_exception('one turn') }}{% endif %}x")
    with pytest.raises(InputError, match=r"refuses these turns \(one turn\)"):
        chat_prompts([strict], ["2+2"], "Be brief.")


def test_a_prompt_that_begins_twice_is_refused_when_the_plan_is_made(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem": "2+2", "answer": 4}\n', encoding="utf-8")
    twice = model(tmp_path, "{{ bos_token }}" + R1_TEMPLATE)
    entry = {"name": "mine", "path": str(path)}
    with pytest.raises(InputError, match=r"begin with <\|begin\|> twice: its chat template writes it twice"):
        make_plan(load_study(study(tmp_path, models=[str(twice)], benchmarks=[entry])))


def test_a_tokenizer_that_adds_another_one_is_refused_where_it_is_asked_to() -> None:
    class Adding:
        """As DeepSeek-R1's and Llama's: asked to, it puts its token in front of whatever is there."""

        bos_token, bos_token_id = "<s>", 1

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            ids = [1] * text.startswith("<s>") + [5, 6]
            return [1, *ids] if add_special_tokens else ids

    refuse_double_bos(Adding(), "<s>hello", "m")
    refuse_double_bos(Adding(), "hello", "m", adds_special_tokens=True)
    with pytest.raises(InputError, match="the tokenizer adds another"):
        refuse_double_bos(Adding(), "<s>hello", "m", adds_special_tokens=True)


def test_models_with_other_templates_are_put_apart(tmp_path: Path) -> None:
    one, other = model(tmp_path / "a"), model(tmp_path / "b", R1_TEMPLATE + " ")
    assert math_prompts([one, one], ["q"]) == math_prompts([one], ["q"])
    with pytest.raises(InputError, match="two studies"):
        math_prompts([one, other], ["q"])


# --------------------------------------------------------------------------- a part of a benchmark


def test_some_of_a_named_benchmarks_problems_are_never_called_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "AIME-2025" / "test.jsonl"
    path.parent.mkdir()
    rows = [json.dumps({"problem": f"{i}+1", "answer": i + 1}) for i in range(30)]
    folder = str(model(tmp_path))

    def coverage_of(count: int, **entry: Any) -> Coverage:
        path.write_text("\n".join(rows[:count]), encoding="utf-8")
        entry |= {"name": "AIME-2025", "path": str(tmp_path)}
        plan = make_plan(load_study(study(tmp_path, models=[folder], benchmarks=[entry])))
        assert ("size_known" in request_of(plan)) == (count < 30)
        out = tmp_path / f"run-{count}-{len(entry)}"
        store = Store.create(out, request=request_of(plan), variants=plan.variants, baseline=plan.baseline)
        store.write_problems(plan.problems)
        asked = plan.requests("bf16", "AIME-2025")
        store.append_traces("bf16", "AIME-2025", [trace_of(request, "", Finish.STOP) for request in asked])
        return run_coverage(store)["bf16", "AIME-2025"]

    assert coverage_of(30) is Coverage.FULL
    assert coverage_of(30, limit=3) is Coverage.PREFIX
    assert coverage_of(20) is Coverage.PREFIX


# --------------------------------------------------------------------------- perplexity


def text_file(tmp_path: Path, problems: int) -> Path:
    path = tmp_path / "wiki.test.raw"
    path.write_text("".join(p.prompt + p.gold for p in builtin.problems(problems)), encoding="utf-8")
    return path


def test_perplexity_is_that_of_the_models_own_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(perplexity, "WINDOW", 64)
    path = text_file(tmp_path, 24)
    benchmarks = [{"name": "builtin", "limit": 1}, {"name": "PPL", "path": str(path), "limit": 3}]
    read = load_study(study(tmp_path, benchmarks=benchmarks, sampling={"max_new_tokens": 4}))
    plan = make_plan(read)
    assert "perplexity" in request_of(plan) and plan.benchmarks() == [builtin.BENCHMARK]
    store = pipeline.run(plan, tmp_path / "run", only="generate")
    kept = store.analysis("perplexity")
    assert kept is not None
    result = kept[1]["variants"]["bf16"]

    network = transformers.AutoModelForCausalLM.from_pretrained(builtin.weights_dir(), dtype=torch.float32)
    ids = load_tokenizer(builtin.weights_dir())(path.read_text("utf-8"), return_tensors="pt").input_ids
    with torch.inference_mode():
        losses = [float(network(w, labels=w).loss) for w in ids[:, : 3 * 64].split(64, dim=1)]
    assert result["length"] == 64 and len(result["windows"]) == 3
    assert result["perplexity"] == pytest.approx(math.exp(sum(losses) / 3), rel=1e-4)


def test_a_perplexity_that_is_there_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perplexity, "WINDOW", 64)
    benchmarks = [{"name": "builtin", "limit": 1}, {"name": "WikiText-2", "path": str(text_file(tmp_path, 8))}]
    plan = make_plan(load_study(study(tmp_path, benchmarks=benchmarks)))
    opened: list[str] = []
    backend = get_generator("scripted", function=lambda request: "</think>")

    class Counting:
        name = "scripted"

        def open(self, ref: ModelRef) -> Any:
            opened.append(ref.recipe)
            return backend.open(ref)

    for _ in range(2):
        store = pipeline.run(plan, tmp_path / "run", generator=Counting(), only="generate")
    kept = store.analysis("perplexity")
    assert opened == ["bf16"] and kept is not None
    assert kept[1]["variants"]["bf16"]["perplexity"] is None  # a scripted backend cannot say; that is no 0
    assert "does not give" in kept[1]["variants"]["bf16"]["why"]


def test_a_perplexity_without_a_tokenizer_is_absent_and_says_why(tmp_path: Path) -> None:
    from qrm_forensics.benchmarks.wikitext import Text
    from qrm_forensics.observing import Silent

    plan = make_plan(load_study(study(tmp_path)))
    store = Store.create(tmp_path / "run", request=request_of(plan), variants=plan.variants, baseline=plan.baseline)
    with get_generator("scripted", function=lambda r: "").open(ModelRef("", None, "bf16", None, "original")) as session:
        perplexity.measure(store, "bf16", session, tmp_path / "nowhere", Text("t", "1+1", "0"), None, Silent())
    kept = store.analysis("perplexity")
    assert kept is not None and "nowhere is not here" in kept[1]["variants"]["bf16"]["why"]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"name": "PPL"}], "path"),
        ([{"name": "PPL", "path": "text"}], "beside problems"),
        ([{"name": "builtin"}, {"name": "PPL", "path": "text", "prompt": "plain"}], "takes no prompt"),
        ([{"name": "builtin"}, {"name": "PPL", "path": "empty"}], "no text"),
    ],
)
def test_texts_that_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, Any]], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("some words", encoding="utf-8")
    Path("empty").write_text(" \n", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        make_plan(load_study(study(tmp_path, benchmarks=entries)))


def test_lines_of_the_hubs_file_are_joined_as_the_paper_joins_them(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from qrm_forensics.benchmarks import wikitext

    folder = tmp_path / "wikitext" / "wikitext-2-raw-v1"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["", " = Title = \n", "Words\n"]}), folder / "test-00000-of-00001.parquet")
    read = wikitext.load(BenchmarkSpec(name="WikiText-2", path=str(tmp_path)))
    assert (read.name, read.text) == ("WikiText-2", "\n\n = Title = \n\n\nWords\n")
    own = tmp_path / "minutes.txt"
    own.write_text("Some words.", encoding="utf-8")
    assert wikitext.load(BenchmarkSpec(name="PPL", path=str(own))).name == "minutes.txt"


def test_a_text_shorter_than_a_window_is_said(tmp_path: Path) -> None:
    from qrm_forensics.benchmarks.wikitext import Text

    with pytest.raises(InputError, match="fewer than a window of 2048"):
        perplexity.cut(builtin.weights_dir(), Text("t", "1+1", "0"), None)


def test_levels_that_are_words_have_their_order() -> None:
    from qrm_forensics.report.categories import _natural

    assert sorted(["hard", "easy", "medium"], key=_natural) == ["easy", "medium", "hard"]
    assert sorted(["10", "9", "Level 2"], key=_natural) == ["9", "10", "Level 2"]


def _estimated(entry: dict[str, Any]) -> Estimate:
    plain = {"name": "s", "models": ["builtin"], "recipes": ["bf16"], "benchmarks": [entry]}
    return estimate(Study.model_validate(plain))


def test_a_benchmark_that_can_never_be_read_is_refused_by_a_dry_run() -> None:
    with pytest.raises(InputError, match=r"unknown benchmark 'MATH500x'; did you mean 'MATH-500'\?"):
        _estimated({"name": "MATH500x"})
    with pytest.raises(InputError, match="leave one of them out"):
        _estimated({"name": "MATH-500", "hub": True, "path": "datasets"})
    with pytest.raises(InputError, match=r"no place.* is no preset"):
        _estimated({"name": "mine", "path": "nowhere.jsonl", "prompt": "no place"})
