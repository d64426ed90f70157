"""The emulator's own checks: what the end-to-end tests rely on, against one running server.

    python -m unittest discover -s tests/emulator
"""

import base64
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request
import zlib

import boto3
import botocore
from awscrt import checksums

from groundcrew_emulator import cbor

HERE = pathlib.Path(__file__).parent
REGION = "us-east-1"
NAME = {"AutoScalingGroupName": "web"}
server = endpoint = None


def setUpModule():
    global server, endpoint
    server = subprocess.Popen(
        [sys.executable, "-m", "groundcrew_emulator", "--port", "0", "--until-stdin-closes"],
        cwd=HERE,
        env={"EMULATOR_DRAIN_SECONDS": "0", "PATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    endpoint = server.stdout.readline().split()[-1]


def tearDownModule():
    # Closing stdin is how every starter ends it: a server that stayed would fail this wait.
    server.stdin.close()
    server.wait(timeout=10)
    server.stdout.close()


def client(service, retries=0, region=REGION):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=botocore.config.Config(
            retries={"total_max_attempts": retries + 1},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
        ),
    )


def request(path, method="GET", body=None, **headers):
    """(status, headers, text)"""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    made = urllib.request.Request(endpoint + path, method=method, data=body, headers=names)
    try:
        with urllib.request.urlopen(made, timeout=10) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


class Check(unittest.TestCase):
    def refused(self, status, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], status)
        return caught.exception.response


class S3(Check):
    @classmethod
    def setUpClass(cls):
        cls.s3 = client("s3")
        cls.s3.create_bucket(Bucket="bucket")

    def put(self, key, body, **more):
        return self.s3.put_object(Bucket="bucket", Key=key, Body=body, **more)

    def body(self, key, **more):
        return self.s3.get_object(Bucket="bucket", Key=key, **more)["Body"].read()

    def test_a_read_with_the_current_etag_is_not_modified(self):
        etag = self.put("channel", b"one")["ETag"]
        get = {"Bucket": "bucket", "Key": "channel", "IfNoneMatch": etag}
        answer = self.refused(304, self.s3.get_object, **get)
        self.assertEqual(answer["ResponseMetadata"]["HTTPHeaders"]["etag"], etag)
        self.put("channel", b"two")
        self.assertEqual(self.body("channel", IfNoneMatch=etag), b"two")

    def test_if_none_match_lets_one_writer_through(self):
        def write(number):
            try:
                self.put("manifest", b"%d" % number, IfNoneMatch="*")
                return 200
            except botocore.exceptions.ClientError as error:
                return error.response["ResponseMetadata"]["HTTPStatusCode"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(write, range(8)))
        self.assertEqual(statuses, [200] + [412] * 7)

    def test_if_match_is_compare_and_swap(self):
        first = self.put("cas", b"1")["ETag"]
        self.put("cas", b"2", IfMatch=first)
        put = {"Bucket": "bucket", "Key": "cas", "Body": b"3", "IfMatch": first}
        self.refused(412, self.s3.put_object, **put)
        self.assertEqual(self.body("cas"), b"2")
        self.refused(404, self.s3.put_object, **{**put, "Key": "missing"})

    def test_ranges(self):
        data = bytes(range(256)) * 64
        self.put("range", data)
        part = self.s3.get_object(Bucket="bucket", Key="range", Range="bytes=1000-1999")
        self.assertEqual(part["ContentRange"], f"bytes 1000-1999/{len(data)}")
        self.assertEqual(part["Body"].read(), data[1000:2000])
        self.assertEqual(self.body("range", Range="bytes=-5"), data[-5:])
        get = {"Bucket": "bucket", "Key": "range", "Range": f"bytes={len(data)}-"}
        self.refused(416, self.s3.get_object, **get)
        get = {"Bucket": "bucket", "Key": "range", "Range": "bytes=0-9", "IfMatch": '"other"'}
        self.refused(412, self.s3.get_object, **get)

    def test_a_wrong_checksum_is_refused_and_nothing_is_stored(self):
        def encoded(number, width):
            return base64.b64encode(number.to_bytes(width, "big")).decode()

        wrong = {
            "ChecksumCRC32": encoded(zlib.crc32(b"other"), 4),
            "ChecksumCRC64NVME": encoded(checksums.crc64nvme(b"other"), 8),
            "ChecksumSHA256": base64.b64encode(hashlib.sha256(b"other").digest()).decode(),
            "ContentMD5": base64.b64encode(hashlib.md5(b"other").digest()).decode(),
        }
        for name, value in wrong.items():
            with self.subTest(name):
                put = {"Bucket": "bucket", "Key": name, "Body": b"body", name: value}
                answer = self.refused(400, self.s3.put_object, **put)
                self.assertEqual(answer["Error"]["Code"], "BadDigest")
                self.refused(404, self.s3.head_object, Bucket="bucket", Key=name)

    def test_a_multipart_upload_has_the_checksum_of_the_whole(self):
        parts = [bytes(5 << 20), b"end"]
        whole = base64.b64encode(checksums.crc64nvme(b"".join(parts)).to_bytes(8, "big")).decode()
        at = {"Bucket": "bucket", "Key": "multipart"}
        kind = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        upload = self.s3.create_multipart_upload(**at, **kind)["UploadId"]
        done = []
        for number, part in enumerate(parts, start=1):
            sent = self.s3.upload_part(**at, UploadId=upload, PartNumber=number, Body=part)
            done.append({"PartNumber": number, "ETag": sent["ETag"]})
        end = {"UploadId": upload, "MultipartUpload": {"Parts": done}}
        self.s3.complete_multipart_upload(**at, **end)
        head = self.s3.head_object(**at, ChecksumMode="ENABLED")
        self.assertEqual(head["ChecksumCRC64NVME"], whole)
        self.assertEqual(head["ContentLength"], sum(map(len, parts)))


