"""The records of a run, a forecast and a calibration on a terminal; a verdict: `report.verdict_terminal`."""

from rich.console import RenderableType

from eval.calibration import Calibration
from extrapolate.forecast import Forecast
from report.calibration_tables import calibration_tables
from report.drawing import draw
from report.forecast_tables import estimate_table
from report.run_tables import held_out_table, ledger_table, throughput_table, time_table, training_table
from train.record import RunRecord


def run_table(run: RunRecord) -> RenderableType:
    """The run: training, held-out loss, time by phase, FLOPs with their conventions, throughput."""
    tables = (
        training_table(run),
        held_out_table(run),
        time_table(run),
        ledger_table(run.flops, run.name).without("exact"),  # up to 33 digits wide
        throughput_table(run),
    )
    return draw(*(table for table in tables if table is not None))


def forecast_summary(forecast: Forecast) -> RenderableType:
    """The estimates alone, for the end of a run; inputs and caveats stand in the report."""
    return draw(estimate_table(forecast))


def calibration_table(calibration: Calibration) -> RenderableType:
    """The operating characteristics of the suite."""
    return draw(*calibration_tables(calibration))
