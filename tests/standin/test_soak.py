"""About twenty seconds of what `tests/soak.py` does for ten minutes."""

from soak import soak


def test_eight_impatient_readers_leave_nothing_behind(capsys):
    assert soak(seconds=10, warm=8, tries=4) == []
    assert "All is well." in capsys.readouterr().out
