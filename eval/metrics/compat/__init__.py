"""Published timing rules, so that our figures can stand beside published tables: rewards for silence included.

Clean-room: each module is written from a description of the rule, none from its code. Where a rule is known to
mislead, the fault is a named quirk that can be switched off. For what a system is worth see `eval.metrics.timing`.
"""

from eval.metrics.base import Metric
from eval.metrics.compat.metrics_fdb import fdb_metrics
from eval.metrics.compat.metrics_other import other_metrics
from eval.metrics.compat.quirks import PUBLISHED, Quirks


def compat_metrics(quirks: Quirks = PUBLISHED) -> tuple[Metric, ...]:
    """Every published rule with these quirks (all of them need more than spans only where the rule does)."""
    return (*fdb_metrics(quirks), *other_metrics())


COMPAT = compat_metrics()
