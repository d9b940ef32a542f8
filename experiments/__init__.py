"""Questions put to real data, one module each: ``python -m experiments`` lists them."""
