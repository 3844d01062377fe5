"""How numbers are written. Rounding is the only thing that happens to a record's number here."""

import math

UNITS_OF_TIME = ((86400.0 * 2, 86400.0, "days"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"))
DECIMAL_PREFIXES = ((1e9, "billion"), (1e6, "million"))
BINARY_PREFIXES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def points(value: float, edge: float = 2.0) -> str:
    """A difference in percentage points, signed, two decimals: `+1.25`.

    A value just beyond ±`edge` gets as many decimals as it needs not to look as if it were on it: 2.0004 must
    not be printed as a failing +2.00. One that is beyond it only by the error of a float is on it.
    """
    decimals = 2
    while abs(value) > edge + 1e-9 and decimals < 9 and round(abs(value), decimals) <= edge:
        decimals += 1
    return f"{value:+.{decimals}f}" if round(value, decimals) else "0.00"


def interval_points(interval: tuple[float, float] | None, edge: float = 2.0) -> str:
    """An interval of a difference in percentage points: `[-0.52, +1.91]`; `–` where there is none."""
    return "–" if interval is None else f"[{points(interval[0], edge)}, {points(interval[1], edge)}]"


def percent(share: float, decimals: int = 2) -> str:
    """A share in 0..1 as a percentage without its sign: `84.02`."""
    return f"{100 * share:.{decimals}f}"


def significant(value: float, digits: int = 4) -> str:
    """`digits` significant digits, thousands separated, `1.234e+23` only where it would be too long."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude < 9:
        return scientific(value, digits)
    return f"{round(value, digits - 1 - magnitude):,.{max(0, digits - 1 - magnitude)}f}"


def trimmed(value: float) -> str:
    """At most six significant digits and no zeros that say nothing: `0.3`, `1,024`. For inputs, as they were given."""
    return f"{value:,.6g}"


def scientific(value: float, digits: int = 4) -> str:
    """`3.143e23`: as FLOP are written in the field."""
    if not math.isfinite(value):
        return str(value)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def loss(value: float) -> str:
    """A cross-entropy in nats per token, four decimals."""
    return f"{value:.4f}"


def probability(value: float | None) -> str:
    """A p value: three decimals, and `<0.001` below; `–` where there is none."""
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def seconds(value: float) -> str:
    """Seconds, and the same in a larger unit once there are more than two minutes: `9,312 s (2.59 h)`."""
    plain = f"{value:,.{0 if abs(value) >= 1000 else 2}f} s"
    for least, unit, name in UNITS_OF_TIME:
        if value >= least:
            return f"{plain} ({significant(value / unit, 3)} {name})"
    return plain


def usd(value: float) -> str:
    """Dollars, three significant digits: `$4.61 million`."""
    for unit, name in DECIMAL_PREFIXES:
        if value >= unit:
            return f"${significant(value / unit, 3)} {name}"
    return f"${significant(value, 3)}"


def energy(joules: float) -> str:
    """Joules, and kilowatt-hours from one on: `5.40 MJ (1.50 kWh)`."""
    for unit, name in ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ")):
        if joules >= unit:
            plain = f"{significant(joules / unit, 3)} {name}"
            return plain + (f" ({significant(joules / 3.6e6, 3)} kWh)" if joules >= 3.6e6 else "")
    return f"{significant(joules, 3)} J"


def size(value: int) -> str:
    """Bytes with a binary prefix: `1.87 GiB`."""
    for unit, name in BINARY_PREFIXES:
        if value >= unit:
            return f"{significant(value / unit, 3)} {name}"
    return f"{value} bytes"


def gigabytes(value: int) -> str:
    """Bytes in the unit in which accelerators are sold: `26.3 GB`, decimal."""
    return f"{significant(value / 1e9, 3)} GB"


def count(value: int | None) -> str:
    """An integer with its thousands separated; `–` where there is none."""
    return "–" if value is None else f"{value:,}"


def yes_no(value: bool) -> str:
    """Yes or no."""
    return "yes" if value else "no"
