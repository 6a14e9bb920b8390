"""The row groups of the report: each function measures one and returns its section."""

from collections.abc import Callable

from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.rows.acting import measure_acting
from sb3_qflex.speed.rows.flow_target import measure_flow_target
from sb3_qflex.speed.rows.growth import measure_growth
from sb3_qflex.speed.rows.latency import measure_latency
from sb3_qflex.speed.rows.loop import measure_loops
from sb3_qflex.speed.rows.memory import measure_memory
from sb3_qflex.speed.rows.update import measure_update
from sb3_qflex.speed.settings import Settings

ROWS: dict[str, Callable[[Settings], Section]] = {
    "flow": measure_flow_target,
    "update": measure_update,
    "acting": measure_acting,
    "latency": measure_latency,
    "growth": measure_growth,
    "memory": measure_memory,
    "loop": measure_loops,
}
