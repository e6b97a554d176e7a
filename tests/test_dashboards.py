"""Alert rules and Grafana dashboards: they are well-formed, and ask only for metrics and labels that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from monitoring import gauges
from monitoring.retrainings import Outcome
from pipeline.watch import LoopSettings
from serving import metrics

MONITORING = Path(__file__).parents[1] / "monitoring"
RULES = MONITORING / "alerts" / "rules.yaml"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
DOCS = MONITORING.parent / "docs" / "monitoring.md"

ALWAYS = {"job", "instance"}  # labels that Prometheus adds itself
SAMPLES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


def labels_by_name() -> dict[str, set[str]]:
    """Every metric that can be asked for, with its labels, as the registries of service and watch have them."""
    found: dict[str, set[str]] = {"up": set()}
    for registry in (metrics.REGISTRY, gauges.REGISTRY):
        for collector in list(registry._collector_to_names):
            [family] = collector.describe()
            for suffix in SAMPLES[family.type]:
                found[family.name + suffix] = {*collector._labelnames, *(["le"] if suffix == "_bucket" else [])}
    models: list[Metric] = list(metrics.Models().collect())
    return found | {family.name: set(family._labelnames) for family in models}


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[tuple[str, str]]:
    """Where each query stands, and the query."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found += [(f"{path.name}: {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


@pytest.mark.parametrize(("where", "expr"), expressions())
def test_a_query_asks_for_what_there_is(where, expr):
    known = labels_by_name()

    selected = re.findall(r"\b(inkloop_\w+|up)\b(?:\{([^}]*)\})?", expr)

    assert selected, where
    for name, matchers in selected:
        assert name in known, f"{where}: no metric {name}"
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert asked <= known[name] | ALWAYS, f"{where}: {name} has no label {asked - known[name]}"
    grouped = {each.strip() for by in re.findall(r"\bby \(([^)]*)\)", expr) for each in by.split(",")}
    assert grouped <= set().union(*(known[name] for name, _ in selected)), where
    assert expr.count("(") == expr.count(")")


def test_a_metric_that_is_not_there_would_be_noticed():
    assert "inkloop_requests_total" in labels_by_name()
    assert labels_by_name()["inkloop_request_seconds_bucket"] == {"path", "le"}
    assert "inkloop_requests" not in labels_by_name()


def test_every_metric_of_the_service_and_the_watch_is_on_a_dashboard():
    shown = " ".join(expr for _, expr in expressions())
    unseen = {name for name in labels_by_name() if name not in shown} - {
        "inkloop_request_seconds_count",
        "inkloop_request_seconds_sum",
    }
    assert unseen == set()


def test_a_rule_says_how_bad_it_is_and_what_it_means():
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description"} == set(rule["annotations"])
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
        asked = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
        assert all(label in rule["expr"] or label in ALWAYS for label in asked), rule["alert"]


def test_a_failed_retraining_is_called_as_the_rules_call_it():
    assert "failed" in get_args(Outcome)


def test_every_alert_is_explained_in_the_docs():
    text = DOCS.read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in text] == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_imported_anywhere(path):
    board = json.loads(path.read_text())

    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource"]  # no data source of one's own
    for panel in panels:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24


def test_prometheus_itself_takes_the_files():
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    for check, file in (("rules", RULES), ("config", RULES.with_name("prometheus.yaml"))):
        found = subprocess.run([promtool, "check", check, str(file)], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr


# For each alert, what Prometheus reads minute by minute, beside what it reads when all is well.
SAMPLES_A_MINUTE: dict[str, dict[str, str]] = {
    "all is well": {},
    "InkloopDown": {'up{job="inkloop"}': "0x40"},
    "InkloopErrors": {'inkloop_requests_total{path="/predict",status="500"}': "0+5x40"},
    "InkloopSlow": {'inkloop_request_seconds_bucket{path="/predict",le="0.1"}': "0+97x40"},
    "InkloopCaptureDropping": {'inkloop_not_captured_total{reason="disk"}': "_x25 7x15"},
    "InkloopCaptureWaiting": {"inkloop_capture_waiting_bytes": "1e9x40"},
    "InkloopReloadFailing": {'inkloop_model_reload_failures_total{of="champion"}': "0+1x40"},
    "InkloopDrift": {'inkloop_drift_score{version="a"}': "0.2x20 1x20"},
    "InkloopQualityBelowFloor": {'inkloop_live_accuracy{version="a"}': "0.9x40"},
    "InkloopRetrainingFailed": {'inkloop_retrainings_total{outcome="failed"}': "_x25 1x15"},
    "InkloopMonitorStalled": {"inkloop_watch_last_run_timestamp_seconds": "_x40"},
}
WELL = {
    'up{job="inkloop"}': "1x40",
    'inkloop_requests_total{path="/predict",status="200"}': "0+100x40",
    'inkloop_request_seconds_bucket{path="/predict",le="0.1"}': "0+100x40",
    'inkloop_request_seconds_bucket{path="/predict",le="0.25"}': "0+100x40",
    'inkloop_request_seconds_bucket{path="/predict",le="+Inf"}': "0+100x40",
    'inkloop_not_captured_total{reason="sampling"}': "0+100x40",
    "inkloop_capture_waiting_bytes": "1000x40",
    'inkloop_drift_score{version="a"}': "0.2x40",
    'inkloop_live_accuracy{version="a"}': "0.99x40",
    "inkloop_watch_last_run_timestamp_seconds": "0+60x40",
}


@pytest.mark.parametrize("alert", SAMPLES_A_MINUTE)
def test_an_alert_fires_for_its_cause_alone(alert, tmp_path):
    """Prometheus' own evaluation of the rules over half an hour of samples."""
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    series = [{"series": name, "values": values} for name, values in (WELL | SAMPLES_A_MINUTE[alert]).items()]
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    expected = [] if alert == "all is well" else [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
    asked = {"expr": firing, "eval_time": "30m", "exp_samples": expected}
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))

    found = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_has_its_cause_above():
    assert {rule["alert"] for rule in rules()} == set(SAMPLES_A_MINUTE) - {"all is well"}


def test_the_examples_name_the_files_and_receivers_that_there_are():
    config = yaml.safe_load(RULES.with_name("prometheus.yaml").read_text())
    assert all((RULES.parent / name).is_file() for name in config["rule_files"])
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets == {
        "inkloop": ["127.0.0.1:3000"],
        "inkloop-watch": [f"127.0.0.1:{LoopSettings().metrics_port}"],
    }
    alertmanager = yaml.safe_load(RULES.with_name("alertmanager.yaml").read_text())
    named = {alertmanager["route"]["receiver"], *(route["receiver"] for route in alertmanager["route"]["routes"])}
    assert named == {each["name"] for each in alertmanager["receivers"]}
