"""What is left of something in a second run: the ratio of two means of matched values, with an interval.

Whole clusters are drawn, both runs' values together, so the items' difficulty cancels as far as it is shared. Draws in
which the first run shows nothing of it count as no reduction at all.
"""

from collections.abc import Sequence

import numpy as np

from analysis.estimates import LEVEL, ONE_CLUSTER, Estimate, Floats, codes

DRAWS = 10_000
NOTHING_LEFT = "drawing items again cannot show how sure it is that nothing is left"


def ratio_of_means(a: Floats, b: Floats, clusters: Sequence[str], seed: int = 0) -> Estimate | None:
    """Mean of b over mean of a, [n] matched values; None where a's mean is not above 0 or there are no values.

    The interval is the percentiles' over clusters; `high` may be infinite.
    """
    if not len(a) or a.sum() <= 0:
        return None
    index = codes(clusters)
    sums = np.stack([np.bincount(index, weights=values) for values in (a, b)])
    k = sums.shape[1]
    value = float(sums[1].sum() / sums[0].sum())
    if k < 2 or not value:
        return Estimate(value, None, None, len(a), k, NOTHING_LEFT if not value else ONE_CLUSTER)
    drawn = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=DRAWS) @ sums.T
    ratios = np.divide(drawn[:, 1], drawn[:, 0], out=np.full(DRAWS, np.inf), where=drawn[:, 0] > 0)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return Estimate(value, float(low), float(high), len(a), k)
