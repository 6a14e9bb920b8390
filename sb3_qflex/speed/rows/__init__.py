"""The row groups of the report: each function measures one and returns its section."""

#: Functions by the name of their group; imported when they measure, so that the names cost nothing.
ROWS = {
    "flow": "sb3_qflex.speed.rows.flow_target:measure_flow_target",
    "rounding": "sb3_qflex.speed.rows.rounding:measure_rounding",
    "update": "sb3_qflex.speed.rows.update:measure_update",
    "acting": "sb3_qflex.speed.rows.acting:measure_acting",
    "latency": "sb3_qflex.speed.rows.latency:measure_latency",
    "growth": "sb3_qflex.speed.rows.growth:measure_growth",
    "memory": "sb3_qflex.speed.rows.memory:measure_memory",
    "lattice": "sb3_qflex.speed.rows.lattice:measure_lattice",
    "loop": "sb3_qflex.speed.rows.loop:measure_loops",
    "methods": "sb3_qflex.speed.rows.methods:measure_methods",
}
#: Measured where none is chosen. Two updates of every method take seconds, which the quick form does not have.
BY_DEFAULT = tuple(name for name in ROWS if name != "methods")
#: Those that can run on a GPU.
ON_CUDA = ("flow", "update", "acting")
