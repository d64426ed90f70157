"""RDS whose databases and snapshots take their time, and refuse what they cannot do meanwhile.

A snapshot is `creating` for a while, and its database `backing-up`; a copy takes a time of its own,
and so does what is restored. Quotas and states are a test's to set, see `set_world`. Lists have
pages. All else is moto's.
"""

import os
import time

from moto.rds import models, responses
from moto.rds.exceptions import InvalidParameterValue, RDSClientError

from . import settings

Response = responses.RDSResponse
Backend = models.RDSBackend
# Moto's own versions of what is replaced below.
moto_copy_db_snapshot = Response.copy_db_snapshot
moto_copy_db_cluster_snapshot = Response.copy_db_cluster_snapshot
moto_create_db_snapshot = Backend.create_db_snapshot
moto_create_db_cluster_snapshot = Backend.create_db_cluster_snapshot
moto_delete_db_snapshot = Backend.delete_db_snapshot
moto_delete_db_cluster_snapshot = Backend.delete_db_cluster_snapshot
moto_restore_instance = Backend.restore_db_instance_from_db_snapshot
moto_restore_cluster = Backend.restore_db_cluster_from_snapshot
moto_cluster_status = models.DBCluster.status

RECORDS_MAX_DEFAULT = 100
QUOTA_VARIABLE = "MOTO_RDS_SNAPSHOT_LIMIT"
READY = ("available", "storage-optimization")

# Seconds that things take; null: what the environment says.
SECONDS = {"snapshot": None, "copy": None, "restore": None}
# Identifier of an instance, cluster or snapshot -> its status, until it is taken back.
FORCED = {}


def set_world(said):
    """The lever: {"seconds": {"snapshot", "copy", "restore"}, "status": {identifier: status or
    null}, "quota": snapshots of a region, or null}."""
    SECONDS.update(said.get("seconds", {}))
    for identifier, status in said.get("status", {}).items():
        FORCED.pop(identifier, None)
        if status is not None:
            FORCED[identifier] = status
    if "quota" in said:
        os.environ.pop(QUOTA_VARIABLE, None)
        if said["quota"] is not None:
            os.environ[QUOTA_VARIABLE] = str(said["quota"])


def reset():
    FORCED.clear()
    os.environ.pop(QUOTA_VARIABLE, None)
    for kind in SECONDS:
        SECONDS[kind] = None


def seconds_of(thing):
    kind = thing.__dict__.get("emulator_kind", "snapshot")
    said = SECONDS[kind]
    if said is not None:
        return float(said)
    return 0.0 if kind == "restore" else settings.SNAPSHOT_SECONDS


def progress(thing):
    """From 0 to 1."""
    started = thing.__dict__.get("emulator_started")
    seconds = seconds_of(thing)
    if started is None or seconds <= 0:
        return 1.0
    return min(1.0, (time.time() - started) / seconds)


def make_progressive(snapshot_class):
    """The snapshot is `creating` at first; moto's own status is ignored."""
    moto_init = snapshot_class.__init__

    def init(self, *arguments, **named):
        moto_init(self, *arguments, **named)
        self.emulator_started = time.time()

    def status(self):
        return FORCED.get(self.resource_id) or (
            "available" if progress(self) >= 1 else "creating"
        )

    def ignore(_self, _value):
        pass

    snapshot_class.__init__ = init
    snapshot_class.status = property(status, ignore)
    snapshot_class.percent_progress = property(lambda self: int(100 * progress(self)), ignore)


def is_backed_up(snapshots, field, identifier):
    """Whether a person's snapshot of it is being made."""
    return any(
        getattr(one, field) == identifier
        and one.snapshot_type == "manual"
        and one.__dict__.get("emulator_kind", "snapshot") == "snapshot"
        and progress(one) < 1
        for one in list(snapshots.values())
    )


def instance_status(self):
    forced = FORCED.get(self.db_instance_identifier)
    if forced:
        return forced
    if progress(self) < 1:
        return "creating"
    snapshots = self.backend.database_snapshots
    if is_backed_up(snapshots, "db_instance_identifier", self.db_instance_identifier):
        return "backing-up"
    return self.__dict__.get("emulator_status", "available")


def set_instance_status(self, value):
    self.emulator_status = value


def cluster_status(self):
    forced = FORCED.get(self.db_cluster_identifier)
    if forced:
        return forced
    own = moto_cluster_status.fget(self)
    if progress(self) < 1:
        return "creating"
    snapshots = self.backend.cluster_snapshots
    if is_backed_up(snapshots, "db_cluster_identifier", self.db_cluster_identifier):
        return "backing-up"
    return own


def refuse(code, message):
    raise RDSClientError(code, message)


def create_db_snapshot(self, db_instance_identifier, db_snapshot_identifier, *rest, **more):
    database = self.databases.get(db_instance_identifier)
    kind = more.get("snapshot_type", rest[0] if rest else "manual")
    taken = db_snapshot_identifier in self.database_snapshots
    if database and kind == "manual" and not taken and database.status not in READY:
        message = f"Instance {db_instance_identifier} is not currently available."
        refuse("InvalidDBInstanceState", message)
    return moto_create_db_snapshot(
        self, db_instance_identifier, db_snapshot_identifier, *rest, **more
    )


