"""deploy/kubernetes: every object fits its schema (that of Kubernetes, or for kinds that are not its own one in
`schemas`), every pod is as confined as the namespace asks, and
what refers to something finds it. The example of an installation is rendered where `kubectl` is installed.
"""

import json
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from libs.common.db.pool import Database
from libs.common.settings import load_settings
from tests.e2e.installation import SERVICES
from tests.servers import ROOT

BASE, PRODUCTION = ROOT / "deploy" / "kubernetes" / "base", ROOT / "deploy" / "kubernetes" / "production"
SCHEMAS = Path(__file__).parent / "schemas"
FOREIGN = {"Kustomization", "ScaledObject", "TriggerAuthentication"}
"""Kinds whose schemas are not Kubernetes's own: ours are in `SCHEMAS`."""

MISTAKES: tuple[tuple[str, tuple[str | int, ...], Any], ...] = (
    ("ScaledObject", ("spec", "maxReplicas"), 20),
    ("ScaledObject", ("spec", "maxReplicaCount"), "20"),
    ("ScaledObject", ("spec", "scaleTargetRef"), {"kind": "Deployment"}),
    ("ScaledObject", ("spec", "fallback", "behavior"), "keep"),
    ("ScaledObject", ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaledown"), {}),
    ("ScaledObject", ("spec", "triggers", 0, "type"), "postgres"),
    ("ScaledObject", ("spec", "triggers", 0, "metadata", "targetQueryValue"), 200),
    ("ScaledObject", ("spec", "triggers", 0, "metadata", "targetValue"), "200"),
    ("TriggerAuthentication", ("spec", "secretTargetRef", 0), {"parameter": "connection", "name": "s"}),
    ("TriggerAuthentication", ("spec", "secretTargetRefs"), []),
    ("TriggerAuthentication", ("apiVersion",), "keda.sh/v1"),
    ("Kustomization", ("resource",), ["namespace.yaml"]),
    ("Kustomization", ("configMapGenerator", 0, "env"), "settings.env"),
)
"""What somebody might write: the kind, where, what."""


@cache
def objects(folder: Path) -> list[dict[str, Any]]:
    return [one for file in sorted(folder.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in [*objects(BASE), *objects(PRODUCTION)] if one["kind"] == kind}


def fit(*files: Path) -> None:
    """Fails unless each object in the files fits its schema, and nothing but foreign kinds has none."""
    program = Path(sys.executable).parent / "kubernetes-validate"
    checker = [sys.executable, program, "--strict", "--kubernetes-version", "1.34", *files]
    checked = subprocess.run(checker, capture_output=True, text=True, check=False)
    lines = (checked.stdout + checked.stderr).splitlines()
    assert lines
    assert [
        line for line in lines if " passed for " not in line and not any(f"kind {kind} " in line for kind in FOREIGN)
    ] == []


def faults_of(one: dict[str, Any]) -> list[str]:
    """What an object of a foreign kind has that its schema refuses."""
    schema = json.loads((SCHEMAS / f"{one['kind'].lower()}.json").read_text())
    return [f"{error.instance_path}: {error.message}" for error in jsonschema_rs.validator_for(schema).iter_errors(one)]


def foreign() -> list[dict[str, Any]]:
    return [one for one in [*objects(BASE), *objects(PRODUCTION)] if one["kind"] in FOREIGN]


def pods() -> dict[str, Any]:
    return {
        name: one["spec"]["template"]["spec"] for kind in ("Deployment", "Job") for name, one in of_kind(kind).items()
    }


def test_every_object_fits_its_schema() -> None:
    fit(*BASE.glob("*.yaml"), *PRODUCTION.glob("*.yaml"))
    assert {one["kind"] for one in foreign()} == FOREIGN
    assert {one["kind"]: faults for one in foreign() if (faults := faults_of(one))} == {}


@pytest.mark.parametrize(("kind", "place", "value"), MISTAKES)
def test_what_a_foreign_kind_has_not_is_found(kind: str, place: tuple[str | int, ...], value: Any) -> None:
    wrong: Any = deepcopy(next(one for one in foreign() if one["kind"] == kind))
    assert faults_of(wrong) == []
    *way, last = place
    inner = wrong
    for step in way:
        inner = inner[step]
    inner[last] = value
    assert len(faults_of(wrong)) == 1


def test_executors_keep_to_bounds_that_the_autoscaler_accepts() -> None:
    """What KEDA's own check at admission asks besides."""
    spec = of_kind("ScaledObject")["executor"]["spec"]
    assert 0 < spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    asked = {trigger["authenticationRef"]["name"] for trigger in spec["triggers"]}
    assert asked == of_kind("TriggerAuthentication").keys()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the example, and is not installed")
def test_the_example_of_an_installation_renders(tmp_path: Path) -> None:
    rendered = tmp_path / "all.yaml"
    command = ["kubectl", "kustomize", str(PRODUCTION)]
    rendered.write_text(
        subprocess.run(command, env={"KUBECONFIG": "/dev/null", "PATH": "/usr/bin:/usr/local/bin"}, check=True,
                       capture_output=True, text=True).stdout
    )  # fmt: skip
    fit(rendered)
    deployments = [one for one in yaml.safe_load_all(rendered.read_text()) if one["kind"] == "Deployment"]
    assert {one["metadata"]["name"]: one["spec"].get("replicas") for one in deployments} == {
        "gateway": None, "webhooks": None, "scheduler": 2, "executor": None,
    }  # fmt: skip
    assert {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in deployments} == {
        "registry.example.com/signalbox:1.0.0"
    }


def test_every_pod_is_confined() -> None:
    assert pods().keys() == {*SERVICES, "signalbox-migrate"}
    for name, pod in pods().items():
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False, name
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001), name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, name  # fmt: skip
        assert container["resources"].keys() == {"requests", "limits"}, name
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, name


def test_every_service_is_probed_budgeted_and_stopped_in_time() -> None:
    drain = load_settings({}).drain_seconds
    for name in SERVICES:
        pod, (container,) = pods()[name], pods()[name]["containers"]
        assert container["args"] == [name, "--port", "8000"]
        probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
        assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        assert pod["terminationGracePeriodSeconds"] > drain + 5
        labels = of_kind("Deployment")[name]["spec"]["template"]["metadata"]["labels"]
        assert of_kind("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == labels
    assert all(one["spec"]["selector"] == of_kind("Deployment")[name]["spec"]["selector"]["matchLabels"]
               for name, one in of_kind("Service").items())  # fmt: skip


def test_what_is_referred_to_exists_and_secrets_are_elsewhere() -> None:
    scaled = [*of_kind("HorizontalPodAutoscaler").values(), *of_kind("ScaledObject").values()]
    assert {one["spec"]["scaleTargetRef"]["name"] for one in scaled} == {"gateway", "webhooks", "executor"}
    assert {one["spec"]["scaleTargetRef"]["name"] for one in scaled} <= of_kind("Deployment").keys()
    assert {pod["serviceAccountName"] for pod in pods().values()} == of_kind("ServiceAccount").keys()
    assert of_kind("Secret") == {}
    assert {
        volume["secret"]["secretName"] for pod in pods().values() for volume in pod["volumes"] if "secret" in volume
    } == {"signalbox-secrets"}
    for folder in (BASE, PRODUCTION):
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        assert {name for name in listed if name.endswith(".yaml")} == {file.name for file in folder.glob("*.yaml")} - {
            "kustomization.yaml"
        }


def test_pods_start_with_nothing_open() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nothing-else"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (rule,) = policies["internet"]["spec"]["egress"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(
        rule["to"][0]["ipBlock"]["except"]
    )


async def test_executors_are_scaled_on_a_question_that_the_database_answers_by_an_index(database: Database) -> None:
    (trigger,) = of_kind("ScaledObject")["executor"]["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    assert int(trigger["metadata"]["targetQueryValue"]) == load_settings({}).executor_slots
    query = trigger["metadata"]["query"]
    async with database.transaction() as connection:
        assert await connection.fetchval(query) == 0
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}"))
    assert "Index Cond: (wake_at <" in plan
    assert "Seq Scan" not in plan
    assert of_kind("TriggerAuthentication")["signalbox-database"]["spec"]["secretTargetRef"][0]["key"] == "database_url"
