"""The schedule examples of the skew check: what they run exists, and exit codes become what they should."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from skew_reports import defective_night

from marquee.skew import skew
from skew_checks.formats.prometheus_text import prometheus_text
from skew_checks.result.parts import Outcome

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "docs/deploy"
UNIT, TIMER = (DEPLOY / f"marquee-skew.{kind}" for kind in ("service", "timer"))
CRON: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes-skew.yaml").read_text())
SERVER: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
WORKFLOW: dict[Any, Any] = yaml.safe_load((DEPLOY / "github-actions-skew.yaml").read_text())
JOB = CRON["spec"]["jobTemplate"]["spec"]
POD = JOB["template"]["spec"]
(CONTAINER,) = POD["containers"]
(SCRIPT,) = CONTAINER["args"]
CHECK = next(step["run"] for step in WORKFLOW["jobs"]["skew"]["steps"] if step.get("name") == "Skew check")


ALERTS = yaml.safe_load((DEPLOY / "prometheus-skew-alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
GUIDE = (ROOT / "docs/reading-the-skew-report.md").read_text()


def shell_of_the_unit(name: str = "ExecStart") -> str:
    """What the shell gets, systemd's own escapes undone."""
    (line,) = re.findall(rf"^{name}=-?/bin/sh -c '(.*)'$", UNIT.read_text(), re.M)
    return line.replace("$$", "$").replace("%%", "%")


@pytest.mark.parametrize(
    "script", [shell_of_the_unit(), SCRIPT, CHECK], ids=["systemd", "kubernetes", "actions"]
)
def test_the_options_named_are_options_of_the_verb(script: str) -> None:
    (options,) = re.findall(r"marquee skew check (.*)", script)
    verb = skew.get_command(None, "check")  # type: ignore[arg-type]
    assert verb is not None
    known = {name for parameter in verb.params for name in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z-]+", re.sub(r"\$\([^)]*\)", "", options)))
    assert named <= known
    assert "--date" in named


def run(script: str, folder: Path, *, code: int, **variables: str) -> tuple[int, str]:
    """The script's exit code and what it asked of `marquee`, which answers with `code`."""
    program = folder / ".venv/bin/marquee"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\nexit {code}\n')
    program.chmod(0o755)
    there = {"PATH": f"{program.parent}:{os.environ['PATH']}", **variables}
    done = subprocess.run(["/bin/sh", "-ec", script], cwd=folder, env=there, capture_output=True, check=False)
    return done.returncode, (folder / "asked").read_text()


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("script", [SCRIPT, CHECK], ids=["kubernetes", "actions"])
def test_a_warning_is_no_failure_and_every_other_code_stays(
    script: str, outcome: Outcome, tmp_path: Path
) -> None:
    code, asked = run(script, tmp_path, code=int(outcome), DATE="")
    assert code == (0 if outcome is Outcome.WARN else int(outcome))
    assert re.match(r"skew check --date \d{4}-\d\d-\d\d( --reports reports)?\n$", asked)


def test_a_day_can_be_asked_for_in_the_workflow(tmp_path: Path) -> None:
    assert WORKFLOW[True]["workflow_dispatch"]["inputs"].keys() == {"date"}, "YAML reads `on` as true"
    assert run(CHECK, tmp_path, code=0, DATE="2026-03-14")[1].startswith("skew check --date 2026-03-14 ")


def test_the_unit_asks_for_yesterday_and_hands_on_its_metrics(tmp_path: Path) -> None:
    script = shell_of_the_unit().replace("/opt/marquee/.venv", str(tmp_path / ".venv"))
    code, asked = run(script, tmp_path, code=2)
    assert code == 2
    day = asked.split()[-1]
    for folder in ("reports", "metrics"):
        (tmp_path / folder).mkdir()
    (tmp_path / f"reports/skew-{day}.prom").write_text("marquee_skew_exit_code 2.0\n")
    subprocess.run(["/bin/sh", "-ec", shell_of_the_unit("ExecStopPost")], cwd=tmp_path, check=True)
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["marquee-skew.prom"]
    assert re.search(rf"^SuccessExitStatus={int(Outcome.WARN)}$", UNIT.read_text(), re.M)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH")
def test_systemd_takes_unit_and_timer(tmp_path: Path) -> None:
    for source in (UNIT, TIMER):
        shutil.copy(source, tmp_path)
    told = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / TIMER.name), str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "marquee-skew" not in told.stderr


def test_the_job_is_not_repeated_for_a_verdict() -> None:
    (rule,) = JOB["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [int(Outcome.FAIL), int(Outcome.NOT_ENOUGH)]
    assert rule["onExitCodes"]["containerName"] == CONTAINER["name"]
    assert POD["restartPolicy"] == "Never", "asked for by podFailurePolicy"
    assert JOB["backoffLimit"] > 0, "what is no verdict is tried again"


def test_the_job_runs_beside_the_server() -> None:
    (server,) = (one for one in SERVER if one["kind"] == "Deployment")
    (serving,) = server["spec"]["template"]["spec"]["containers"]
    assert CONTAINER["image"] == serving["image"]
    assert CONTAINER["securityContext"] == serving["securityContext"]
    assert POD["securityContext"] == server["spec"]["template"]["spec"]["securityContext"]
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in POD["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {"marquee-home"}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {
        volume["name"] for volume in POD["volumes"]
    }
    assert [variable for variable in CONTAINER["env"] if variable not in serving["env"]] == []


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")
def test_kubectl_reads_the_job(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "kubernetes-skew.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [kubernetes-skew.yaml]\nnamePrefix: staging-\n")
    built = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert yaml.safe_load(built.stdout)["metadata"]["name"] == "staging-marquee-skew"


@pytest.mark.skipif(shutil.which("kubeconform") is None, reason="no kubeconform on PATH")
def test_kubeconform_takes_the_job() -> None:
    subprocess.run(["kubeconform", "-strict", str(DEPLOY / "kubernetes-skew.yaml")], check=True)


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="no actionlint on PATH")
def test_actionlint_takes_the_workflow(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "github-actions-skew.yaml", tmp_path)
    subprocess.run(["actionlint", str(tmp_path / "github-actions-skew.yaml")], check=True)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_metrics_that_are_written_and_says_where_to_read_on(rule: dict[str, Any]) -> None:
    families = list(text_string_to_metric_families(prometheus_text(defective_night())))
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    named = set(re.findall(r"marquee_\w+", rule["expr"]))
    assert named
    assert named <= {family.name for family in families}
    assert set(re.findall(r"by \((\w+)\)|\$labels\.(\w+)", str(rule))) <= {(one, "") for one in labels} | {
        ("", one) for one in labels
    }
    page, _, heading = rule["annotations"]["action"].partition("#")
    headings = {one.lower().replace(" ", "-") for one in re.findall(r"^## (.*)$", GUIDE, re.M)}
    assert (page, heading in headings) == ("docs/reading-the-skew-report.md", True)
    assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH")
def test_promtool_takes_the_alerts() -> None:
    subprocess.run(["promtool", "check", "rules", str(DEPLOY / "prometheus-skew-alerts.yaml")], check=True)


def test_all_three_run_at_the_same_hour_of_utc() -> None:
    (calendar,) = re.findall(r"^OnCalendar=(.*)$", TIMER.read_text(), re.M)
    assert calendar == "*-*-* 03:30:00 UTC"
    assert (CRON["spec"]["schedule"], CRON["spec"]["timeZone"]) == ("30 3 * * *", "Etc/UTC")
    assert WORKFLOW[True]["schedule"] == [{"cron": "30 3 * * *"}]
