"""What `tests/soak.py` does for ten minutes, for a few seconds, and for half a minute."""

import pytest
from soak import soak


@pytest.mark.parametrize(("seconds", "warm"), [(1, 1), pytest.param(10, 8, marks=pytest.mark.long)])
def test_eight_impatient_readers_leave_nothing_behind(capsys, seconds, warm):
    assert soak(seconds, warm, tries=4) == []
    assert "All is well." in capsys.readouterr().out
