"""One problem in a notebook and on a terminal: texts whole and harmless, tables that agree with the metrics."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from factories import AIME, AWQ3, AWQ4, BF16, GPTQ3, KV4, MATH, small_run
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.measure import run_metrics
from qrm_forensics.metrics import get_metric
from qrm_forensics.notebook import Case, Response, Run, open_run
from qrm_forensics.notebook import tables as made
from qrm_forensics.notebook.courses import diversity, markers, surprisal
from qrm_forensics.notebook.html import response_html
from qrm_forensics.notebook.terminal import _shortened, bar, case_view, plain
from qrm_forensics.notebook.vocabulary import Vocabulary
from qrm_forensics.records import TRACE_SCHEMA, Finish, Kind, Problem, Trace, to_table
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.visible import shown_text

WORDS = Texts.of("en")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With the columns that the real metrics measure, and two samples of every problem."""
    store = small_run(tmp_path_factory.mktemp("case") / "run", samples=2)
    names = ("loops", "race", "arithmetic", "markers", "length")
    for variant, benchmark in store.cells():
        traces = store.traces(variant=variant, benchmark=benchmark)
        for name, table in run_metrics(traces, names, problems=store.problems()).items():
            version = {"markers": 9, "length": 9}.get(name, get_metric(name).version)  # newer than the scripted ones
            store.write_measure(f"{name}.v{version}", variant, benchmark, table, "stamp")
    for scripted in (store.root / "measures" / "repetition.v1").glob("*/*.parquet"):
        scripted.unlink()
    return Run(store)


def response(text: str | None, *, gold: str = "4", **trace: object) -> Response:
    """One response on its own, measured as in a run."""
    problem = Problem("B", "p", "2 + 2?", "2 + 2?", gold, Kind.MATH, None, None)
    settings: dict[str, object] = {"finish": Finish.STOP} | trace
    variant = str(settings.pop("variant", "v"))
    one = Trace(variant, "B", "p", 0, 0, "2 + 2?", text, **settings)  # type: ignore[arg-type]
    found = run_metrics(to_table([one], TRACE_SCHEMA), problems={("B", "p"): problem})
    figures: dict[str, object] = {}
    for table in found.values():
        figures |= table.to_pylist()[0]
    return Response(one, problem, figures, Vocabulary(None), WORDS)


