"""What deploy/ names exists: settings, commands, ports, paths and people. No engine is run here."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from flywheel.settings import Settings
from flywheel.web.__main__ import serve
from flywheel.web.app import ROUTERS

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "web.yaml").read_text("utf-8")))
VALUES = yaml.safe_load((DEPLOY / "kubernetes" / "dagster-values.yaml").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TEXTS = [
    *(path.read_text(encoding="utf-8") for path in DEPLOY.rglob("*") if path.is_file()),
    OPERATIONS,
]
# Read by what stands beside the product, or by the command line itself.
OTHER_VARIABLES = {"FLYWHEEL_PROJECT"}


def manifest(kind: str) -> dict[str, object]:
    (found,) = (one for one in MANIFESTS if one["kind"] == kind)
    return found


def pod() -> dict[str, object]:
    return manifest("Deployment")["spec"]["template"]["spec"]


def routes() -> set[str]:
    return {route.path for router in ROUTERS for route in router.routes}


@pytest.mark.parametrize("text", TEXTS)
def test_every_variable_is_a_setting(text: str) -> None:
    for name in set(re.findall(r"\bFLYWHEEL_[A-Z0-9_]+", text)) - OTHER_VARIABLES:
        table, _, field = name.removeprefix("FLYWHEEL_").lower().partition("__")
        assert table in Settings.model_fields, name
        assert field in Settings.model_fields[table].annotation.model_fields, name


def commands_run() -> Iterator[list[str]]:
    """Each command of a container, as its words."""
    yield yaml.safe_load(re.findall(r"^CMD (\[.*\])", CONTAINERFILE, re.MULTILINE)[-1])
    yield from (one["command"] for one in COMPOSE["services"].values() if "command" in one)
    yield from (container["command"] for container in pod()["containers"])


def test_every_command_is_there_with_its_options() -> None:
    scripts = {script.name for script in entry_points(group="console_scripts")}
    options = {name for option in serve.params for name in option.opts}
    for words in commands_run():
        if words[:3] == ["python", "-m", "flywheel.web"]:
            assert {word for word in words if word.startswith("--")} <= options
            assert words[words.index("--port") + 1] == "3000"
        elif words[:2] == ["python", "-c"]:
            for module in re.findall(r"^from (\S+) import", words[2], re.MULTILINE):
                assert importlib.util.find_spec(module)
        else:
            assert words[0] in scripts


def test_what_asks_for_health_asks_where_it_is_answered() -> None:
    asked = set(re.findall(r"127\.0\.0\.1:3000(/\w+)", "".join(TEXTS)))
    (web,) = pod()["containers"]
    probes = {name: web[name]["httpGet"] for name in web if name.endswith("Probe")}
    assert set(probes) == {"startupProbe", "livenessProbe", "readinessProbe"}
    assert asked | {probe["path"] for probe in probes.values()} <= routes()
    assert probes["readinessProbe"]["path"] == "/readyz"
    for probe in probes.values():
        # By its address it would be refused.
        assert probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


def test_names_within_the_manifests_agree() -> None:
    spec = manifest("Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    selectors = [spec["selector"]["matchLabels"], manifest("Service")["spec"]["selector"]]
    selectors.append(manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert manifest("PodDisruptionBudget")["spec"]["minAvailable"] < spec["replicas"]
    (web,) = pod()["containers"]
    (port,) = web["ports"]
    assert str(port["containerPort"]) == web["command"][-1]
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    (rule,) = manifest("Ingress")["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == manifest("Service")["metadata"]["name"]
    assert backend["port"]["name"] == manifest("Service")["spec"]["ports"][0]["name"]
    claim = manifest("PersistentVolumeClaim")["metadata"]["name"]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    for holder, mounts in ((pod(), web["volumeMounts"]), (code, code["volumeMounts"])):
        volumes = {volume["name"]: volume for volume in holder["volumes"]}
        assert {mount["name"] for mount in mounts} == set(volumes)
        assert volumes["project"]["persistentVolumeClaim"]["claimName"] == claim


def test_nothing_runs_as_root_or_writes_where_it_should_not() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)", CONTAINERFILE, re.MULTILINE)
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    for where in (pod()["securityContext"], code["podSecurityContext"]):
        assert (str(where["runAsUser"]), str(where["runAsGroup"])) == user
        assert where["runAsNonRoot"] is True
    for container in (pod()["containers"][0], code):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for name, service in COMPOSE["services"].items():
        if name != "postgres":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_the_image_is_made_of_what_is_there() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    for version in re.findall(r"^FROM \S+/python:([\d.]+)-slim", CONTAINERFILE, re.MULTILINE):
        assert f"{version}.0" in SpecifierSet(PROJECT["requires-python"])
    torch = re.search(r"^ARG TORCH_VERSION=(\S+)", CONTAINERFILE, re.MULTILINE)
    assert torch is not None
    assert f"torch=={torch[1]}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "TORCH_INDEX=https://download.pytorch.org/whl/cpu" in CONTAINERFILE
    version = PROJECT["version"]
    for text in TEXTS:
        assert set(re.findall(r"flywheel:(\d+\.\d+\.\d+)", text)) <= {version}


def test_services_of_the_compose_file_wait_for_what_there_is() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in services
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            is_checked = "test" in services[other].get("healthcheck", {})
            assert is_checked or how["condition"] != "service_healthy"
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        for config in service.get("configs", ()):
            assert config["source"] in COMPOSE["configs"]
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    given = re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text("utf-8"), re.MULTILINE)
    assert asked == set(given)


def test_the_chart_is_that_of_the_dagster_in_the_image() -> None:
    text = (DEPLOY / "kubernetes" / "dagster-values.yaml").read_text(encoding="utf-8")
    (version,) = re.findall(r"--version (\S+)", text)
    (wanted,) = (
        Requirement(line).specifier
        for line in PROJECT["dependencies"]
        if Requirement(line).name == "dagster"
    )
    assert version in wanted
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert importlib.util.find_spec(code["dagsterApiGrpcArgs"][1])
    launcher = VALUES["runLauncher"]
    (named,) = launcher["config"]
    assert named == launcher["type"][0].lower() + launcher["type"][1:]
    pools = yaml.safe_load((ROOT / "dagster_defs" / "instance" / "dagster.yaml").read_text())
    shipped = pools["concurrency"]["pools"]
    assert VALUES["concurrency"]["pools"] == {
        "defaultLimit": shipped["default_limit"],
        "granularity": shipped["granularity"],
    }
