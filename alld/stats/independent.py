"""How far a number differs between two sets of other images, judged by one model."""

from math import hypot

from alld.stats.metrics import Metric


def independent_difference(first: Metric, second: Metric) -> Metric:
    """Return first - second with an interval made from those of both.

    With d = a - b, the lower end is d - sqrt((a - l_a)² + (u_b - b)²), the upper end
    d + sqrt((u_a - a)² + (b - l_b)²). For two proportions with Wilson's intervals this is
    Newcombe's; it holds for any number, and inherits what its two intervals allow for: images that
    hang together, and a perfect score that resampling alone would take for certain.

    Args:
        first, second: the same metric on sets that share no image and no group.

    Returns:
        The difference, of n images in all; None with the reason where either is undefined.

    Source: Newcombe, Stat. Med. 17 (1998) 873-890, method 10; for other numbers Zou and Donner,
    Stat. Med. 27 (2008) 1693-1702.
    """
    n = first.n + second.n
    if first.value is None or second.value is None:
        lacking = first if first.value is None else second
        return Metric(None, None, n, None, None, None, lacking.reason)
    a, b = first.value, second.value
    lows, highs = (first.ci_low, second.ci_low), (first.ci_high, second.ci_high)
    if lows[0] is None or lows[1] is None or highs[0] is None or highs[1] is None:
        reason = first.reason if lows[0] is None else second.reason
        return Metric(a - b, None, n, None, None, None, reason)
    low = a - b - hypot(a - lows[0], highs[1] - b)
    high = a - b + hypot(highs[0] - a, b - lows[1])
    method = "Newcombe, from both intervals, 95 %"
    return Metric(a - b, None, n, low, high, method)
