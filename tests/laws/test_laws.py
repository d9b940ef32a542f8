"""Every row keeps every law; so does every family of statistics."""

import pytest

from tests.laws import families, laws
from tests.laws.tables import MEANINGS, ROWS

FAMILIES = families.find(ROWS, MEANINGS)


def report(broken):
    return "\n".join(f"{law}: {what}" for law, what in broken.items())


@pytest.mark.parametrize("name", ROWS)
def test_row(name):
    broken = laws.check(ROWS[name])
    assert not broken, report(broken)


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name):
    broken = families.check(FAMILIES[name])
    assert not broken, report(broken)
