"""The files of deploy/, as far as they can be checked without a cluster."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from ddim_jax.cli import configs, main

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
LATEST = kubernetes_validate.latest_version()


def flags_of_train():
    return set(re.findall(r'flags\.DEFINE_\w+\(\s*"([\w-]+)"', (ROOT / "ddim_jax/cli/train.py").read_text())) | {
        "config"
    }


def assert_train_takes(arguments):
    """Checks that the flags are train.py's and the fields those of the config they name."""
    names = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    config = ConfigFileFlagParser("config").parse(configs.config_file(names["config"]))
    for name in names:
        if name.startswith("config."):
            place = config
            for part in name.split(".")[1:]:
                place = getattr(place, part)
        else:
            assert name in flags_of_train()


def test_the_flags_are_those_that_are_documented():
    assert flags_of_train() == {"config", "workdir", "coordinator-address", "process-count", "process-id"}


def test_the_slurm_script_passes_shellcheck():
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    shellcheck = shutil.which("shellcheck", path=path)
    assert shellcheck, "shellcheck comes with the test extra: pip install -e '.[test]'"
    subprocess.run([shellcheck, "--severity=style", str(DEPLOY / "slurm.sh")], check=True)


@pytest.fixture
def slurm(tmp_path):
    """Runs slurm.sh with stand-ins for Slurm's commands; gives (exit status, what was called)."""
    calls = tmp_path / "calls"
    told = f'echo "cpus $SRUN_CPUS_PER_TASK" >> {shlex.quote(str(calls))}'
    for name, body in (("srun", f'{told}\nexit "$SRUN_STATUS"'), ("scontrol", "")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {shlex.quote(str(calls))}\n{body}\n')
        program.chmod(0o755)

    def run(*arguments, status=0, restarts=None, cpus=None):
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": "17",
            "SRUN_STATUS": str(status),
        }
        if restarts is not None:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
        if cpus is not None:
            environment["SLURM_CPUS_PER_TASK"] = str(cpus)
        done = subprocess.run(["bash", str(DEPLOY / "slurm.sh"), *arguments], env=environment, capture_output=True)
        return done.returncode, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_the_slurm_script_hands_its_arguments_on(slurm):
    status, calls = slurm("--config", "a b.py")
    assert (status, calls[0]) == (0, "srun --kill-on-bad-exit=0 .venv/bin/ddim-jax train --config a b.py")


@pytest.mark.parametrize(("cpus", "given"), [(8, "cpus 8"), (None, "cpus 1")])
def test_srun_is_told_how_many_cpus_a_task_has(slurm, cpus, given):
    assert slurm("--config", "a.py", cpus=cpus)[1][1:] == [given]


@pytest.mark.parametrize(
    ("status", "restarts", "requeued"),
    [
        *((75, None, True), (137, None, True), (143, None, True), (75, 9, True), (75, 10, False)),
        *((2, None, False), (134, None, False)),
    ],
)
def test_the_slurm_script_is_started_again_after_a_loss_alone(slurm, status, restarts, requeued):
    found, calls = slurm("--config", "a.py", status=status, restarts=restarts)
    assert found == status
    assert calls[2:] == (["scontrol requeue 17"] if requeued else [])


def test_the_command_at_the_head_of_the_slurm_script_fits_its_devices():
    text = (DEPLOY / "slurm.sh").read_text()
    words = re.sub(r"\\\n#", " ", text).split("sbatch deploy/slurm.sh", 1)[1].split("\n", 1)[0].split()
    given = re.findall(r"--(config\S*) +(\S+)", " ".join(words).replace("=", " "))
    assert_train_takes([f"--{name}={value}" for name, value in given])
    nodes, each = (int(re.search(rf"#SBATCH --{name}=(\d+)", text)[1]) for name in ("nodes", "gpus-per-node"))
    assert int(dict(given)["config.train.batch_size"]) % (nodes * each) == 0


def test_the_slurm_script_says_what_it_wants(slurm):
    assert slurm() == (2, [])


