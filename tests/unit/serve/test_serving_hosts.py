"""The names that a server is known by: `--allow-host`."""

import pytest

from ddim_jax.cli import serve as command


def test_names_of_the_server_are_compared_without_case(serving):
    def allowed(*names):
        given = [text for name in names for text in ("--allow-host", name)]
        return command.parse_arguments(None, ["--ckpt", "A", *given]).allow_host

    names = ("Lungs.Hospital.org", "lungs_2.", "10.0.0.7", "[FD00::7]", "fd00::8")
    hosts = allowed(*names)
    assert hosts == ["lungs.hospital.org", "lungs_2", "10.0.0.7", "fd00::7", "fd00::8"]
    for given in (hosts, ("Lungs.Hospital.org", "LUNGS_2", "10.0.0.7", "FD00::7", "fd00::8")):
        client = serving(hosts=given)
        asked = (
            "lungs.hospital.org",
            "LUNGS.hospital.org.:8000",
            "lungs_2",
            "10.0.0.7:80",
            "[fd00::7]:80",
            "[FD00::8]",
        )
        for host in asked:
            assert client.get("/about", headers={"Host": host}).status_code == 200, host
        assert client.get("/about", headers={"Host": "lungs.hospital.com"}).status_code == 421


@pytest.mark.parametrize(
    "name", ["a.org:8000", "http://a.org", "a.org/lungs", "", "a b", "*", "lünge.de", "[fd00::7]:80"]
)
def test_what_is_no_name_of_a_server_is_refused(name, capsys):
    with pytest.raises(SystemExit) as left:
        command.parse_arguments(None, ["--ckpt", "A", "--allow-host", name])
    assert left.value.code == 2
    assert f"--allow-host: is {name!r}; expected the name of a server or its address" in capsys.readouterr().err
