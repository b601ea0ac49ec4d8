"""On a JupyterHub: the lesson is copied, and its page is one of the hub's."""

import pytest

from llamalab import cli
from llamalab.errors import LlamalabError
from llamalab.lesson import copying, hub

ON_A_HUB = "JUPYTERHUB_SERVICE_PREFIX"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A student's home on a hub; what the hub's server shows starts there."""
    monkeypatch.setenv(ON_A_HUB, "/user/ada/")
    monkeypatch.setenv("JUPYTERHUB_ROOT_DIR", str(tmp_path))
    monkeypatch.delenv("JUPYTERHUB_PUBLIC_URL", raising=False)
    return tmp_path


def test_the_page_is_named_with_the_address_that_the_hub_tells(home, monkeypatch, capsys):
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_URL", "https://hub.example.org/user/ada/")
    assert cli.main(["lab", str(home / "my lesson")]) == 0
    *_, page = capsys.readouterr().out.splitlines()
    assert page.startswith(
        "Page:   https://hub.example.org/user/ada/lab/tree/my%20lesson/00-start-here.ipynb "
    )
    assert (home / "my lesson" / copying.FIRST_PAGE).is_file()


def test_without_it_the_path_is_named(home, capsys):
    assert cli.main(["lab", str(home)]) == 0
    *_, page = capsys.readouterr().out.splitlines()
    assert page.startswith("Page:   /user/ada/lab/tree/00-start-here.ipynb ")
    assert "after the hub's address" in page


def test_it_says_which_server_the_kernels_will_ask(home, unused_address, monkeypatch, capsys):
    cli.main(["lab", str(home)])
    assert "Server: http://127.0.0.1:" in capsys.readouterr().out
    monkeypatch.setenv("OLLAMA_HOST", unused_address)
    assert cli.main(["lab", str(home)]) == 1
    assert unused_address in capsys.readouterr().err


def test_a_folder_that_the_hub_does_not_show_is_refused(home, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.raises(LlamalabError, match="The hub does not show") as caught:
        hub.open_there(str(elsewhere))
    assert str(home) in caught.value.do


def test_elsewhere_the_lesson_opens_as_usual(monkeypatch):
    monkeypatch.delenv(ON_A_HUB, raising=False)
    assert not hub.is_here()
