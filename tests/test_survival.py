"""Every reader survives every fault: the cells of the table in `survival.py`, one test each."""

import pytest
import survival

from llamalab.standin.http.faults import FAULTS


@pytest.fixture(scope="module")
def url():
    with survival.broken_server() as url:
        yield url


def test_the_table_has_a_row_for_each_fault_and_a_column_for_each_reader():
    assert list(survival.EXPECTED) == list(FAULTS)
    assert all(list(row) == list(survival.READERS) for row in survival.EXPECTED.values())


@pytest.mark.parametrize("reader", survival.READERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_reader_survives_a_fault(url, fault, reader):
    assert survival.cell(url, fault, reader) == survival.EXPECTED[fault][reader]
