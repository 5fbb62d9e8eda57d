"""Servers in the process, with a network whose masks are known: the pixels that are red enough."""

import pytest
from served import network
from starlette.testclient import TestClient

from ddim_jax.serve.app import create_app
from ddim_jax.serve.limits import Limits


@pytest.fixture
def serving():
    """Makes clients of servers, which end with the test: `serving(token="x")`; limits by their names."""
    clients = []

    def serve(networks=None, token=None, hosts=None, root_path="", **limits):
        app = create_app(networks or [network()], Limits(**limits), token=token, hosts=hosts)
        clients.append(TestClient(app, root_path=root_path, raise_server_exceptions=True))
        return clients[-1].__enter__()

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serving):
    return serving()
