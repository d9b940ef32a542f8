"""One function in one file: exported for several platforms, checked when it is loaded.

Layout of an artifact: magic (8 bytes), format version (4), length of the metadata (8), length of the payload (8),
sha256 of everything else (32), the metadata as JSON, the payload of ``jax.export``. ``jax.export`` alone loads a file
whose last bytes are missing, and needs every NamedTuple registered in both processes; so the payload takes and gives
flat lists of arrays, and the metadata say how they hang together.
"""

import functools
import hashlib
import json
import struct
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from jaxlab.checks import is_key
from jaxlab.typing import Array, PyTree

__all__ = ["export_function", "load_function"]

_MAGIC = b"jaxlabfn"
_FORMAT = 1
_LENGTHS = struct.Struct("<8sIQQ")
_HEADER_SIZE = _LENGTHS.size + hashlib.sha256().digest_size


def export_function(
    fn: Callable[..., PyTree], *args: PyTree, platforms: Sequence[str] = ("cpu", "cuda", "tpu"), vjp_order: int = 0
) -> bytes:
    """A function compiled to portable code for several platforms, as bytes to be written to a file.

    Args:
      fn: pure function of arrays. Bind what is not an array, and keyword arguments, with a lambda or
        ``functools.partial``.
      *args: example arguments, used for their shapes and dtypes only: pytrees (tuples, lists, dicts, None, NamedTuples)
        of arrays, Python numbers, ``jax.ShapeDtypeStruct`` or typed PRNG keys. A ShapeDtypeStruct may have symbolic
        dimensions (``jax.export.symbolic_shape``): then one artifact serves every batch size.
      platforms: where the artifact will run, among "cpu", "cuda", "rocm" and "tpu".
      vjp_order: how many times a loaded function may be differentiated (reverse mode).
    Returns:
      The artifact: header, metadata and code. ``load_function`` turns it back into a function.
    Raises:
      ValueError: no or an unknown platform, or vjp_order < 0.
      TypeError: an argument or a result holds something else than arrays in the containers above.
      NotImplementedError: an operation of fn does not exist on one of the platforms (from jax, with its name).
      ImportError: flatbuffers is not installed.

    >>> artifact = export_function(lambda x: {"twice": 2 * x}, jnp.zeros(3))
    >>> print(load_function(artifact)(jnp.array([1.0, 2.0, 3.0]))["twice"])
    [2. 4. 6.]

    Reference: standard (engineering, no paper).
    """
    _require_flatbuffers()
    platforms = _platforms(platforms)
    if vjp_order < 0:
        raise ValueError(f"vjp_order must be at least 0, got {vjp_order}")
    leaves, treedef = jax.tree.flatten(args)
    in_specs = [_spec(leaf, f"args{path}") for leaf, path in zip(leaves, _paths(args), strict=True)]
    in_tree = _describe_tree(args, "args")
    results: dict[str, Any] = {}

    def flat(*arrays: Array) -> list[Array]:
        inputs = [_wrap(array, spec) for array, spec in zip(arrays, in_specs, strict=True)]
        out = fn(*jax.tree.unflatten(treedef, inputs))
        outputs = jax.tree.leaves(out)
        # Tracing runs this body here, in this process: what is only known inside leaves by this dictionary.
        results["specs"] = [_spec(x, f"result{path}") for x, path in zip(outputs, _paths(out), strict=True)]
        results["tree"] = _describe_tree(out, "result")
        return [_unwrap(x) for x in outputs]

    exported = jax_export.export(jax.jit(flat), platforms=platforms)(*[_abstract(leaf) for leaf in leaves])
    metadata = {
        "name": getattr(fn, "__name__", None) or getattr(getattr(fn, "func", fn), "__name__", type(fn).__name__),
        "platforms": list(platforms),
        "jax": jax.__version__,
        "vjp_order": vjp_order,
        "inputs": {"tree": in_tree, "leaves": in_specs},
        "outputs": {"tree": results["tree"], "leaves": results["specs"]},
    }
    return _pack(json.dumps(metadata, sort_keys=True).encode(), bytes(exported.serialize(vjp_order=vjp_order)))


