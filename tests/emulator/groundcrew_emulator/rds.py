"""RDS snapshots that take a while, copies that name their source region, lists that have pages."""

import time

from moto.rds import models, responses

from . import settings

Response = responses.RDSResponse
moto_copy_db_snapshot = Response.copy_db_snapshot
RECORDS_MAX_DEFAULT = 100


def progress(snapshot):
    """From 0 to 1."""
    started = snapshot.__dict__.get("emulator_started")
    if started is None or settings.SNAPSHOT_SECONDS <= 0:
        return 1.0
    return min(1.0, (time.time() - started) / settings.SNAPSHOT_SECONDS)


def make_progressive(snapshot_class):
    """The snapshot is `creating` at first; moto's own status is ignored."""
    moto_init = snapshot_class.__init__

    def init(self, *arguments, **named):
        moto_init(self, *arguments, **named)
        self.emulator_started = time.time()

    def status(self):
        return "available" if progress(self) >= 1 else "creating"

    def ignore(_self, _value):
        pass

    snapshot_class.__init__ = init
    snapshot_class.status = property(status, ignore)
    snapshot_class.percent_progress = property(lambda self: int(100 * progress(self)), ignore)


def copy_db_snapshot(self):
    response = moto_copy_db_snapshot(self)
    source = self.params.get("SourceDBSnapshotIdentifier", "")
    snapshot = response.result["DBSnapshot"] if hasattr(response, "result") else None
    if snapshot is not None:
        snapshot.source_db_snapshot_identifier = source
        if source.startswith("arn:"):
            snapshot.source_region = source.split(":")[3]
    return response


def paged(call, key):
    """The same call with MaxRecords and Marker."""

    def describe(self):
        response = call(self)
        found = list(response.result[key])
        count = int(self.params.get("MaxRecords") or RECORDS_MAX_DEFAULT)
        start = int(self.params.get("Marker") or 0)
        response.result[key] = found[start : start + count]
        if start + count < len(found):
            response.result["Marker"] = str(start + count)
        return response

    return describe


def install():
    """Replaces moto's methods."""
    make_progressive(models.DBSnapshot)
    make_progressive(models.DBClusterSnapshot)
    Response.copy_db_snapshot = copy_db_snapshot
    Response.describe_db_snapshots = paged(Response.describe_db_snapshots, "DBSnapshots")
    Response.describe_db_cluster_snapshots = paged(
        Response.describe_db_cluster_snapshots, "DBClusterSnapshots"
    )
