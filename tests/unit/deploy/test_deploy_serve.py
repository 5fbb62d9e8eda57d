"""The service of the page in deploy/, as far as it can be checked without a cluster or a running systemd."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from ddim_jax.cli.serve import TOKEN, parse_arguments

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.fixture(scope="module")
def manifest():
    return {thing["kind"]: thing for thing in yaml.safe_load_all((DEPLOY / "kubernetes-serve.yaml").read_text())}


def test_the_manifest_fits_the_schema_and_its_parts_belong_together(manifest):
    for thing in manifest.values():
        kubernetes_validate.validate(thing, kubernetes_validate.latest_version(), strict=True)
    deployment, service = manifest["Deployment"]["spec"], manifest["Service"]["spec"]
    assert service["selector"] == deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert service["ports"][0]["targetPort"] == container["ports"][0]["name"] == "http"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    image = (DEPLOY / "Dockerfile").read_text()
    # Any user may write to the image's cache folder, for clusters that choose the number of the user.
    (cache,) = re.findall(r"^ENV XDG_CACHE_HOME=(\S+)$", image, re.MULTILINE)
    assert f"install --directory --mode=1777 {cache}\n" in image
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", cache}
    (user,) = re.findall(r"useradd .*--uid (\d+)", image)
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": int(user), "fsGroup": int(user)}
    assert deployment["replicas"] == 1  # a result is in the memory of one


def test_the_pod_runs_what_there_is(manifest, monkeypatch):
    monkeypatch.setenv(TOKEN, "of a Secret".replace(" ", "-"))
    (container,) = manifest["Deployment"]["spec"]["template"]["spec"]["containers"]
    program, *arguments = container["args"]
    options = parse_arguments(None, arguments)
    assert program == "serve" and options.host == "0.0.0.0"
    assert options.port == container["ports"][0]["containerPort"]
    assert [variable["name"] for variable in container["env"]] == [TOKEN]


def test_the_unit_runs_what_there_is():
    text = (DEPLOY / "ddim-jax.service").read_text()
    program, command, *arguments = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1])
    assert (Path(program).name, command) == ("ddim-jax", "serve")
    assert parse_arguments(None, arguments).host == "127.0.0.1"
    # The package is in no index, so that its name alone finds nothing there, or what is not this package.
    (installed,) = re.findall(r"(/\S+)/pip install '\.\[serve,clinic\]'", text)
    assert Path(program).parent == Path(installed) and text.count("pip install") == 1
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"\[\w+\]|[A-Z]\w+=.*", line) for line in lines)
    # Programs are compiled into memory that is then run.
    assert "DynamicUser=yes" in lines and "PrivateTmp=yes" in lines and "MemoryDenyWriteExecute" not in text


def test_systemd_takes_the_unit(tmp_path):
    if not (verify := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "ddim-jax.service"
    unit.write_text((DEPLOY / "ddim-jax.service").read_text().replace("/opt/ddim_jax/bin/ddim-jax", "/bin/true"))
    ran = subprocess.run([verify, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert ran.returncode == 0 and not re.search(rf"{unit.name}:\d+", ran.stderr), ran.stderr
