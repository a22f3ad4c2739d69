"""Alerts and dashboard: they fit Prometheus, and the metrics that the service has."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fixtures.parts import is_missing

REPOSITORY = Path(__file__).parents[1]
PROMETHEUS = REPOSITORY / "docs/prometheus"
ALERTS = PROMETHEUS / "alerts.yml"

GPU = {"gpu", "model"}
METRICS = {
    "gpubox_gpus": {"model", "state"},
    "gpubox_machines": {"machine", "kind"},
    "gpubox_leases_held": {"machine"},
    "gpubox_tickets_waiting": {"machine"},
    "gpubox_wait_seconds": {"machine"},
    "gpubox_spawn_phase_seconds": {"phase"},
    "gpubox_gpu_idle_seconds": GPU,
    "gpubox_gpu_leased": GPU,
    "gpubox_gpu_lost": GPU,
    "gpubox_gpu_utilisation_ratio": GPU,
    "gpubox_gpu_hours_total": {"machine"},
    "gpubox_idle_gpu_hours_total": {"machine"},
    "gpubox_cost_total": {"machine"},
    "gpubox_budget_used_ratio": {"rule", "who"},
    "gpubox_build_info": {"version"},
}
"""The service's metrics and their labels: what spawner/gpubox/service/metrics.py tells."""
HISTOGRAMS = {"gpubox_wait_seconds", "gpubox_spawn_phase_seconds"}
OF_EVERY_SERIES = {"job", "instance"}


@pytest.fixture(scope="module")
def promtool():
    """Prometheus's own checker."""
    found = shutil.which("promtool")
    if found is None:
        is_missing("promtool is not installed (make .venv/.promtool)")

    def run(*arguments):
        return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=60)

    return run


def dashboard():
    return json.loads((PROMETHEUS / "grafana-gpubox.json").read_text())


def queries():
    """(where, expression) of each panel, Grafana's variables filled in as it would."""
    fill = {"$__rate_interval": "5m", "$machine": ".*", "$model": ".*"}
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in fill.items():
                expression = expression.replace(variable, value)
            yield panel["title"], expression


def alert_expressions():
    """The expressions of alerts.yml: each block from ``expr:`` to the next key."""
    text = ALERTS.read_text()
    return re.findall(r"expr: (?:>-\n)?(.*?)\n        (?:for|labels):", text, re.DOTALL)


def metrics_in(expression):
    """(name, labels that it is asked for by) of gpubox's metrics in an expression."""
    for name, selector in re.findall(r"\b(gpubox_\w+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or ""))


def labels_of(name):
    """The metric's labels; of a histogram, what Prometheus makes of it. Raises KeyError for none of ours."""
    base, _, kind = name.rpartition("_")
    if base in HISTOGRAMS and kind in ("bucket", "sum", "count"):
        return METRICS[base] | ({"le"} if kind == "bucket" else set())
    if name in HISTOGRAMS:
        raise KeyError(f"{name} is a histogram: ask for {name}_bucket")
    return METRICS[name]


def test_these_are_the_metrics_that_the_service_tells():
    source = (REPOSITORY / "spawner/gpubox/service/metrics.py").read_text()
    # Its library adds the ends of names: of counters, and of what is not a number.
    told = {name.removesuffix("_total").removesuffix("_info") for name in METRICS}
    assert set(re.findall(r'"(gpubox_\w+)"', source)) == told


def test_prometheus_takes_the_rules(promtool):
    done = promtool("check", "rules", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_comes_when_it_should_and_else_not(promtool):
    done = promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried():
    names = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    tried = set(re.findall(r"alertname: (\w+)", (PROMETHEUS / "alerts_test.yml").read_text()))
    assert names == tried
    assert len(alert_expressions()) == len(names)


def test_prometheus_takes_every_query_of_the_dashboard(promtool, tmp_path):
    records = [{"record": f"query{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    rules = tmp_path / "queries.json"  # JSON is YAML
    rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}))
    done = promtool("check", "rules", str(rules))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(records)} rules found" in done.stdout


@pytest.mark.parametrize("source", ["alerts", "tests of alerts", "dashboard", "variables"])
def test_only_metrics_that_there_are_are_asked_for_by_labels_that_they_have(source):
    expressions = {
        "alerts": alert_expressions(),
        "tests of alerts": re.findall(r"series: (.*)", (PROMETHEUS / "alerts_test.yml").read_text()),
        "dashboard": [query for _, query in queries()],
        "variables": [one["definition"] for one in dashboard()["templating"]["list"] if "definition" in one],
    }[source]
    found = [found for expression in expressions for found in metrics_in(expression)]
    assert found
    for name, labels in found:
        assert labels <= labels_of(name) | OF_EVERY_SERIES, name


def test_words_of_alerts_and_legends_name_labels_that_the_series_has():
    for alert in ALERTS.read_text().split("- alert: ")[1:]:
        (expression,) = re.findall(r"expr: (?:>-\n)?(.*?)\n        (?:for|labels):", alert, re.DOTALL)
        asked = set(re.findall(r"\$labels\.(\w+)", alert))
        for name, _ in metrics_in(expression):
            assert asked <= labels_of(name) | OF_EVERY_SERIES, alert
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            kept = (
                set(re.split(r",\s*", grouped[0]))
                if grouped
                else labels_of(next(metrics_in(target["expr"]))[0])
            )
            assert shown <= kept, panel["title"]


def test_every_metric_of_use_is_in_the_dashboard():
    shown = {name.removesuffix("_bucket") for _, query in queries() for name, _ in metrics_in(query)}
    assert METRICS.keys() - shown == {"gpubox_build_info"}


def test_the_admin_guide_lists_every_metric_with_its_labels():
    guide = (REPOSITORY / "docs/admin-guide.md").read_text()
    told = {}
    for names, labels in re.findall(r"^\| (`gpubox_[^|]*) \| ([^|]*) \|", guide, re.MULTILINE):
        told |= {key: set(re.findall(r"`(\w+)`", labels)) for key in re.findall(r"`(\w+)`", names)}
    assert told == METRICS


def test_the_dashboard_asks_whichever_prometheus_was_chosen():
    board = dashboard()
    assert [one["name"] for one in board["templating"]["list"] if one["type"] == "datasource"] == [
        "datasource"
    ]
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert panel["title"] and panel["description"]


def test_panels_have_a_place_each():
    board = dashboard()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