class Imds(Check):
    def token(self):
        seconds = {"X_aws_ec2_metadata_token_ttl_seconds": "60"}
        status, headers, token = request("/latest/api/token", "PUT", **seconds)
        self.assertEqual((status, headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"]), (200, "60"))
        return token

    def test_only_with_a_token(self):
        self.assertEqual(request("/latest/meta-data/instance-id")[0], 401)
        self.assertEqual(request("/latest/api/token", "PUT")[0], 400)
        token = {"X_aws_ec2_metadata_token": self.token()}
        status, _, text = request("/latest/meta-data/placement/region", **token)
        self.assertEqual((status, text), (200, REGION))

    def test_notices_can_be_made_and_taken_back(self):
        token = {"X_aws_ec2_metadata_token": self.token()}
        path = "spot/instance-action"
        notice = {"action": "terminate", "time": "2026-01-01T00:00:00Z"}
        for value, status in ((None, 404), (notice, 200), (None, 404)):
            request("/_emulator/imds", "POST", json.dumps({path: value}).encode())
            answer = request("/latest/meta-data/" + path, **token)
            self.assertEqual(answer[0], status)
            if value:
                self.assertEqual(json.loads(answer[2]), notice)


class AutoScaling(Check):
    def setUp(self):
        request("/moto-api/reset", "POST")
        self.group, self.elb = client("autoscaling"), client("elbv2")
        ec2 = client("ec2")
        self.subnet = ec2.describe_subnets()["Subnets"][0]
        self.target = self.elb.create_target_group(
            Name="web", Protocol="HTTP", Port=80, VpcId=self.subnet["VpcId"]
        )["TargetGroups"][0]["TargetGroupArn"]
        image = ec2.describe_images()["Images"][0]["ImageId"]
        self.group.create_launch_configuration(
            LaunchConfigurationName="lc", ImageId=image, InstanceType="t3.micro"
        )

    def create(self, **more):
        """Makes the group; answers its one instance."""
        self.group.create_auto_scaling_group(
            **NAME, MinSize=0, MaxSize=2, DesiredCapacity=1, LaunchConfigurationName="lc",
            TargetGroupARNs=[self.target], VPCZoneIdentifier=self.subnet["SubnetId"], **more,
        )
        [instance] = self.members()
        return instance

    def members(self):
        found = self.group.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])
        every = found["AutoScalingGroups"][0]["Instances"]
        return {one["InstanceId"]: one["LifecycleState"] for one in every}

    def targets(self):
        health = self.elb.describe_target_health(TargetGroupArn=self.target)
        return [one["Target"]["Id"] for one in health["TargetHealthDescriptions"]]

    def test_a_terminate_hook_holds_the_instance_after_its_target_was_deregistered(self):
        group, hook = self.group, {"LifecycleHookName": "drain", **NAME}
        instance = self.create()
        transition = "autoscaling:EC2_INSTANCE_TERMINATING"
        group.put_lifecycle_hook(**hook, LifecycleTransition=transition, HeartbeatTimeout=60)
        self.assertEqual(self.targets(), [instance])
        group.set_desired_capacity(**NAME, DesiredCapacity=0)
        self.assertEqual(self.members(), {instance: "Terminating:Wait"})
        self.assertEqual(self.targets(), [])
        group.record_lifecycle_action_heartbeat(**hook, InstanceId=instance)
        result = {"InstanceId": instance, "LifecycleActionResult": "CONTINUE"}
        group.complete_lifecycle_action(**hook, **result)
        self.assertEqual(self.members(), {})
        self.refused(400, group.complete_lifecycle_action, **hook, **result)

    def test_a_hook_that_comes_with_the_group_holds_its_first_instance(self):
        transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
        hook = {"LifecycleHookName": "warm", "LifecycleTransition": transition}
        instance = self.create(LifecycleHookSpecificationList=[{**hook, "HeartbeatTimeout": 60}])
        self.assertEqual((self.members(), self.targets()), ({instance: "Pending:Wait"}, []))
        [described] = self.group.describe_lifecycle_hooks(**NAME)["LifecycleHooks"]
        self.assertEqual((described["DefaultResult"], described["GlobalTimeout"]),
                         ("ABANDON", 6000))
        done = {"LifecycleHookName": "warm", "LifecycleActionResult": "CONTINUE", **NAME}
        wrong = {**done, "LifecycleActionToken": "0" * 36}
        answer = self.refused(400, self.group.complete_lifecycle_action, **wrong)
        self.assertIn("found with token 000", answer["Error"]["Message"])
        self.group.complete_lifecycle_action(**done, InstanceId=instance)
        self.assertEqual((self.members(), self.targets()), ({instance: "InService"}, [instance]))

    def test_standby_and_detachment_over_the_api(self):
        instance = self.create()
        named = {"InstanceIds": [instance], **NAME}
        decrement = {"ShouldDecrementDesiredCapacity": True}
        self.refused(400, self.group.exit_standby, **named)
        self.group.enter_standby(**named, **decrement)
        self.assertEqual((self.members(), self.targets()), ({instance: "Standby"}, []))
        self.refused(400, self.group.enter_standby, **named, **decrement)
        self.group.exit_standby(**named)
        self.assertEqual((self.members(), self.targets()), ({instance: "InService"}, [instance]))
        self.group.detach_instances(**named, **decrement)
        self.assertEqual((self.members(), self.targets()), ({}, []))

    def test_standby_without_the_decrement_is_replaced(self):
        named = {"InstanceIds": [self.create()], **NAME}
        self.group.enter_standby(**named, ShouldDecrementDesiredCapacity=False)
        self.assertEqual(sorted(self.members().values()), ["InService", "Standby"])


