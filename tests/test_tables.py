"""The scores behind the tables, their agreement with people, and the rows."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paired import gains
from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError, StoreError
from qdebias.evaluation.evidence import Agreements, Evidence, Scores, load, load_all, save
from qdebias.evaluation.method_scores import ModelRun, pool_of, recall
from qdebias.evaluation.paper_tables import TABLES, build, recipes_of
from qdebias.evaluation.published import AFTER
from qdebias.evaluation.table import Number, Table, render
from qdebias.image import load_image
from qdebias.inputs.datasets import Dataset, load_dataset
from qdebias.methods.presets import RECIPES
from qdebias.metrics import packages as lpips_module
from qdebias.metrics.measures import correlate
from qdebias.prompts import Question, Request
from qdebias.runs.lines import checksum
from qdebias.runs.run import open_run, open_snapshot
from qdebias.runs.scorer import Scorer

COUNT = 12
EVERYTHING = tuple(dict.fromkeys(name for table in TABLES for name in recipes_of(table, "mine")))


def follows_the_mean(request: Request, question: Question) -> list[float]:
    """Answer by the brightness of the images, so that scores agree with the made-up human ones to a degree."""
    level = [float(image.mean()) for image in request.images]
    noise = len(question.text) % 7 * np.sin(level[0])
    return [level[-1] / 40 + 0.3 * noise, 1.5 + 0.2 * np.cos(level[0])]


@pytest.fixture(autouse=True)
def _no_lpips(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "lpips", None)
    lpips_module._load.cache_clear()
    yield
    lpips_module._load.cache_clear()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twelve pictures of noise in three scenes; the brighter, the better."""
    root = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(2)
    rows = ["img_path,gt_score,scene"]
    for number in range(COUNT):
        picture = rng.integers(0, 100, (40, 44, 3)) + 12 * number
        Image.fromarray(picture.astype(np.uint8)).save(root / f"{number}.png")
        rows.append(f"{number}.png,{1 + number / 3 + rng.normal(0, 0.5):.3f},{'abc'[number % 3]}")
    (root / "mine.csv").write_text("\n".join(rows))
    return load_dataset(root / "mine.csv", root=root)


