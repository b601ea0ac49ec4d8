"""Every reader survives every fault: the cells of the table in `survival.py`, one test each.

By default one row and one column: every reader of a cut answer, every fault for `generate`.
"""

import pytest
import survival

from llamalab.standin.http.faults import FAULTS

CELLS = [
    pytest.param(
        fault, reader, marks=[pytest.mark.long] * (fault != "cut" and reader != "generate")
    )
    for fault in FAULTS
    for reader in survival.READERS
]


@pytest.fixture(scope="module")
def url():
    with survival.broken_server() as url:
        yield url


def test_the_table_has_a_row_for_each_fault_and_a_column_for_each_reader():
    assert list(survival.EXPECTED) == list(FAULTS)
    assert all(list(row) == list(survival.READERS) for row in survival.EXPECTED.values())


@pytest.mark.parametrize(("fault", "reader"), CELLS)
def test_a_reader_survives_a_fault(url, fault, reader):
    assert survival.cell(url, fault, reader) == survival.EXPECTED[fault][reader]
