"""How well a fit to few labels agrees with the rest of a labelled set, over random choices of the few.

    python benchmarks/fit.py biq2021 --root data/biq2021 --subset sample --run runs/nano

Prints for 50, 100 and 200 labels the mean SRCC on all other images over 20 random choices and the lowest, how often
`qdebias fit` would have refused, the lowest gain over the zero-shot score where it would not, and the mean SRCC of the
zero-shot score and of the baseline `sharpness` on the same images.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from qdebias import presets
from qdebias.backends.base import TellsStates
from qdebias.backends.baselines import BASELINES
from qdebias.backends.load import load_backend
from qdebias.evaluation.fitting import METHODS, ask
from qdebias.inputs.datasets import load_dataset
from qdebias.methods.fitted import features_of
from qdebias.metrics.ridge import Ridge
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredBackend


def main() -> None:
    """Ask for the features once, then fit each choice."""
    chosen = _arguments()
    data = load_dataset(chosen.dataset, root=chosen.root, subset=chosen.subset)
    backend, recipes = load_backend(chosen.model), list(map(presets.get, chosen.methods.split(",")))
    features = features_of(recipes, state=isinstance(backend, TellsStates))
    scorer = Scorer(backend=backend, method=features)
    with open_run(chosen.run, scorer.fingerprint, model=chosen.model) as run:
        scorer.backend = StoredBackend(backend, run)
        sample = ask(data, scorer, features)
    baseline = Scorer(backend=BASELINES["sharpness"], method="vanilla").score_many(sample.dataset.paths)
    others = {
        recipes[0].name: np.array([score.log_odds for score in sample.zero_shot]),
        "sharpness": np.array([score.log_odds for score in baseline]),
    }
    print(f"{data.summary}; {chosen.model}, {len(sample.quality):,} images, {sum(sample.blocks):,} features\n")
    heads = ("labels", "fit, mean", "fit, lowest", "refused", "lowest gain", *(f"{name}, mean" for name in others))
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    ridge = Ridge(blocks=sample.blocks, free=1)
    for count in map(int, chosen.labels.split(",")):
        fitted, gains, rest = [], [], {name: [] for name in others}
        for seed in range(chosen.choices):
            order = np.random.default_rng(seed).permutation(len(sample.quality))
            few, out = order[:count], order[count:]
            learned = ridge.learn(sample.features[few], sample.quality[few], sample.groups[few])
            fitted.append(spearmanr(learned(sample.features[out]), sample.quality[out]).statistic)
            for name, scores in others.items():
                rest[name].append(spearmanr(scores[out], sample.quality[out]).statistic)
            left_out = ridge.left_out(sample.features[few], sample.quality[few], sample.groups[few])
            promised, zero_shot = (
                spearmanr(one, sample.quality[few]).statistic for one in (left_out, others[recipes[0].name][few])
            )
            if promised > zero_shot:
                gains.append(fitted[-1] - rest[recipes[0].name][-1])
        means = " | ".join(f"{np.mean(found):.3f}" for found in rest.values())
        refused = f"{chosen.choices - len(gains)} of {chosen.choices} | {min(gains, default=float('nan')):+.3f}"
        print(f"| {count} | {np.mean(fitted):.3f} | {min(fitted):.3f} | {refused} | {means} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--subset")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--labels", default="50,100,200")
    parser.add_argument("--choices", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
