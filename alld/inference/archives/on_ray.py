"""Shards as Ray tasks: the function and the parts of any other archive, on as many machines."""

from collections.abc import Callable, Iterable

from alld.inference.archives.shard import Job, judge_shard
from alld.inference.inputs import Shard
from alld.runtime.cluster import Cluster


def judge_on_ray(
    cluster: Cluster, job: Job, shards: Iterable[Shard], told: Callable[[int], None]
) -> None:
    """Judge shards on a cluster all of whose machines see the images, the model and the parts.

    Raises:
        AlldError: what a task could not do, or that its processes died again and again.
    """
    judged = 0

    def still() -> None:
        told(judged)

    calls = ((len(shard.paths), (job, shard.number, shard.paths)) for shard in shards)
    for rows, _ in cluster.spread(judge_shard, calls, still):
        judged += rows
    told(judged)