def pull(lever, said):
    """Pulls a lever; see `levers`."""
    request("/_emulator/" + lever, "POST", json.dumps(said).encode())


class Rds(Check):
    SHOP = {"DBInstanceIdentifier": "shop"}

    def setUp(self):
        request("/moto-api/reset", "POST")
        self.rds = client("rds")
        self.rds.create_db_instance(
            **self.SHOP, DBInstanceClass="db.t4g.micro", Engine="postgres", AllocatedStorage=20,
            MasterUsername="root", MasterUserPassword="not a secret",
        )

    def make(self, name, **more):
        return self.rds.create_db_snapshot(DBSnapshotIdentifier=name, **self.SHOP, **more)

    def status(self, name=None, rds=None):
        rds = rds or self.rds
        if name is None:
            return rds.describe_db_instances(**self.SHOP)["DBInstances"][0]["DBInstanceStatus"]
        found = rds.describe_db_snapshots(DBSnapshotIdentifier=name)
        return found["DBSnapshots"][0]["Status"]

    def test_a_snapshot_is_created_while_its_database_is_backing_up(self):
        pull("rds", {"seconds": {"snapshot": 3600}})
        self.make("gc-a", Tags=[{"Key": "groundcrew:job", "Value": "nightly"}])
        self.assertEqual((self.status("gc-a"), self.status()), ("creating", "backing-up"))
        again = self.refused(400, self.make, name="gc-a")
        self.assertEqual(again["Error"]["Code"], "DBSnapshotAlreadyExists")
        other = self.refused(400, self.make, name="gc-b")
        self.assertEqual(other["Error"]["Code"], "InvalidDBInstanceState")
        delete = self.rds.delete_db_snapshot
        early = self.refused(400, delete, DBSnapshotIdentifier="gc-a")
        self.assertEqual(early["Error"]["Code"], "InvalidDBSnapshotState")
        pull("rds", {"seconds": {"snapshot": 0}})
        self.assertEqual((self.status("gc-a"), self.status()), ("available", "available"))
        delete(DBSnapshotIdentifier="gc-a")

    def test_states_and_quotas_are_what_a_test_says(self):
        for status in ("stopped", "storage-full"):
            pull("rds", {"status": {"shop": status}})
            self.assertEqual(self.status(), status)
            refusal = self.refused(400, self.make, name="gc-a")
            self.assertEqual(refusal["Error"]["Code"], "InvalidDBInstanceState")
        pull("rds", {"status": {"shop": None}, "quota": 0})
        refusal = self.refused(400, self.make, name="gc-a")
        self.assertEqual(refusal["Error"]["Code"], "SnapshotQuotaExceeded")
        pull("rds", {"quota": None})
        self.make("gc-a")
        pull("rds", {"status": {"gc-a": "failed"}})
        self.assertEqual(self.status("gc-a"), "failed")

    def test_a_copy_takes_a_time_of_its_own(self):
        pull("rds", {"seconds": {"snapshot": 0, "copy": 3600}})
        arn = self.make("gc-a")["DBSnapshot"]["DBSnapshotArn"]
        there = client("rds", region="eu-west-1")
        copy = {"SourceDBSnapshotIdentifier": arn, "TargetDBSnapshotIdentifier": "gc-a"}
        there.copy_db_snapshot(**copy)
        self.assertEqual(self.status("gc-a", there), "creating")
        self.assertEqual((self.status("gc-a"), self.status()), ("available", "available"))

    def test_calls_fail_on_command(self):
        pull("fault", {"action": "CreateDBSnapshot", "kind": "error", "code": "Throttling",
                       "times": 1})
        refusal = self.refused(400, self.make, name="gc-a")
        self.assertEqual(refusal["Error"]["Code"], "Throttling")
        pull("fault", {"action": "CreateDBSnapshot", "kind": "lost", "times": 1})
        with self.assertRaises(botocore.exceptions.HTTPClientError):
            self.make("gc-a")
        again = self.refused(400, self.make, name="gc-a")
        self.assertEqual(again["Error"]["Code"], "DBSnapshotAlreadyExists")