def load_function(data: bytes) -> Callable[..., PyTree]:
    """The function inside an artifact of ``export_function``.

    The function takes the same pytrees as the exported one and checks them: containers, shapes, dtypes, kind of PRNG
    key. A NamedTuple is recognised by its name and its field names; a result that was a NamedTuple comes back as a
    ``collections.namedtuple`` of that name and those fields (``out.weight`` works, methods are lost, and it can be
    passed in again). It runs under ``jit``, and under ``grad`` if it was exported with ``vjp_order``; ``vmap`` of it is
    not implemented in jax: export the vmapped function, or a symbolic batch dimension.

    Args:
      data: the bytes that ``export_function`` gave.
    Returns:
      The function. Its attribute ``metadata`` (a dict) says its name, platforms, jax version, inputs and outputs.
    Raises:
      ValueError: the artifact is truncated, changed, of another kind or format version, or made for other platforms;
        from the function, arguments that do not fit.
      RuntimeError: this version of jax cannot read the code inside.
      ImportError: flatbuffers is not installed.

    >>> step = load_function(export_function(lambda x, k: x + jax.random.uniform(k), jnp.zeros(2), jax.random.key(0)))
    >>> step(jnp.zeros(2), jax.random.key(1)).shape
    (2,)
    >>> step.metadata["platforms"]
    ['cpu', 'cuda', 'tpu']

    Reference: standard (engineering, no paper).
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data must be the bytes of an artifact, got {type(data).__name__}; open the file in mode 'rb'")
    metadata, payload = _unpack(bytes(data))
    _require_flatbuffers()
    _check_platform(metadata)
    try:
        exported = jax_export.deserialize(bytearray(payload))
    except Exception as error:  # whatever jax raises: the bytes are as they were written, so the versions differ
        raise RuntimeError(
            f"jax {jax.__version__} cannot read this artifact, which jax {metadata['jax']} wrote: export it again, or "
            f"use a jax within its export compatibility window ({error})"
        ) from error
    return _caller(metadata, exported.call)


def _caller(metadata: dict[str, Any], call: Callable[..., Sequence[Array]]) -> Callable[..., PyTree]:
    """The function of pytrees around the function of flat arrays."""
    name, inputs, outputs = metadata["name"], metadata["inputs"], metadata["outputs"]
    signature = _show(inputs["tree"], inputs["leaves"])
    compiled = jax.jit(call if metadata["vjp_order"] else _no_derivative(call, name))

    def function(*args: PyTree) -> PyTree:
        tree = _describe_tree(args, f"{name} args")
        if tree != inputs["tree"]:
            raise ValueError(f"{name} takes arguments {signature}, got {_show(tree, _types(args))}")
        arrays = []
        for leaf, spec, path in zip(jax.tree.leaves(args), inputs["leaves"], _paths(args), strict=True):
            arrays.append(_unwrap(_fitting(leaf, spec, f"{name} args{path}")))
        try:
            results = compiled(*arrays)
        except ValueError as error:  # symbolic dimensions that disagree, or a device of another platform
            raise ValueError(
                f"{name}, exported for {', '.join(metadata['platforms'])}, takes arguments {signature}: {error}"
            ) from error
        leaves = [_wrap(array, spec) for array, spec in zip(results, outputs["leaves"], strict=True)]
        return _build_tree(outputs["tree"], leaves)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{name}, exported for {', '.join(metadata['platforms'])}.\n\n"
        f"Arguments {signature}\nResult {_show(outputs['tree'], outputs['leaves'])}"
    )
    function.metadata = metadata  # type: ignore[attr-defined]
    return function


def _no_derivative(call: Callable[..., Sequence[Array]], name: str) -> Callable[..., Sequence[Array]]:
    """The same function, with an error that says what to do where jax would say "No VJP is available"."""
    primal = jax.custom_jvp(call)

    @primal.defjvp
    def refuse(primals: Any, tangents: Any) -> Any:
        raise ValueError(f"{name} was exported without derivatives: export it again with vjp_order=1")

    return primal


# --- leaves: a spec is {"shape": [...], "dtype": name} or {"shape": [...], "key": name of the PRNG}


@functools.cache
def _key_name(dtype: Any) -> str:
    """Which PRNG the typed keys of this dtype belong to."""
    names: list[str] = []
    jax.eval_shape(lambda key: names.append(str(jax.random.key_impl(key))), jax.ShapeDtypeStruct((), dtype))
    return names[0]


def _spec(leaf: Any, path: str) -> dict[str, Any]:
    if not hasattr(leaf, "dtype") and not isinstance(leaf, (bool, int, float, complex)):
        raise TypeError(
            f"{path} must be an array or a number, got {type(leaf).__name__} {leaf!r}; bind it with functools.partial"
        )
    shape = [size if isinstance(size, int) else str(size) for size in jnp.shape(leaf)]
    if is_key(leaf):
        return {"shape": shape, "key": _key_name(leaf.dtype)}
    return {"shape": shape, "dtype": jnp.result_type(leaf).name}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    if is_key(leaf):
        return jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _wrap(array: Array, spec: dict[str, Any]) -> Array:
    return jax.random.wrap_key_data(array, impl=spec["key"]) if "key" in spec else array


def _unwrap(leaf: Any) -> Array:
    return jax.random.key_data(leaf) if is_key(leaf) else jnp.asarray(leaf)


def _fitting(leaf: Any, spec: dict[str, Any], path: str) -> Any:
    """The leaf, if it has the shape and dtype of the spec; a Python number takes the dtype as it does in jax."""
    got = _spec(leaf, path)
    if not hasattr(leaf, "dtype") and "dtype" in spec and spec["shape"] == []:
        got["dtype"] = jnp.result_type(leaf, jnp.dtype(spec["dtype"])).name
        leaf = jnp.asarray(leaf, got["dtype"])
    same_shape = len(got["shape"]) == len(spec["shape"]) and all(
        isinstance(want, str) or isinstance(have, str) or want == have
        for have, want in zip(got["shape"], spec["shape"], strict=True)
    )
    if not same_shape or got.get("dtype") != spec.get("dtype") or got.get("key") != spec.get("key"):
        raise ValueError(f"{path} must be {_show_leaf(spec)}, got {_show_leaf(got)}")
    return leaf


# --- trees as JSON: None is null, the i-th leaf is the number i, containers are {"kind": ..., "items": ...}


def _describe_tree(tree: PyTree, name: str) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    return _describe(jax.tree.unflatten(treedef, range(len(leaves))), name)


def _describe(node: PyTree, path: str) -> Any:
    if node is None or type(node) is int:
        return node
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        items = [_describe(item, f"{path}.{field}") for field, item in zip(node._fields, node, strict=True)]
        return {"kind": "namedtuple", "name": type(node).__name__, "fields": list(node._fields), "items": items}
    if type(node) in (tuple, list):
        return {"kind": type(node).__name__, "items": [_describe(x, f"{path}[{i}]") for i, x in enumerate(node)]}
    if type(node) is dict and all(type(key) in (str, int) for key in node):
        keys = sorted(node)
        return {"kind": "dict", "keys": keys, "items": [_describe(node[key], f"{path}[{key!r}]") for key in keys]}
    raise TypeError(
        f"{path} is a {type(node).__name__}: an artifact holds tuples, lists, NamedTuples, None and dicts with string "
        "or integer keys; convert it (flax.nnx.to_pure_dict for a state of modules)"
    )


@functools.cache
def _namedtuple(name: str, fields: tuple[str, ...]) -> type:
    # Cached, because two results of one function must be the same type for jax.tree.map to take them together.
    return namedtuple(name, fields)


def _build_tree(node: Any, leaves: Sequence[Any]) -> PyTree:
    if node is None:
        return None
    if isinstance(node, int):
        return leaves[node]
    items = [_build_tree(item, leaves) for item in node["items"]]
    if node["kind"] == "namedtuple":
        return _namedtuple(node["name"], tuple(node["fields"]))(*items)
    if node["kind"] == "dict":
        return dict(zip(node["keys"], items, strict=True))
    return tuple(items) if node["kind"] == "tuple" else items


def _paths(tree: PyTree) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _types(tree: PyTree) -> list[dict[str, Any]]:
    return [_spec(leaf, path) for leaf, path in zip(jax.tree.leaves(tree), _paths(tree), strict=True)]


def _show_leaf(spec: dict[str, Any]) -> str:
    kind = f"key<{spec['key']}>" if "key" in spec else spec["dtype"]
    return f"{kind}[{', '.join(map(str, spec['shape']))}]"


def _show(node: Any, specs: Sequence[dict[str, Any]]) -> str:
    """A tree on one line, such as ``(Stats(count=float32[3], sum=None), [int32[]])``."""
    if node is None:
        return "None"
    if isinstance(node, int):
        return _show_leaf(specs[node])
    items = [_show(item, specs) for item in node["items"]]
    if node["kind"] == "namedtuple":
        return f"{node['name']}({', '.join(f'{f}={x}' for f, x in zip(node['fields'], items, strict=True))})"
    if node["kind"] == "dict":
        return "{" + ", ".join(f"{key!r}: {x}" for key, x in zip(node["keys"], items, strict=True)) + "}"
    if node["kind"] == "list":
        return f"[{', '.join(items)}]"
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


# --- bytes


def _pack(metadata: bytes, payload: bytes) -> bytes:
    lengths = _LENGTHS.pack(_MAGIC, _FORMAT, len(metadata), len(payload))
    return lengths + _digest(lengths, metadata, payload) + metadata + payload


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    if data[: len(_MAGIC)] != _MAGIC[: len(data)]:
        raise ValueError(f"data is not an artifact of export_function: it starts with {data[: len(_MAGIC)]!r}")
    if len(data) < _HEADER_SIZE:
        raise ValueError(f"the artifact is truncated: it has {len(data)} bytes, its header alone {_HEADER_SIZE}")
    _, version, metadata_size, payload_size = _LENGTHS.unpack_from(data)
    if version != _FORMAT:
        raise ValueError(
            f"the artifact has format version {version}, this jaxlab reads version {_FORMAT}: export it again with the "
            "jaxlab that loads it, or load it with the one that wrote it (unless the file is damaged)"
        )
    size = _HEADER_SIZE + metadata_size + payload_size
    if len(data) != size:
        what = "truncated" if len(data) < size else "longer than it says"
        raise ValueError(f"the artifact is {what}: it has {len(data)} bytes, its header says {size}; copy it again")
    metadata = data[_HEADER_SIZE : _HEADER_SIZE + metadata_size]
    payload = data[_HEADER_SIZE + metadata_size :]
    if _digest(data[: _LENGTHS.size], metadata, payload) != data[_LENGTHS.size : _HEADER_SIZE]:
        raise ValueError("the artifact is damaged: its sha256 does not match its content; copy it again")
    return json.loads(metadata), payload


# --- environment


def _require_flatbuffers() -> None:
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise ImportError("exported functions need the package flatbuffers: pip install 'jaxlab[deploy]'") from error


def _platforms(platforms: Iterable[str]) -> tuple[str, ...]:
    known = ("cpu", "cuda", "rocm", "tpu")
    chosen = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    if not chosen or any(platform not in known for platform in chosen):
        raise ValueError(f"platforms must be one or more of {', '.join(map(repr, known))}, got {chosen!r}")
    return chosen


def _check_platform(metadata: dict[str, Any]) -> None:
    here, allowed = jax_export.default_export_platform(), metadata["platforms"]
    # A machine with an accelerator can run CPU code too, under jax.default_device.
    if here not in allowed and "cpu" not in allowed:
        raise ValueError(
            f"the artifact was exported for {', '.join(allowed)}, this process runs on {here}: export it again with "
            f"platforms=({here!r}, ...), or start on one of the platforms it has"
        )