def create_db_cluster_snapshot(
    self, db_cluster_identifier, db_cluster_snapshot_identifier, *rest, **more
):
    cluster = self.clusters.get(db_cluster_identifier)
    kind = more.get("snapshot_type", rest[0] if rest else "manual")
    taken = db_cluster_snapshot_identifier in self.cluster_snapshots
    if cluster and kind == "manual" and not taken and cluster.status not in READY:
        message = f"Cluster {db_cluster_identifier} is not currently available."
        refuse("InvalidDBClusterStateFault", message)
    return moto_create_db_cluster_snapshot(
        self, db_cluster_identifier, db_cluster_snapshot_identifier, *rest, **more
    )


def delete_db_snapshot(self, db_snapshot_identifier):
    snapshot = self.database_snapshots.get(db_snapshot_identifier)
    if snapshot and snapshot.status == "creating" and snapshot.snapshot_type == "manual":
        message = f"Cannot delete the snapshot because it is in {snapshot.status} state."
        refuse("InvalidDBSnapshotState", message)
    return moto_delete_db_snapshot(self, db_snapshot_identifier)


def delete_db_cluster_snapshot(self, db_snapshot_identifier):
    snapshot = self.cluster_snapshots.get(db_snapshot_identifier)
    if snapshot and snapshot.status == "creating" and snapshot.snapshot_type == "manual":
        message = f"Cannot delete the snapshot because it is in {snapshot.status} state."
        refuse("InvalidDBClusterSnapshotStateFault", message)
    return moto_delete_db_cluster_snapshot(self, db_snapshot_identifier)


def check_source(response, source, encrypted, code):
    """A source that is not ready is not copied, and no key leaves its region."""
    if source.status != "available":
        refuse(code, f"The source snapshot is in {source.status} state.")
    elsewhere = source.region != response.region
    if encrypted and elsewhere and not response.params.get("KmsKeyId"):
        raise InvalidParameterValue(
            "Must specify new KMS key for cross region encrypted snapshot copy"
        )


def copy_db_snapshot(self):
    named = self.params.get("SourceDBSnapshotIdentifier", "")
    source = self.backend.get_db_snapshot(named)
    taken = self.params.get("TargetDBSnapshotIdentifier") in self.backend.database_snapshots
    if not taken:
        check_source(self, source, source.encrypted, "InvalidDBSnapshotState")
    response = moto_copy_db_snapshot(self)
    snapshot = response.result["DBSnapshot"]
    snapshot.emulator_kind = "copy"
    snapshot.source_db_snapshot_identifier = named
    if named.startswith("arn:"):
        snapshot.source_region = named.split(":")[3]
    return response


def copy_db_cluster_snapshot(self):
    named = self.params.get("SourceDBClusterSnapshotIdentifier", "")
    source = self.backend.get_db_cluster_snapshot(named)
    target = self.params.get("TargetDBClusterSnapshotIdentifier")
    if target not in self.backend.cluster_snapshots:
        encrypted = source.storage_encrypted
        check_source(self, source, encrypted, "InvalidDBClusterSnapshotStateFault")
    response = moto_copy_db_cluster_snapshot(self)
    response.result["DBClusterSnapshot"].emulator_kind = "copy"
    return response


def begin_restore(restored):
    restored.emulator_kind = "restore"
    restored.emulator_started = time.time()
    return restored


def restore_instance(self, from_snapshot_id, overrides):
    return begin_restore(moto_restore_instance(self, from_snapshot_id, overrides))


def restore_cluster(self, from_snapshot_id, overrides):
    identifier = overrides["db_cluster_identifier"]
    if identifier in self.clusters:
        refuse("DBClusterAlreadyExistsFault", "DB Cluster already exists")
    return begin_restore(moto_restore_cluster(self, from_snapshot_id, overrides))


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
    models.DBInstance.status = property(instance_status, set_instance_status)
    models.DBCluster.status = property(cluster_status, moto_cluster_status.fset)
    Backend.create_db_snapshot = create_db_snapshot
    Backend.create_db_cluster_snapshot = create_db_cluster_snapshot
    Backend.delete_db_snapshot = delete_db_snapshot
    Backend.delete_db_cluster_snapshot = delete_db_cluster_snapshot
    Backend.restore_db_instance_from_db_snapshot = restore_instance
    Backend.restore_db_cluster_from_snapshot = restore_cluster
    Response.copy_db_snapshot = copy_db_snapshot
    Response.copy_db_cluster_snapshot = copy_db_cluster_snapshot
    Response.describe_db_snapshots = paged(Response.describe_db_snapshots, "DBSnapshots")
    Response.describe_db_cluster_snapshots = paged(
        Response.describe_db_cluster_snapshots, "DBClusterSnapshots"
    )
