"""``python -m experiments report``: one page with every result, claim, paper and function."""