class Kms(Check):
    def test_calls_fail_on_command(self):
        kms = client("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        fault = {"action": "DescribeKey", "kind": "error", "code": "KMSInternalException",
                 "status": 500, "times": 1}
        pull("fault", fault)
        refusal = self.refused(500, kms.describe_key, KeyId=key)
        self.assertEqual(refusal["Error"]["Code"], "KMSInternalException")
        self.assertEqual(kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Enabled")


class CloudWatch(Check):
    def test_metrics_over_cbor(self):
        path = "/service/GraniteServiceVersion20100801/operation/"
        scope = f"test/20260101/{REGION}/monitoring/aws4_request"
        headers = {
            "Content-Type": "application/cbor",
            "smithy-protocol": "rpc-v2-cbor",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}",
        }
        now = cbor.Tag(1, time.time())
        datum = {"MetricName": "requests", "Value": 3.0, "Timestamp": now}
        put = cbor.encode({"Namespace": "groundcrew", "MetricData": [datum]})

        def call(operation, body):
            made = urllib.request.Request(endpoint + path + operation, body, headers)
            with urllib.request.urlopen(made, timeout=10) as response:
                return cbor.decode(response.read())

        call("PutMetricData", put)
        listed = call("ListMetrics", cbor.encode({}))["Metrics"]
        self.assertIn("requests", [metric["MetricName"] for metric in listed])

    def test_what_is_written_is_read(self):
        value = {"a": [1, -1, 2.5, None, True, False, "é", b"\x00"], "b": {"c": 1 << 40}}
        self.assertEqual(cbor.decode(cbor.encode(value)), value)
        for wrong in (b"", b"\x62a", b"\x82\x01"):
            with self.assertRaises(ValueError):
                cbor.decode(wrong)


if __name__ == "__main__":
    unittest.main()
