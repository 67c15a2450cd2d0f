"""How a report writes figures: shares in per cent, intervals always with the estimate, p never rounded to nothing."""

from analysis.estimates import Estimate
from protocols.records import MetricInfo


def show(estimate: Estimate, info: MetricInfo) -> str:
    """An estimate with its interval and n, e.g. "0.62 [0.58, 0.66] s n=48"."""
    unit = "" if info.unit == "share" else f" {info.unit}"
    return f"{interval(estimate, info)}{unit} n={estimate.n}"


def interval(estimate: Estimate, info: MetricInfo) -> str:
    """A figure and its interval, shares in per cent."""
    scale, digits = (100, 1) if info.unit == "share" else (1, 2)
    sign = " %" if info.unit == "share" else ""
    if estimate.low is None or estimate.high is None:
        return f"{scale * estimate.value:.{digits}f}{sign} [no interval]"
    return (
        f"{scale * estimate.value:.{digits}f}{sign} "
        f"[{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"
    )


def amount(value: float, info: MetricInfo) -> str:
    """A difference with its unit, e.g. "5 points" or "0.1 s"."""
    return f"{100 * value:.3g} points" if info.unit == "share" else f"{value:.3g} {info.unit}"


def p_value(p: float | None) -> str:
    """A p to two digits, small ones as a bound; a dash where there is no test."""
    if p is None:
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def short_name(system: str) -> str:
    """A system's name without the folders it lies in: "tiny:runs/demo/round-1/aligned/model" is "tiny:aligned", because
    a trained model lies in a folder of that name in its run's; nor the address at which a server's model is asked.
    Addresses alone and commands stay whole."""
    kind, colon, where = system.partition(":")
    model, _, _ = where.partition("@")
    if any(c.isspace() for c in where) or "://" in model:
        return system
    if "://" in where:
        return f"{kind}:{model}"
    return kind + colon + "@".join(_last_folder(path) for path in where.split("@"))


def _last_folder(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    return path if len(parts) < 2 else parts[-2] if parts[-1] == "model" else parts[-1]


def name_in_sentence(info: MetricInfo) -> str:
    """The metric's title inside a sentence."""
    return info.title[0].lower() + info.title[1:]
