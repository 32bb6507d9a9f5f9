"""Manifests for Kubernetes and files for containers: well-formed, closed, consistent in themselves and with the daemon."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from monitor.config.loading import LoadedConfig, load_config
from monitor.daemon.stopping import LONGEST_STOP_S
from monitor.web.health import ROUTES
from tests.fakes.checkout import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
CONTAINER = ROOT / "deploy" / "container"
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def closed(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def many(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": 1}


TEXT = {"type": "string"}
WHOLE = {"type": "integer", "minimum": 0}
YES = {"const": True}
LABELS = {"type": "object", "additionalProperties": TEXT, "minProperties": 1}
META = closed({"name": {"pattern": "^[a-z0-9-]{1,63}$"}, "labels": LABELS}, "name")
PORT = {"type": "string", "pattern": "^[a-z]{1,15}$"}
AMOUNTS = closed(
    {"cpu": {"pattern": r"^\d+m?$"}, "memory": {"pattern": r"^\d+[MG]i$"}, "storage": {"pattern": r"^\d+Gi$"}}
)
PROBE = closed(
    {
        "httpGet": closed({"path": TEXT, "port": PORT}, "path", "port"),
        "tcpSocket": closed({"port": PORT}, "port"),
        **dict.fromkeys(("periodSeconds", "timeoutSeconds", "failureThreshold"), WHOLE),
    }
)
RUNNING = closed(
    {
        "name": TEXT,
        "image": {"pattern": r"^[a-z0-9./-]+:(?!latest$).+$"},
        "args": many(TEXT),
        "restartPolicy": {"const": "Always"},
        "ports": many(closed({"name": PORT, "containerPort": WHOLE}, "name", "containerPort")),
        "securityContext": closed(
            {
                "allowPrivilegeEscalation": {"const": False},
                "readOnlyRootFilesystem": YES,
                "capabilities": {"const": {"drop": ["ALL"]}},
            },
            "allowPrivilegeEscalation",
            "readOnlyRootFilesystem",
            "capabilities",
        ),
        **dict.fromkeys(PROBES, PROBE),
        "resources": closed({"requests": AMOUNTS, "limits": AMOUNTS}, "requests", "limits"),
        "volumeMounts": many(
            closed(
                {"name": TEXT, "mountPath": {"pattern": "^/"}, "subPath": TEXT, "readOnly": YES}, "name", "mountPath"
            )
        ),
    },
    *("name", "image", "ports", "securityContext", "readinessProbe", "resources"),
)
POD = closed(
    {
        "serviceAccountName": TEXT,
        "automountServiceAccountToken": {"const": False},
        "terminationGracePeriodSeconds": WHOLE,
        "securityContext": closed(
            {
                "runAsNonRoot": YES,
                "seccompProfile": {"const": {"type": "RuntimeDefault"}},
                "fsGroupChangePolicy": {"const": "OnRootMismatch"},
                **{key: {"type": "integer", "minimum": 1000} for key in ("runAsUser", "runAsGroup", "fsGroup")},
            },
            *("runAsNonRoot", "seccompProfile", "runAsUser", "runAsGroup", "fsGroup"),
        ),
        "initContainers": many(RUNNING),
        "containers": many(RUNNING),
        "volumes": many(
            closed(
                {
                    "name": TEXT,
                    "configMap": closed({"name": TEXT}, "name"),
                    "secret": closed({"secretName": TEXT, "defaultMode": {"const": 0o440}}, "secretName"),
                    "emptyDir": closed({"sizeLimit": TEXT}, "sizeLimit"),
                },
                "name",
            )
        ),
    },
    *("serviceAccountName", "automountServiceAccountToken", "terminationGracePeriodSeconds", "securityContext"),
)
SELECTOR = closed({"matchLabels": LABELS}, "matchLabels")
PEERS = many(
    closed(
        {
            "namespaceSelector": SELECTOR,
            "ipBlock": closed({"cidr": TEXT, "except": many(TEXT)}, "cidr"),
        }
    )
)
ALLOWED = {"ports": many(closed({"protocol": {"enum": ["TCP", "UDP"]}, "port": {}}, "protocol", "port"))}
CLAIM = closed(
    {
        "metadata": META,
        "spec": closed(
            {"accessModes": {"const": ["ReadWriteOncePod"]}, "resources": closed({"requests": AMOUNTS}, "requests")},
            "accessModes",
            "resources",
        ),
    }
)
KINDS: dict[tuple[str, str], dict[str, Any]] = {
    ("v1", "ServiceAccount"): {"automountServiceAccountToken": {"const": False}},
    ("v1", "ConfigMap"): {"data": {"type": "object", "additionalProperties": TEXT}},
    ("v1", "Service"): {
        "spec": closed(
            {
                "selector": LABELS,
                "publishNotReadyAddresses": YES,
                "ports": many(closed({"name": TEXT, "port": WHOLE, "targetPort": PORT}, "name", "port", "targetPort")),
            },
            "selector",
            "ports",
        )
    },
    ("apps/v1", "StatefulSet"): {
        "spec": closed(
            {
                "serviceName": TEXT,
                "replicas": {"const": 1},
                "selector": SELECTOR,
                "template": closed({"metadata": closed({"labels": LABELS}), "spec": POD}, "metadata", "spec"),
                "volumeClaimTemplates": many(CLAIM),
            },
            *("serviceName", "selector", "template"),
        )
    },
    ("policy/v1", "PodDisruptionBudget"): {
        "spec": closed({"minAvailable": {"const": 1}, "selector": SELECTOR}, "minAvailable", "selector")
    },
    ("networking.k8s.io/v1", "NetworkPolicy"): {
        "spec": closed(
            {
                "podSelector": SELECTOR,
                "policyTypes": {"const": ["Ingress", "Egress"]},
                "ingress": many(closed({"from": PEERS, **ALLOWED}, "ports")),
                "egress": many(closed({"to": PEERS, **ALLOWED}, "to")),
            },
            *("podSelector", "policyTypes", "ingress", "egress"),
        )
    },
}


def documents(manifest: Path) -> dict[str, Any]:
    """Return what a manifest holds, by kind."""
    found = list(yaml.safe_load_all(manifest.read_text()))
    kinds = {one["kind"]: one for one in found}
    assert len(kinds) == len(found)
    return kinds


def pod_of(manifest: Path) -> Any:
    return documents(manifest)["StatefulSet"]["spec"]["template"]["spec"]


def running_in(pod: Any) -> Sequence[Any]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def loaded(folder: Path, text: str) -> LoadedConfig:
    file = folder / "config.yaml"
    # Secrets are where the container has them; here they are in the test's own folder.
    for name in set(re.findall(r"/run/secrets/(?:livecordon/)?([a-z-]+)", text)):
        (folder / name).write_text(f"{name}-0123456789abcdef")
    file.write_text(re.sub(r"/run/secrets/(?:livecordon/)?", f"{folder}/", text))
    return load_config(file, {})


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_well_formed(manifest: Path) -> None:
    found = documents(manifest)
    assert {kind for _, kind in KINDS} == set(found)
    for one in found.values():
        rest = KINDS[one["apiVersion"], one["kind"]]
        schema = closed({"apiVersion": TEXT, "kind": TEXT, "metadata": META, **rest}, "metadata", *rest)
        complaints = [
            f"{error.json_path}: {error.message[:200]}" for error in Draft202012Validator(schema).iter_errors(one)
        ]
        assert complaints == [], one["kind"]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_what_belongs_together_names_each_other(manifest: Path) -> None:
    found = documents(manifest)
    workload = found["StatefulSet"]["spec"]
    labels = workload["template"]["metadata"]["labels"]
    for selector in (
        workload["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == labels
    assert workload["serviceName"] == found["Service"]["metadata"]["name"]
    pod = workload["template"]["spec"]
    assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    ports = {port["name"] for running in running_in(pod) for port in running["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} <= ports
    assert set(_named_ports(found["NetworkPolicy"]["spec"])) <= ports
    volumes = {one["name"] for one in (*pod["volumes"], *(two["metadata"] for two in workload["volumeClaimTemplates"]))}
    assert {mount["name"] for running in running_in(pod) for mount in running["volumeMounts"]} == volumes
    assert {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one} == {
        found["ConfigMap"]["metadata"]["name"]
    }


def _named_ports(policy: Any) -> Iterator[str]:
    for rule in policy["ingress"]:
        yield from (port["port"] for port in rule["ports"])


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_probes_ask_what_the_daemon_answers_and_it_has_time_to_stop(manifest: Path, tmp_path: Path) -> None:
    pod = pod_of(manifest)
    (running,) = (one for one in running_in(pod) if one["name"] == "livecordon")
    asked = {kind: running[kind]["httpGet"]["path"] for kind in PROBES}
    assert asked == dict(zip(PROBES, ("/startupz", "/livez", "/readyz"), strict=True))
    assert set(asked.values()) < {route.path for route in ROUTES}
    assert pod["terminationGracePeriodSeconds"] > LONGEST_STOP_S
    config = loaded(tmp_path, documents(manifest)["ConfigMap"]["data"]["config.yaml"]).config
    assert config.dry_run
    where = {port["name"]: port["containerPort"] for port in running["ports"]}
    assert config.web.listen.rpartition(":")[2] == str(where["web"])
    assert {mount["mountPath"] for mount in running["volumeMounts"]} > {str(config.data_dir), "/tmp", "/etc/livecordon"}


def test_the_sidecar_is_up_before_anybody_can_publish() -> None:
    pod = pod_of(KUBERNETES / "sidecar.yaml")
    assert [(one["name"], one["restartPolicy"]) for one in pod["initContainers"]] == [("livecordon", "Always")]
    data = documents(KUBERNETES / "sidecar.yaml")["ConfigMap"]["data"]
    assert data["nginx.conf"] == (CONTAINER / "nginx" / "nginx.conf").read_text()


def test_the_composition_is_closed_and_its_configuration_can_be_used(tmp_path: Path) -> None:
    composition = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    services = composition["services"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service.get("secrets", ())) <= set(composition["secrets"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in composition["volumes"] or (CONTAINER / source).exists(), volume
    daemon = services["livecordon"]
    assert daemon["read_only"] is True
    assert float(daemon["stop_grace_period"].removesuffix("s")) > LONGEST_STOP_S
    assert (ROOT / "deploy" / "container" / daemon["build"]["context"]).resolve() == ROOT
    assert (ROOT / daemon["build"]["dockerfile"]).exists()
    config = loaded(tmp_path, (CONTAINER / "config.yaml").read_text()).config
    assert str(config.data_dir) == "/var/lib/livecordon"
    assert config.dry_run


def test_the_image_is_small_and_not_roots() -> None:
    stages = (CONTAINER / "Containerfile").read_text().split("\nFROM ")[1:]
    assert len(stages) == 2
    final = stages[-1]
    assert "USER 10001:10001" in final
    assert "--require-hashes" in stages[0]
    assert not re.search(r"apt-get|gcc|build-essential", final)
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+)$", stages[0], re.MULTILINE) for word in line.split()[:-1]
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    text = (CONTAINER / "prometheus.yaml").read_text()
    (tmp_path / "viewer-token").write_text("token")
    text = text.replace("/run/secrets/viewer-token", str(tmp_path / "viewer-token"))
    text = text.replace("/etc/prometheus/", f"{ROOT / 'deploy' / 'prometheus'}/")
    (tmp_path / "prometheus.yaml").write_text(text)
    subprocess.run(["promtool", "check", "config", str(tmp_path / "prometheus.yaml")], check=True, timeout=60)
    # The alert rules look for this job by its name.
    assert yaml.safe_load(text)["scrape_configs"][0]["job_name"] == "livecordon"
