"""What `tests/soak.py` does for ten minutes, for a few seconds; on demand, for half a minute."""

import pytest
from soak import soak


def test_eight_impatient_readers_leave_nothing_behind(capsys):
    assert soak(seconds=1, warm=0, tries=8, rounds=0) == []
    assert "All is well." in capsys.readouterr().out


@pytest.mark.long
def test_nor_do_they_after_half_a_minute():
    assert soak(seconds=10, warm=8, tries=4) == []
