"""numerics.walls.apart: the function and its derivatives are those without the wall."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.numerics.walls import apart


def through(a, x, index):
    """Closes over a float, a key and an integer that are traced."""
    key = jax.random.fold_in(jax.random.key(0), index)
    state = {"x": x, "count": jnp.int32(0)}
    step = lambda s: {"x": jnp.sin(a * s["x"]) + jax.random.normal(key, x.shape), "count": s["count"] + index}  # noqa: E731
    return apart(step, state, index=index), step(state)


def test_values_and_derivatives():
    x = jnp.arange(3.0)
    walled, plain = jax.jit(through)(0.7, x, jnp.int32(2))
    np.testing.assert_allclose(walled["x"], plain["x"], rtol=1e-6)
    assert walled["count"] == 2
    both = []
    for which in (0, 1):
        one = lambda a, x, which=which: jnp.sum(through(a, x, jnp.int32(2))[which]["x"] ** 2)  # noqa: E731
        derivatives = [jax.grad(one, (0, 1))(0.7, x), jax.jvp(one, (0.7, x), (1.0, x)), jax.hessian(one)(0.7, x)]
        both.append([*derivatives, jax.vmap(one)(jnp.array([0.1, 0.2]), jnp.stack([x, x + 1]))])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *both)
