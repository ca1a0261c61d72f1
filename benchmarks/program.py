"""What a compiled program moves: the loops over large arrays in XLA's final text, and the bytes each touches."""

import math
import re
from typing import Any, NamedTuple

import jax

_BITS = {"pred": 8, "token": 0, "opaque": 0, "c64": 64, "c128": 128, "bf16": 16}
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(?:, (.*))?$")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_NAME = re.compile(r"%?([A-Za-z_][\w.\-]*)")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota", "partition-id"}


class Loop(NamedTuple):
    """One kernel of the program: what it is called, and the bytes it reads and writes."""

    name: str
    opcode: str
    read: int
    written: int


class Program(NamedTuple):
    """A compiled program in numbers.

    Attributes:
      bytes: what XLA's own cost analysis says is accessed, the costlier branch of each conditional.
      quiet_bytes: the same with the cheaper branch of each: a step at which nothing extraordinary happens.
      temporaries: bytes allocated beside arguments and results.
      copies: the copies of arrays of more than a kilobyte.
      loops: the kernels that touch such arrays, of the cheaper branches.
    """

    bytes: float
    quiet_bytes: float
    temporaries: int
    copies: int
    loops: list[Loop]


def read_program(compiled: Any) -> Program:
    """The numbers of a compiled function."""
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    entry, computations = _parse(compiled.as_text())
    quiet = _loops(computations, entry, min)
    copies = {loop.name for choose in (min, max) for loop in _loops(computations, entry, choose)
              if loop.opcode.startswith("copy") and loop.written > 1024}  # fmt: skip
    return Program(
        bytes=float(cost["bytes accessed"]),
        quiet_bytes=float(sum(loop.read + loop.written for loop in quiet)),
        temporaries=int(compiled.memory_analysis().temp_size_in_bytes),
        copies=len(copies),
        loops=[loop for loop in quiet if loop.read + loop.written > 1024],
    )


def counted_bytes(compiled: Any) -> int:
    """The bytes this module counts, taking the costlier branches: to be held against XLA's own count."""
    entry, computations = _parse(compiled.as_text())
    return sum(loop.read + loop.written for loop in _loops(computations, entry, max))


class _Instruction(NamedTuple):
    name: str
    shape: str
    opcode: str
    operands: list[str]
    attributes: str


def _parse(text: str) -> tuple[str, dict[str, list[_Instruction]]]:
    """The name of the entry computation, and the instructions of each computation."""
    entry, computations, current = "", {}, []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            name, shape, opcode, operands, attributes = found.groups(default="")
            current.append(_Instruction(name, shape, opcode, _NAME.findall(_uncomment(operands)), attributes))
    return entry, computations


def _uncomment(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text)


def _size(shape: str) -> int:
    """The bytes of a shape, or of all members of a tuple."""
    return sum(
        math.prod(map(int, filter(None, dims.split(",")))) * _bits(dtype) // 8 for dtype, dims in _SHAPE.findall(shape)
    )


def _bits(dtype: str) -> int:
    return _BITS[dtype] if dtype in _BITS else int(re.sub(r"^f8.*", "8", dtype).lstrip("fsu"))


def _loops(computations: dict[str, list[_Instruction]], name: str, choose: Any) -> list[Loop]:
    """The kernels that run in a computation; of the branches of a conditional, those of the one chosen by its bytes."""
    sizes = {i.name: _size(i.shape) for i in computations[name]}
    loops: list[Loop] = []
    for i in computations[name]:
        if i.opcode == "conditional":
            branches = [_loops(computations, b, choose) for b in _called(i, "branch_computations", computations)]
            loops += choose(branches, key=lambda branch: sum(loop.read + loop.written for loop in branch))
        elif i.opcode in ("call", "while"):
            for called in _called(i, "to_apply" if i.opcode == "call" else "body", computations):
                loops += _loops(computations, called, choose)
        elif i.opcode not in _FREE:
            loops.append(Loop(i.name, i.opcode, sum(sizes.get(x, 0) for x in i.operands), sizes[i.name]))
    return loops


def _called(i: _Instruction, key: str, computations: dict[str, Any]) -> list[str]:
    listed = re.search(rf"{key}=(\{{[^}}]*\}}|%?[\w.\-]+)", i.attributes)
    if listed is None and key == "branch_computations":  # the older way to write a conditional of two branches
        names = [_called(i, branch, computations) for branch in ("false_computation", "true_computation")]
        return [name for found in names for name in found]
    return [name for name in _NAME.findall(listed[1]) if name in computations] if listed else []


def compile_step(tx: Any, apply_updates: Any, params: Any) -> Any:
    """A whole step, compiled from shapes alone, with parameters and state donated."""
    step, state = abstract_step(tx, apply_updates, params)
    return jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile()


def abstract_step(tx: Any, apply_updates: Any, params: Any) -> tuple[Any, Any]:
    """A training step without the gradient, and the shapes of the state."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return apply_updates(params, updates), state

    return step, jax.eval_shape(tx.init, params)
