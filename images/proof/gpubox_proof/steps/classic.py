"""scikit-learn, XGBoost, LightGBM, spaCy."""

from __future__ import annotations

import json
import warnings
from typing import Any

from .. import gpu
from ..failure import Wrong
from ..step import Seen
from . import must_fall


def _two_moons() -> tuple[Any, Any]:
    """Points in two half circles that no straight line parts, and which of the two each is in."""
    import numpy as np

    random = np.random.default_rng(0)
    angle = random.uniform(0, np.pi, 400)
    which = np.arange(400) % 2
    x = np.where(which, 1 - np.cos(angle), np.cos(angle))
    y = np.where(which, 0.5 - np.sin(angle), np.sin(angle))
    return np.column_stack([x, y]) + random.normal(scale=0.1, size=(400, 2)), which


def _must_tell_apart(name: str, right: float) -> None:
    if right < 0.9:
        raise Wrong(f"{name} puts only {right:.0%} of the test points on the right side.")


def scikit_learn() -> Seen:
    """Train a forest and a pipeline on one half of the points and judge the other."""
    import sklearn
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    points, which = _two_moons()
    forest = RandomForestClassifier(30, random_state=0, n_jobs=2)
    for model in (forest, make_pipeline(StandardScaler(), SVC())):
        right = model.fit(points[:200], which[:200]).score(points[200:], which[200:])
        _must_tell_apart(f"scikit-learn's {type(model).__name__}", right)
    return Seen(sklearn.__version__)


def xgboost() -> Seen:
    """Boost trees until the loss falls, on the GPU where this build has CUDA and there is one."""
    import xgboost as xgb

    told = xgb.build_info()
    cuda = tuple(told["CUDA_VERSION"][:2]) if told.get("USE_CUDA") else None
    device = "cuda" if cuda and gpu.look().has_gpu else "cpu"
    points, which = _two_moons()
    data, losses = xgb.DMatrix(points, which), {}
    settings = {"objective": "binary:logistic", "device": device, "max_depth": 3, "nthread": 2}
    trees = xgb.train(settings, data, 15, evals=[(data, "train")], evals_result=losses, verbose_eval=False)
    must_fall(losses["train"]["logloss"])
    # With no GPU that it can use, XGBoost goes on with the CPU and tells it here alone.
    used = json.loads(trees.save_config())["learner"]["generic_param"]["device"]
    build = gpu.Build("XGBoost", sees=int(used.startswith("cuda")), cuda=cuda)
    return Seen(xgb.__version__, used, build=build)


def lightgbm() -> Seen:
    """Boost trees until the loss falls."""
    import lightgbm as lgb

    points, which = _two_moons()
    losses: dict[str, dict[str, list[float]]] = {}
    data = lgb.Dataset(points, which)
    settings = {"objective": "binary", "verbose": -1, "learning_rate": 0.3, "num_threads": 2}
    record = lgb.record_evaluation(losses)
    lgb.train(settings, data, 20, valid_sets=[data], valid_names=["train"], callbacks=[record])
    must_fall(losses["train"]["binary_logloss"])
    return Seen(lgb.__version__)


def spacy() -> Seen:
    """Match a rule in a text, and train a classifier of sentences until its loss falls."""
    import spacy
    from spacy.matcher import Matcher
    from spacy.training import Example

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        language = spacy.blank("en")
    matcher = Matcher(language.vocab)
    matcher.add("GPU", [[{"LIKE_NUM": True}, {"LOWER": {"IN": ["gpu", "gpus"]}}]])
    text = language("The lab has eight GPUs, and one GPU is mine.")
    if (found := [text[begin:end].text for _, begin, end in matcher(text)]) != ["eight GPUs", "one GPU"]:
        raise Wrong(f"spaCy's matcher found {found}.")
    judge = language.add_pipe("textcat")
    for label in ("good", "bad"):
        judge.add_label(label)  # type: ignore[attr-defined]
    words = {"good": ("great fast box", "lovely and fast"), "bad": ("slow broken box", "ugly and slow")}
    examples = [
        Example.from_dict(language.make_doc(sentence), {"cats": {each: each == label for each in words}})
        for label, sentences in words.items()
        for sentence in sentences
    ]
    optimizer = language.initialize(lambda: examples)
    losses = [language.update(examples, sgd=optimizer)["textcat"] for _ in range(20)]
    must_fall(losses)
    if language("fast and great").cats["good"] < 0.5:
        raise Wrong("spaCy's trained classifier finds 'fast and great' bad.")
    return Seen(spacy.__version__)