class _Shown(HTMLParser):
    """The text of the parts of a response as HTML: summaries left out, shown control characters read back."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags, self._stack = "", set[str](), list[tuple[str, str]]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.tags |= {name for name, _ in attrs if name.startswith("on")}
        self._stack.append((tag, dict(attrs).get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._stack.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        inside = [c for _, c in self._stack]
        if "text" not in inside or any(t == "summary" for t, _ in self._stack):
            return
        self.text += chr(int(data.removeprefix("U+"), 16)) if inside[-1] == "control" else data


def read(html: str) -> _Shown:
    shown = _Shown()
    shown.feed(html)
    shown.close()
    return shown


# ---------------------------------------------------------------------------- finding it
def test_a_case_has_every_variant_the_baseline_first(run: Run) -> None:
    case = run.case(f"{MATH}/idx-3")
    assert case.variants == (BF16, AWQ4, AWQ3, KV4, GPTQ3)
    assert (case.sample, case.seed, case.gold, case.others) == (0, 42, "6", ((1, 42),))
    assert run.case(f"{MATH}/idx-3", sample=1).sample == 1
    assert run.case(f"{MATH}/3").id == case.id
    assert run.case("idx-39").id == f"{MATH}/idx-39"
    assert run.case("idx-39", variants=[AWQ3, BF16]).variants == (AWQ3, BF16)


@pytest.mark.parametrize(
    ("problem", "asked", "message"),
    [
        (f"{MATH}/idx-99", {}, "no such problem .*MATH-40/idx-9"),
        ("idx-3", {}, "more than one problem .*'MATH-40/idx-3', 'AIME-12/idx-3'"),
        ("idx-39", {"sample": 7}, "there are sample 0, seed 42, sample 1, seed 42"),
        ("idx-39", {"variants": ["nf4"]}, "no response of 'nf4'; there are bf16"),
        ("idx-39", {"variants": []}, "at least one variant"),
    ],
)
def test_what_is_not_there_is_told(run: Run, problem: str, asked: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run.case(problem, **asked)  # type: ignore[arg-type]


def test_only_problems_that_were_asked_are_suggested(tmp_path: Path) -> None:
    store = small_run(tmp_path / "run")
    asked = next(iter(store.problems().values()))
    more = [replace(asked, id=f"idx-39{i}") for i in range(9)]
    store.write_problems([*store.problems().values(), *more])
    run = open_run(store.root)
    assert run.case("39").id == f"{MATH}/idx-39"
    for wanted, said in (("idx-394x", "no such problem"), (f"{MATH}/idx-394", "no variant of")):
        with pytest.raises(InputError, match=said) as refused:
            run.case(wanted)
        suggested = str(refused.value).partition("; try ")[2]
        assert f"'{MATH}/idx-39'" in suggested and "idx-390" not in suggested


# ---------------------------------------------------------------------------- display
def test_hostile_text_is_shown_and_never_obeyed(run: Run) -> None:
    case = run.case(f"{MATH}/idx-1", variants=[BF16, AWQ3])
    html = case._repr_html_()
    shown = read(html)
    assert not {"script", "img", "iframe", "link", "a", "b_"} & shown.tags
    assert not [t for t in shown.tags if t.startswith("on")]
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in html
    assert "http" not in html and "url(" not in html
    for text in (html, repr(case), plain(case_view(case, width=60, whole=True))):
        assert "\u202e" not in text and "\x07" not in text


def test_the_parts_of_the_page_are_there(run: Run) -> None:
    case = run.case(f"{MATH}/idx-8", variants=[BF16, AWQ3])
    html, text = case._repr_html_(), repr(case)
    for shown in (html, text):
        assert "Right answer: " in shown and "Where the responses part" in shown
        assert re.search(r"this unit ×14[34]; [\d,]+ characters\s+folded", shown)
        assert "cut off at the token limit" in shown
    assert "Changes of the answer" in html and 'class="event loop_onset"' in html
    bundle = case._repr_mimebundle_()
    assert bundle == {"text/html": html, "text/plain": text}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=60), max_size=6), st.integers(0, 60))
def test_a_drawn_response_is_the_response(parts: list[str], copies: int) -> None:
    text = "Let me see. ".join(parts) + "So 2 + 2 = 5, wait, that is not right, again. " * copies + "\\boxed{4}"
    text = text.encode("utf-8", "replace").decode().replace("\r", "\n")
    one = response(text)
    assert read(str(response_html(one))).text == text
    assert "".join(s.text for s in one.segments) == text


def test_a_failed_generation_says_why(run: Run) -> None:
    case = run.case(f"{MATH}/idx-37", variants=[BF16, AWQ3])
    assert "There is no text: out of memory" in case._repr_html_()
    assert "There is no text: out of memory" in repr(case)
    assert case.trace(AWQ3).events == () and case.trace(AWQ3).loops == ()


def test_narrow_terminals_stack_and_wide_ones_set_side_by_side(run: Run) -> None:
    case = run.case(f"{MATH}/idx-39", variants=[BF16, AWQ3])
    wide, narrow = (plain(case_view(case, width=w), w) for w in (120, 50))
    assert re.search(rf"^{BF16} +{AWQ3}$", wide.split("The responses")[1], re.MULTILINE)
    assert not re.search(rf"^{BF16} +{AWQ3}$", narrow.split("The responses")[1], re.MULTILINE)
    assert max(map(len, narrow.splitlines())) <= 50


@settings(deadline=None)
@given(st.text(alphabet="ab \n", max_size=9000), st.integers(0, 200))
def test_a_shortened_response_leaves_out_what_it_says(text: str, copies: int) -> None:
    text += "and so on it goes, again and again; " * copies + text
    one = response(text)
    kept = _shortened(one.segments)
    assert sum(s if isinstance(s, int) else len(s.text) for s in kept) == len(text)
    for s in kept:
        assert isinstance(s, int) or text[s.start : s.end] == s.text


def test_the_bar_puts_events_where_they_are() -> None:
    one = response("x" * 50 + " The answer is 4. " + "y" * 50)
    drawn = bar(one, 20).plain
    assert len(drawn) == 20 and drawn[int(20 * one.events[0].at)] == "✓"


def test_other_languages_have_every_word(run: Run) -> None:
    korean = Run(run.store, language="ko").case(f"{MATH}/idx-8", variants=[BF16, AWQ3])
    assert "이 구절 ×" in korean._repr_html_() and "타임라인" in repr(korean)


# ---------------------------------------------------------------------------- tables
def test_tables_agree_with_the_metrics(run: Run) -> None:
    for problem in ("idx-1", "idx-8", "idx-12", "idx-29", "idx-37"):
        case = run.case(f"{MATH}/{problem}", variants=[BF16, AWQ4, AWQ3])
        measures = case.measures()
        equations, loops, answers = case.equations(), case.loops(), case.answers()
        for r in case.responses:
            own = measures[r.variant]
            if r.trace.text is None:
                continue
            assert (equations["variant"] == r.variant).sum() == own["equations"]
            false = equations[(equations["variant"] == r.variant) & (equations["verdict"] == "false")]
            assert len(false) == own["false_equations"]
            found = loops[(loops["variant"] == r.variant) & (loops["kind"] == "loop")]
            assert len(found) == own["loop_episode_count"]
            assert bool(len(found)) == own["loop"]
            mine = answers[answers["variant"] == r.variant]
            assert len(mine) == own["n_answers_stated"]
            assert mine["changed"].sum() == own["answer_changes"]


_CLAIMS = st.lists(
    st.sampled_from(
        ["The answer is 4. ", "So it is \\boxed{5}. ", "\\boxed{4.0} ", "No. ", "7 is the answer. ", "\\boxed{ } "]
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(_CLAIMS)
def test_stated_answers_are_those_of_the_race(claims: list[str]) -> None:
    one = response("".join(claims))
    assert len(one.stated) == one.figures["n_answers_stated"]
    assert sum(s.changed for s in one.stated) == one.figures["answer_changes"]
    assert all(one.text[s.start : s.end] == s.answer for s in one.stated)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            ["Wait", "double-check", "double  check", "so,", "SO", "let\nme", "hold on", "_so", "soon", "한so"]
        ),
        min_size=1,
        max_size=60,
    )
)
def test_the_course_of_markers_counts_the_markers_of_the_metric(words: list[str]) -> None:
    one = response(" ".join(words))
    (course,) = markers([one])
    n, stretches = len(one.text.split()), len(course.values)
    counted = course.values * np.diff(np.linspace(0, n, stretches + 1)) / 100
    assert counted.sum() == pytest.approx(one.figures["markers_total"])


def test_the_course_of_diversity_is_that_of_the_metric_where_its_window_fits() -> None:
    rng = np.random.default_rng(3)
    text = " ".join(f"w{k}" for k in rng.integers(0, 300, 1400))
    one, short = response(text), response("again " * 60, variant="w")
    (course,) = diversity([one])
    assert course.width == 500
    assert course.values[[0, -1]].tolist() == pytest.approx([one.figures["trajectory"][i] for i in (0, -1)])
    both = diversity([one, short])
    assert [c.width for c in both] == [25, 25]
    assert both[1].values.tolist() == pytest.approx([1 / 25] * len(both[1].values))
    assert diversity([response("too short")]) == []


def test_responses_without_ids_part_at_a_character(run: Run) -> None:
    case = run.case(f"{MATH}/idx-5", variants=[BF16, AWQ4, AWQ3])
    table = case.divergence()
    assert table["unit"].tolist() == ["character", "character"]
    for row in table.itertuples(index=False):
        other = case.trace(row.variant).text
        assert case.trace(BF16).text[: row.char] == other[: row.char]
        assert case.trace(BF16).text.startswith(row.before + row.reference_goes_on, row.char - len(row.before))
        assert other[row.char :].startswith(row.variant_goes_on)
    same = made.divergence_table([case.trace(BF16), case.trace(BF16)])
    assert same["position"].isna().all() and same["before"].isna().all()


class _Letters(Vocabulary):
    """A vocabulary of one token per character."""

    def __init__(self) -> None:
        super().__init__(None)

    def pieces(self, ids: object) -> tuple[str, ...]:
        return tuple(map(chr, ids))  # type: ignore[call-overload]


def test_responses_without_a_text_are_not_called_equal() -> None:
    def case(*texts: str | None) -> Case:
        responses = tuple(response(text, variant=f"v{i}") for i, text in enumerate(texts))
        return Case(responses[0].problem, 0, 0, None, (), responses, WORDS)

    assert case(None, None).partings() == []
    assert case("a", None).partings() == []
    assert [p.variant for p in case("a b", None, "a c").partings()] == ["v2"]
    assert WORDS.text("notebook.parting") not in plain(case_view(case(None, None)))


def test_responses_with_ids_part_at_a_token() -> None:
    texts = {"one": "abcXYZ", "two": "abcQ", "three": "abc"}
    several = [
        Response(r.trace, r.problem, r.figures, _Letters(), WORDS)
        for name, text in texts.items()
        for r in [response(text, variant=name, token_ids=list(map(ord, text)), logprobs=[-0.5] * len(text))]
    ]
    table = made.divergence_table(several)
    assert table[["variant", "reference", "unit", "position", "char"]].values.tolist() == [
        ["two", "one", "token", 3, 3],
        ["three", "one", "token", 3, 3],
    ]
    assert table["reference_goes_on"].tolist() == ["XYZ", "XYZ"] and table["variant_goes_on"].tolist() == ["Q", ""]
    tokens = made.token_table(several)
    assert tokens["token"].tolist() == list("abcXYZabcQabc")
    assert tokens["char"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0, 1, 2]
    assert (tokens["logprob"] == -0.5).all() and tokens["entropy"].isna().all()
    top = made.top_token_table(several, 2)
    assert top.attrs["unit"] == "tokens"
    assert top.loc["a", ("three", "count")] == 1
    assert top.loc["a", ("three", "change")] == pytest.approx(1 / 3 - 1 / 6)


def test_ids_that_cannot_be_read_stay_numbers() -> None:
    one = response("abc", token_ids=[5, 6])
    table = made.token_table([one])
    assert table["id"].tolist() == [5, 6] and table["token"].isna().all() and table["char"].isna().all()
    assert made.top_token_table([one], 3).attrs["unit"] == "pseudo-tokens"
    parted = made.divergence_table([one, response("abd", variant="w", token_ids=[5, 7])])
    assert parted.loc[0, "position"] == 1
    assert parted["char"].isna().all() and parted["before"].isna().all()


def test_the_pieces_of_a_vocabulary_are_the_text() -> None:
    """Also where a character takes several tokens."""
    pytest.importorskip("tokenizers", reason="token texts need the package tokenizers (extra 'models')")
    vocabulary = Vocabulary(builtin.weights_dir())
    text = "한글 12.5 + 7 = 19.5\n</think>\nThe answer is \\boxed{19.5}."
    ids = vocabulary.encode(text)
    assert ids is not None
    pieces = vocabulary.pieces(ids)
    assert pieces is not None and len(pieces) == len(ids) and "".join(pieces) == text
    one = Response(response(text, token_ids=ids).trace, response(text).problem, {}, vocabulary, WORDS)
    assert one.token_chars is not None and one.token_chars[0] == 0
    assert all(text.startswith(piece, at) for piece, at in zip(pieces, one.token_chars, strict=True))
    assert Vocabulary(None).encode(text) is None and Vocabulary(None).pieces(ids) is None


def test_surprisal_is_the_mean_over_its_tokens() -> None:
    values = np.linspace(0, 2, 100)
    (course,) = surprisal([response("x", token_ids=list(range(100)), logprobs=(-values).tolist())])
    assert course.values[0] == pytest.approx(values[:32].mean(), rel=1e-5)
    assert course.values[-1] == pytest.approx(values[-32:].mean(), rel=1e-5)
    assert surprisal([response("x")]) == []


def test_figures_are_plotly_figures_with_a_line_per_response(run: Run) -> None:
    graph = pytest.importorskip("plotly.graph_objects")
    case = run.case(f"{AIME}/idx-0")
    drawn = case.figures()
    assert set(drawn) == {"diversity", "markers"}
    for figure in drawn.values():
        assert isinstance(figure, graph.Figure)
        assert [line.name for line in figure.data] == list(case.variants)


def test_pseudo_tokens_are_the_text_without_its_blanks(run: Run) -> None:
    case: Case = run.case("idx-39", variants=[BF16])
    tokens = case.tokens()
    assert "".join(tokens["token"]) == "".join(case.trace(BF16).text.split())
    starts = [case.trace(BF16).text[c] for c in tokens["char"]]
    assert starts == [t[0] for t in tokens["token"]]


# ---------------------------------------------------------------------------- a notebook for it
def test_a_written_notebook_is_the_same_twice_and_keeps_notes(run: Run, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    from qrm_forensics.notebook.written import write_notebook

    case = run.case(f"{MATH}/idx-1", variants=[BF16, AWQ3])
    one, two = tmp_path / "one.ipynb", tmp_path / "two.ipynb"
    write_notebook(run, case, one)
    write_notebook(run, case, two)
    assert one.read_bytes() == two.read_bytes()
    book = nbformat.read(one, 4)
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            compile(cell.source, "cell", "exec")
            assert cell.outputs == []
    assert "alert" not in one.read_text("utf-8")  # neither question nor response stands in it
    with pytest.raises(InputError, match="add --force"):
        write_notebook(run, case, one)
    write_notebook(run, case, one, overwrite=True)


def test_shown_text_in_tables_is_left_alone(run: Run) -> None:
    """Displays escape; tables are data and have what the model wrote."""
    frame = made.loop_table([response("Wait \u202e no. " * 80)])
    assert "\u202e" in frame.loc[0, "unit"] and "\u202e" not in shown_text(frame.loc[0, "unit"])