@pytest.fixture(scope="module")
def manifest():
    objects = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    return {thing["kind"]: thing for thing in objects}


def test_the_manifest_fits_the_schema(manifest):
    assert list(manifest) == ["ServiceAccount", "Role", "RoleBinding", "Service", "Job"]
    for thing in manifest.values():
        kubernetes_validate.validate(thing, LATEST, strict=True)
    wrong = {**manifest["Job"], "spec": {**manifest["Job"]["spec"], "completionMod": "Indexed"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, LATEST, strict=True)


def test_the_parts_of_the_manifest_belong_together(manifest):
    """Things that JAX looks for on Kubernetes: an indexed Job, a headless service, leave to read."""
    job, pod = manifest["Job"]["spec"], manifest["Job"]["spec"]["template"]["spec"]
    service, name = manifest["Service"]["spec"], manifest["Job"]["metadata"]["name"]
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"] > 1
    # Or the pod that replaces a drained one would be the same process of the run, while the old one still saves.
    assert job["podReplacementPolicy"] == "Failed" and pod["restartPolicy"] == "Never"
    assert service["clusterIP"] == "None" and service["selector"] == {"job-name": name}
    assert pod["subdomain"] == manifest["Service"]["metadata"]["name"]
    account = manifest["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == account == manifest["RoleBinding"]["subjects"][0]["name"]
    assert manifest["RoleBinding"]["roleRef"]["name"] == manifest["Role"]["metadata"]["name"]
    allowed = {resource: rule["verbs"] for rule in manifest["Role"]["rules"] for resource in rule["resources"]}
    assert allowed == {kind: ["get", "list"] for kind in ("pods", "services", "jobs")}


def test_the_pods_run_what_there_is(manifest):
    pod = manifest["Job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program, *arguments = container["args"]
    assert program in main.COMMANDS
    assert_train_takes(arguments)
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/data", "/runs"} == mounted
    # The image's entry point, with its process 1, stays; the arguments alone are other ones.
    assert "command" not in container
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    # The image's user has to be able to write to the volume.
    (user,) = re.findall(r"useradd .*--uid (\d+)", (DEPLOY / "Dockerfile").read_text())
    assert pod["securityContext"] == {"runAsUser": int(user), "fsGroup": int(user)}


def test_what_the_image_copies_and_installs_is_there():
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0][0] == "FROM" and {word for word, _ in lines} <= {
        *("FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "ENTRYPOINT", "CMD")
    }
    copied = [name for word, rest in lines if word == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    # What building the package reads.
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "ddim_jax", "configs"} <= set(copied)
    # Of what lies in a checkout, such as runs and images, nothing else is sent to what builds the image.
    everything, *sent, no_bytecode = [
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert (everything, no_bytecode) == ("*", "**/__pycache__")
    assert {rule.removeprefix("!").removesuffix("/*.py") for rule in sent} == set(copied)
    # A change of the package leaves the layer of its dependencies as it is.
    text_of = [rest for word, rest in lines if word in ("COPY", "RUN")]
    dependencies, package = (i for i, rest in enumerate(text_of) if "pip install" in rest)
    before = [name for rest in text_of[:dependencies] if "apt-get" not in rest for name in rest.split()[:-1]]
    assert before == ["pyproject.toml"] and "--no-deps" in text_of[package]
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    (extra,) = [rest.partition("=")[2] for word, rest in lines if word == "ARG"]
    assert extra in extras
    # A cluster that is told runAsNonRoot cannot tell by a name.
    assert dict(lines)["USER"] == re.search(r"useradd .*--uid (\d+)", text)[1]
    # Process 1 hears no signal without a handler; an init hands them on.
    assert json.loads(dict(lines)["ENTRYPOINT"]) == ["tini", "--", "ddim-jax"]
    assert re.search(r"apt-get install .*\btini\b", text)
    # They would be looked for by the names of the machine it was built on, and found on no other.
    assert "build-kernels" not in text
