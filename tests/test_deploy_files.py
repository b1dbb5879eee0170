"""What docs/deploy names exists: metrics, flags, settings, paths, headings; checkers agree where there are any."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from marquee.serve import serve
from ranking_service.server.beside import RESTARTS
from ranking_service.server.metrics import ServerMetrics
from ranking_service.server.tokens import TokenStore
from ranking_service.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "docs/deploy"
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
UNIT = (DEPLOY / "marquee.service").read_text()
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [one for one in MANIFESTS if one["kind"] == kind]
    return found


def samples() -> set[str]:
    """Every name under which a metric of the server can be asked for."""
    kinds = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    families = list(ServerMetrics(frozenset()).registry.collect())
    return {f"{one.name}{ending}" for one in families for ending in kinds[one.type]} | {f"{RESTARTS}_total"}


def expressions() -> Iterator[tuple[str, str]]:
    """Where an expression stands, and the expression."""
    for panel in DASHBOARD["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    yield from (("annotations", one["expr"]) for one in DASHBOARD["annotations"]["list"])
    yield from (("templating", str(one["query"])) for one in DASHBOARD["templating"]["list"])


@pytest.mark.parametrize(("place", "expression"), tuple(expressions()))
def test_every_metric_asked_for_exists_with_its_labels(place: str, expression: str) -> None:
    named = set(re.findall(r"marquee_\w+", expression))
    assert named <= samples(), place
    assert expression.count("(") == expression.count(")"), place
    labels = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(", ")}
    labels |= set(re.findall(r"[{,](\w+)(?:=~|!=|=)\"", expression))
    metrics = vars(ServerMetrics(frozenset())).values()
    known = {label for metric in metrics for label in getattr(metric, "_labelnames", ())}
    assert labels <= known | {"le", "instance"}, place


def test_the_dashboard_can_be_provisioned_on_any_data_source() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = {json.dumps(panel["datasource"]) for panel in panels if panel["type"] != "row"}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "model"]
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", OPERATIONS, re.M)}
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        page, _, heading = rule["annotations"]["action"].partition("#")
        assert (page, heading in headings) == ("docs/operations.md", True), rule["alert"]
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH")
def test_promtool_takes_the_alerts() -> None:
    subprocess.run(["promtool", "check", "rules", str(DEPLOY / "prometheus-alerts.yaml")], check=True)


def flags(words: list[str]) -> None:
    """Fails for an option that `marquee serve` does not have."""
    assert words[0] == "serve"
    known = {name for parameter in serve.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words[1:] if word.startswith("--")} <= known


def test_the_settings_are_settings_and_the_same_everywhere(tmp_path: Path) -> None:
    in_the_map = manifest("ConfigMap")["data"]["service.toml"]
    (tmp_path / "service.toml").write_text(in_the_map)
    assert read_settings(tmp_path / "service.toml") == read_settings(DEPLOY / "service.toml")


def test_the_manifests_fit_together() -> None:
    deployment = manifest("Deployment")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    settings = read_settings(DEPLOY / "service.toml")
    flags(container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 50_051, "http": settings.http.port}
    assert f"--port={ports['grpc']}" in container["args"]
    label = deployment["selector"]["matchLabels"]
    assert deployment["template"]["metadata"]["labels"] == label
    assert manifest("Service")["spec"]["selector"] == label
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == label
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == label
    assert manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["kind"] == "Deployment"
    assert manifest("HorizontalPodAutoscaler")["spec"]["minReplicas"] == deployment["replicas"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert f"--settings={mounts['settings']}" in container["args"]
    assert settings.security.tokens_file.startswith(f"{mounts['secrets']}/")
    assert f"MARQUEE_HOME={mounts['home']}" in CONTAINERFILE
    assert {mount["path"] for mount in probes(container)} == {"/readyz", "/livez"}
    slept = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= slept + settings.stop_seconds + 12


def probes(container: dict[str, Any]) -> list[dict[str, Any]]:
    return [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]


def test_the_pod_has_no_more_rights_than_it_needs() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert f"USER {pod['securityContext']['runAsUser']}" in CONTAINERFILE


def test_the_secret_is_of_the_documented_shapes(tmp_path: Path) -> None:
    secret = manifest("Secret")["stringData"]
    tokens = tmp_path / "tokens"
    tokens.write_text(secret["tokens"])
    store = TokenStore.read(str(tokens), {})
    assert store is not None
    assert store.name_of("replace-with-the-output-of-openssl-rand-hex-32") == "homepage"
    assert secret["redis-url"].startswith("redis://marquee-serving:")


@pytest.mark.skipif(shutil.which("kubeconform") is None, reason="no kubeconform on PATH")
def test_kubeconform_takes_the_manifests() -> None:
    subprocess.run(["kubeconform", "-strict", str(DEPLOY / "kubernetes.yaml")], check=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")
def test_kubectl_reads_the_manifests(tmp_path: Path) -> None:
    """Without a cluster it knows their shape only as far as kustomize does."""
    shutil.copy(DEPLOY / "kubernetes.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [kubernetes.yaml]\nnamePrefix: staging-\n")
    built = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=True
    )
    named = {one["kind"]: one["metadata"]["name"] for one in yaml.safe_load_all(built.stdout)}
    assert named["Deployment"] == "staging-marquee-ranking"
    assert len(named) == len(MANIFESTS)


def test_the_container_is_built_of_what_is_there() -> None:
    copied = [
        line.split()[1:-1]
        for line in CONTAINERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    assert all((ROOT / name).exists() for names in copied for name in names)
    packages = re.search(r"^include = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert packages is not None
    assert {name.rstrip("*") for name in json.loads(packages[1])} <= {
        name for names in copied for name in names
    }
    (command,) = re.findall(r"^CMD (\[.*\])$", CONTAINERFILE, re.M)
    flags(json.loads(command))
    assert "--require-hashes" in CONTAINERFILE
    user = CONTAINERFILE.index("\nUSER ")
    assert user < CONTAINERFILE.index("\nENTRYPOINT ")


def test_the_unit_starts_the_server_as_it_is() -> None:
    (start,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.M)
    program, *words = start.split()
    assert program.endswith("/bin/marquee")
    flags(words)
    settings = read_settings(DEPLOY / "service.toml")
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.M)
    assert int(patience) >= settings.stop_seconds + 12


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "marquee.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT, flags=re.M))
    told = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "marquee.service" not in told.stderr


def test_every_setting_the_operators_page_names_exists(tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", OPERATIONS, re.S)):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        read_settings(file)
    named = set(re.findall(r"`(marquee_\w+?)`", OPERATIONS))
    endings = {name.rsplit("_", 1)[0] for name in samples() if name.endswith(("_bucket", "_total"))}
    assert named <= samples() | endings
    assert len(named) > 20