@pytest.fixture(scope="module")
def gathered(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, Path]:
    """Everything that the tables need, and the run folder."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    backend = FakeBackend(answer=follows_the_mean)
    sys.modules["lpips"] = None  # type: ignore[assignment]
    with open_run(folder, backend.fingerprint, model="fake") as run:
        evidence = ModelRun(run=run, backend=backend).score_dataset(dataset, EVERYTHING, model="fake")
    del sys.modules["lpips"]
    return evidence, folder


def measured(evidence: Evidence, recipe: str) -> Scores:
    scores = evidence.results[recipe]
    assert not scores.not_run
    return scores


def as_dataset(evidence: Evidence, name: str, title: str) -> Agreements:
    """Return the same scores under the name of a dataset of the paper."""
    return Agreements(replace(evidence, dataset=name, title=title), resamples=50)


def column(table: Table, name: str) -> list[str]:
    place = [one.flat for one in table.columns].index(name)
    return [row[place].text for row in table.rows]


def test_every_score_is_what_the_scorer_gives(gathered: tuple[Evidence, Path], dataset: Dataset) -> None:
    evidence, _ = gathered
    backend = FakeBackend(answer=follows_the_mean)
    for recipe in ("paper", "qbench-t100", "spatter-fog-saturate", "winner", "only-fog", "t2"):
        scorer = Scorer(backend=backend, method=recipe)
        plain = [scorer.score(load_image(path)).value for path in dataset.paths]
        np.testing.assert_allclose(measured(evidence, recipe).value, plain, atol=1e-12, err_msg=recipe)


def test_ablations_of_conditions_and_weights_call_no_model(dataset: Dataset, tmp_path: Path) -> None:
    backend = FakeBackend(answer=follows_the_mean)
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
        model_run = ModelRun(run=run, backend=backend)
        model_run.score_dataset(dataset, ("paper", "qbench"), model="fake")
        calls = len(backend.calls)
        derived = [name for table in ("table3", "table5") for name in recipes_of(table, "mine") if name != "mismatched"]
        model_run.score_dataset(dataset, (*derived, "qbench-t100"), model="fake")
        assert len(backend.calls) == calls
        model_run.score_dataset(dataset, ("mismatched", "t1"), model="fake")
        assert len(backend.calls) > calls


def test_prompts_about_the_same_images_are_asked_together(dataset: Dataset, tmp_path: Path) -> None:
    backend = FakeBackend(answer=follows_the_mean)
    few = replace(dataset, items=dataset.items[:2])
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
        evidence = ModelRun(run=run, backend=backend).score_dataset(few, recipes_of("table4", "mine"), model="fake")
    requests = [request for call in backend.calls for request in call]
    assert len(requests) == 2 * 4, "each pair of images is shown once"
    assert all(len(request.questions) == 5 for request in requests), "four prompts and the same-object question"
    plain = FakeBackend(answer=follows_the_mean)
    for recipe in ("paper", "t3"):
        alone = [Scorer(backend=plain, method=recipe).score(load_image(path)).value for path in few.paths]
        np.testing.assert_allclose(measured(evidence, recipe).value, alone, atol=1e-12)


def test_gathering_again_asks_nothing_and_gives_the_same(gathered: tuple[Evidence, Path], dataset: Dataset) -> None:
    evidence, folder = gathered
    backend = FakeBackend(answer=follows_the_mean)
    with open_run(folder, backend.fingerprint, model="fake") as run:
        again = ModelRun(run=run, backend=backend).score_dataset(dataset, EVERYTHING, model="fake")
    assert backend.calls == []
    for recipe in set(EVERYTHING) - {"lpips"}:
        np.testing.assert_array_equal(measured(again, recipe).value, measured(evidence, recipe).value)


def test_a_run_folder_alone_gives_the_same_scores(gathered: tuple[Evidence, Path], dataset: Dataset) -> None:
    evidence, folder = gathered
    with open_snapshot(folder) as snapshot:
        recalled = recall(snapshot, dataset, EVERYTHING)
    for recipe in set(EVERYTHING) - {"lpips"}:
        np.testing.assert_array_equal(measured(recalled, recipe).value, measured(evidence, recipe).value)
        np.testing.assert_array_equal(measured(recalled, recipe).order, measured(evidence, recipe).order)
    assert recalled.results["lpips"].not_run


def test_what_was_not_asked_is_not_recalled(dataset: Dataset, tmp_path: Path) -> None:
    backend = FakeBackend(answer=follows_the_mean)
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
        ModelRun(run=run, backend=backend).score_dataset(dataset, ("only-fog",), model="fake")
    with open_snapshot(tmp_path / "run") as snapshot:
        recalled = recall(snapshot, dataset, ("only-fog", "paper", "mismatched"))
    assert not recalled.results["only-fog"].not_run
    for recipe in ("paper", "mismatched"):
        assert "use qdebias reproduce" in recalled.results[recipe].not_run


def test_mismatched_conditions_come_from_other_scenes(gathered: tuple[Evidence, Path]) -> None:
    evidence, _ = gathered
    assert any("degraded images of other scenes of the same dataset" in note for note in evidence.notes)
    assert not np.array_equal(measured(evidence, "mismatched").value, measured(evidence, "paper").value)


def test_mismatched_conditions_may_come_from_elsewhere(dataset: Dataset, tmp_path: Path) -> None:
    others = []
    for number in range(5):
        others.append(tmp_path / f"other{number}.png")
        Image.fromarray(np.full((40, 40, 3), 40 * number, dtype=np.uint8)).save(others[-1])
    backend = FakeBackend(answer=follows_the_mean)
    few = replace(dataset, items=dataset.items[:3])
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
        model_run = ModelRun(run=run, backend=backend, pool=pool_of(others), pool_name="elsewhere")
        evidence = model_run.score_dataset(few, ("mismatched",), model="fake")
    shapes = {request.images[0].shape for call in backend.calls for request in call}
    assert shapes == {(40, 40, 3)}
    assert any("degraded images of elsewhere" in note for note in evidence.notes)


def test_lpips_is_measured_where_it_can_be(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips_module.Lpips, "check", lambda _: None)
    monkeypatch.setattr(lpips_module.Lpips, "__call__", lambda *_: 0.25)
    backend = FakeBackend(answer=follows_the_mean)
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
        evidence = ModelRun(run=run, backend=backend).score_dataset(dataset, ("average", "lpips"), model="fake")
    np.testing.assert_allclose(measured(evidence, "lpips").value, measured(evidence, "average").value, atol=1e-12)
    with open_snapshot(tmp_path / "run") as snapshot:
        recalled = recall(snapshot, dataset, ("lpips",))
    np.testing.assert_array_equal(measured(recalled, "lpips").value, measured(evidence, "lpips").value)


def test_agreement_is_that_of_correlate(gathered: tuple[Evidence, Path]) -> None:
    evidence, _ = gathered
    found = Agreements(evidence, resamples=200).of("paper")
    scores = measured(evidence, "paper")
    expected = correlate(scores.value, evidence.quality, ranked_by=scores.order, resamples=200)
    assert found.srcc
    assert found.plcc
    assert expected.srcc_interval is not None
    assert expected.plcc_interval is not None
    assert found.srcc.value == pytest.approx(expected.srcc, abs=1e-12)
    assert found.plcc.value == pytest.approx(expected.plcc, abs=1e-12)
    assert (found.srcc.low, found.srcc.high) == (expected.srcc_interval.low, expected.srcc_interval.high)
    assert (found.plcc.low, found.plcc.high) == (expected.plcc_interval.low, expected.plcc_interval.high)


def test_gain_is_a_paired_bootstrap(gathered: tuple[Evidence, Path]) -> None:
    evidence, _ = gathered
    found = Agreements(evidence, resamples=200).of("t1", "paper")
    columns = [measured(evidence, recipe).value for recipe in ("t1", "paper")]
    expected = gains(*columns, evidence.quality, resamples=200)
    assert found.srcc
    assert found.plcc
    for number, gain in ((found.srcc, expected["srcc"]), (found.plcc, expected["plcc"])):
        assert (number.value, number.low, number.high) == pytest.approx(gain, abs=1e-12)


def test_images_without_a_score_are_left_out_of_both_sides(gathered: tuple[Evidence, Path]) -> None:
    evidence, _ = gathered
    scores = measured(evidence, "t1")
    holes = np.where(np.arange(COUNT) < 3, np.nan, scores.value)
    results = {**evidence.results, "t1": Scores(value=holes, order=np.where(np.isnan(holes), np.nan, scores.order))}
    agreements = Agreements(replace(evidence, results=results), resamples=50)
    alone, gain, paper = agreements.of("t1"), agreements.of("t1", "paper"), agreements.of("paper")
    assert alone.srcc
    assert gain.srcc
    assert paper.srcc
    assert (alone.count, gain.count, paper.count) == (COUNT - 3, COUNT - 3, COUNT)
    whole = correlate(measured(evidence, "paper").value[3:], evidence.quality[3:], resamples=0)
    assert gain.srcc.value == pytest.approx(alone.srcc.value - whole.srcc, abs=1e-12)
    (note,) = [note for note in build("table4", [agreements]).notes if "have no score" in note]
    assert "3 of 12 images" in note


def test_equal_scores_are_not_correlated(gathered: tuple[Evidence, Path]) -> None:
    evidence, _ = gathered
    flat = Scores(value=np.full(COUNT, 0.5), order=np.zeros(COUNT))
    found = Agreements(replace(evidence, results={"paper": flat}), resamples=0).of("paper")
    assert found.srcc is None
    assert "all scores are equal" in found.notes[0]


def test_scores_survive_their_file(gathered: tuple[Evidence, Path], tmp_path: Path) -> None:
    evidence, _ = gathered
    scores = measured(evidence, "t1")
    holes = Scores(value=np.r_[np.nan, scores.value[1:]], order=np.r_[np.nan, scores.order[1:]])
    evidence = replace(evidence, names=("caf\udce9.png", *evidence.names[1:]))  # a name that is no text
    path = save(replace(evidence, results={**evidence.results, "t1": holes}), tmp_path, part="sample")
    assert path == tmp_path / "tables" / "mine-sample-seed0.json"
    again = load(path)
    assert (again.names, again.contents, again.notes) == (evidence.names, evidence.contents, evidence.notes)
    np.testing.assert_array_equal(measured(again, "t1").value, holes.value)
    np.testing.assert_array_equal(measured(again, "paper").order, measured(evidence, "paper").order)
    assert again.results["lpips"].not_run == evidence.results["lpips"].not_run


def test_methods_that_were_computed_before_stay_in_the_file(gathered: tuple[Evidence, Path], tmp_path: Path) -> None:
    evidence, _ = gathered
    save(replace(evidence, results={"paper": evidence.results["paper"]}), tmp_path)
    save(replace(evidence, results={"t1": evidence.results["t1"]}, notes=("new",)), tmp_path)
    (both,) = load_all(tmp_path)
    assert set(both.results) == {"paper", "t1"}
    assert both.notes == (*evidence.notes, "new")
    fewer = replace(evidence, names=evidence.names[1:], quality=evidence.quality[1:], results={})
    save(fewer, tmp_path)
    assert load_all(tmp_path)[0].results == {}


def test_a_damaged_file_of_scores_is_named(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine-seed0.json").write_text("{}")
    with pytest.raises(StoreError, match=r"mine-seed0\.json: does not hold the scores behind a table"):
        load_all(tmp_path)


def test_a_changed_digit_is_damage_and_not_another_table(gathered: tuple[Evidence, Path], tmp_path: Path) -> None:
    path = save(gathered[0], tmp_path)
    values = json.loads(path.read_text())
    values["results"]["paper"]["value"][0] += 0.25
    path.write_text(json.dumps(values))
    for _ in range(2):
        with pytest.raises(StoreError, match=r"it was changed since it was written\); delete it"):
            load(path)
        values.pop("sum", None)
        path.write_text(json.dumps(values))


def test_scores_of_an_earlier_version_keep_their_meaning(gathered: tuple[Evidence, Path], tmp_path: Path) -> None:
    score = gathered[0].results["paper"]
    names = ("paper", "average", "vanilla", "only-spatter", "released", "paper@fog+logodds", "own.module:method")
    path = save(replace(gathered[0], results=dict.fromkeys(names, score)), tmp_path)
    assert load(path).results.keys() == {*names}
    values = json.loads(path.read_text())
    del values["format"], values["sum"]
    path.write_text(json.dumps(values | {"sum": checksum(json.dumps(values, sort_keys=True).encode())}))
    today = {"paper-eq7", "average+eq7", "vanilla", "only-spatter", "released", "paper@fog+logodds+eq7"}
    assert load(path).results.keys() == {*today, "own.module:method"}


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_complete(table: str, gathered: tuple[Evidence, Path]) -> None:
    evidence, _ = gathered
    made = build(table, [Agreements(evidence, resamples=50)])
    for row in made.rows:
        for cell, head in zip(row, made.columns, strict=True):
            delta = head.name.startswith("Δ") and row[0].text == "Q-Debias"
            assert delta or head.name == "Trained on" or cell.text != "-", (row[0].text, head.flat)
            if cell.content == "not run":
                assert "lpips" in cell.notes[0]
    assert any("The paper has no numbers for mine; only our numbers are shown." in note for note in made.notes)
    assert any("seed 0, mine: all 12 images" in note for note in made.notes)


def test_table_1_shows_all_rivals_beside_a_dataset_of_the_paper(gathered: tuple[Evidence, Path]) -> None:
    table = build("table1", [as_dataset(gathered[0], "koniq10k", "KonIQ-10k")])
    assert column(table, "KonIQ-10k SRCC")[:4] == ["0.585", "0.340", "0.705", "0.551"]
    sources = column(table, "Numbers from")
    assert sources.count("arXiv 2411.12791v2") == 1
    assert sources.count("measured, fake") == 5
    names = column(table, "Method")
    assert names[-len(AFTER) :] == [row.name for row in AFTER]
    assert [name for name in names[: -len(AFTER)] if name.startswith("Q-")] == [
        "Q-Bench",
        "Q-Debias",
        "Q-Debias",
        "Q-Bench prompt",
        "Q-Bench prompt, T = 100",
        "Q-Debias",
        "Q-Debias minus Q-Bench prompt",
    ]
    assert any("names no checkpoint" in note for note in table.notes)


def test_table_1_of_siqad_has_its_slip_and_spatter_alone(gathered: tuple[Evidence, Path]) -> None:
    assert "only-spatter" in recipes_of("table1", "siqad")
    table = build("table1", [as_dataset(gathered[0], "siqad", "SIQAD")])
    assert any("0.324 for SIQAD in Table 1 and 0.326" in note for note in table.footnotes)
    assert column(table, "Method").count("Q-Debias, spatter only") == 2


def test_table_2_notes_that_a_row_is_of_other_datasets(gathered: tuple[Evidence, Path]) -> None:
    table = build("table2", [as_dataset(gathered[0], "livec", "LIVE Challenge")])
    assert any("Against these Q-Debias gains nothing on Qwen-VL" in note for note in table.footnotes)
    assert column(table, "Model") == ["BakLLaVA", "Qwen-VL", "DeepSeek-VL2", "LLaVA-OneVision", "fake"]
    assert column(table, "LIVE Challenge, gain SRCC")[:4] == ["+0.173", "+0.034", "+0.022", "-"]


def test_the_later_version_is_a_footnote_of_the_ablations(gathered: tuple[Evidence, Path]) -> None:
    table = build("table5", [as_dataset(gathered[0], "livec", "LIVE Challenge")])
    assert "arXiv 2411.12791v2 prints 0.794 and 0.818 here." in table.footnotes
    assert column(table, "LIVE Challenge, paper PLCC") == ["0.754", "0.740", "0.491", "0.790"]


def test_a_dataset_that_this_table_lacks_is_said_to_be_ours_alone(gathered: tuple[Evidence, Path]) -> None:
    table = build("table3", [as_dataset(gathered[0], "spaq", "SPAQ")])
    assert "The paper has no numbers for SPAQ in this table; only our numbers are shown." in table.notes
    assert not any(head.group.endswith("paper") for head in table.columns)


def test_several_models_and_datasets_stand_side_by_side(gathered: tuple[Evidence, Path]) -> None:
    evidence, _ = gathered
    here = as_dataset(evidence, "livec", "LIVE Challenge")
    there = Agreements(replace(evidence, dataset="agiqa3k", title="AGIQA-3k", model="other"), resamples=0)
    ablation = build("table4", [there, here])
    groups = list(dict.fromkeys(head.group for head in ablation.columns if head.group))
    assert groups == ["AGIQA-3k, other", "LIVE Challenge, fake", "LIVE Challenge, paper", "AGIQA-3k, paper"]
    models = build("table2", [there, here])
    assert column(models, "Model")[-2:] == ["other", "fake"]
    assert column(models, "LIVE Challenge, Q-Debias SRCC")[-2] == "-"
    assert len(build("table1", [there, here]).rows) == 12 + 3 + 2 * 5 + len(AFTER)


def test_every_form_can_be_written(gathered: tuple[Evidence, Path]) -> None:
    table = build("table3", [Agreements(gathered[0], resamples=0)])
    for form in ("markdown", "csv", "latex", "html"):
        assert "Q-Debias" in render(table, form)


def test_every_needed_method_exists() -> None:
    for table in TABLES:
        names = recipes_of(table, "siqad")
        assert names[0] == "paper"
        assert set(names) <= set(RECIPES)


def test_numbers_without_resamples_have_no_interval(gathered: tuple[Evidence, Path]) -> None:
    found = Agreements(gathered[0], resamples=0).of("paper")
    assert found.srcc
    assert found.plcc
    assert found.srcc == Number(value=found.srcc.value)


def test_a_pool_that_is_too_small_stops_the_table(dataset: Dataset, tmp_path: Path) -> None:
    backend = FakeBackend()
    alone = replace(dataset, items=tuple(item for item in dataset.items if item.scene == "a"))
    with (
        open_run(tmp_path / "run", backend.fingerprint, model="fake") as run,
        pytest.raises(SettingError, match="give a folder of other images"),
    ):
        ModelRun(run=run, backend=backend).score_dataset(alone, ("paper", "mismatched"), model="fake")
