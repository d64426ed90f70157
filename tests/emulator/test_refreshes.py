"""Checks of instance refreshes, launch templates and capacity: what the end-to-end tests of
`groundcrew fleet` rely on.

    python -m unittest discover -s tests/emulator
"""

import time

import test_emulator
from test_emulator import NAME, Check, client, pull, request

OLD, NEW = "ami-12c6146b", "ami-03cf127a"
ENDS = ("Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed")


def setUpModule():
    test_emulator.setUpModule()


def tearDownModule():
    test_emulator.tearDownModule()


class Refreshes(Check):
    def setUp(self):
        request("/moto-api/reset", "POST")
        pull("fleet", {"template": "1", "instances": 2, "min": 1, "max": 4, "target_group": False})
        self.auto, self.ec2 = client("autoscaling"), client("ec2")
        self.template = self.group()["LaunchTemplate"]["LaunchTemplateId"]

    def group(self):
        return self.auto.describe_auto_scaling_groups()["AutoScalingGroups"][0]

    def versions(self):
        return sorted(one["LaunchTemplate"]["Version"] for one in self.group()["Instances"])

    def make(self, token="t"):
        made = self.ec2.create_launch_template_version(
            LaunchTemplateId=self.template, SourceVersion="1", ClientToken=token,
            LaunchTemplateData={"ImageId": NEW},
        )
        return made["LaunchTemplateVersion"]

    def start(self, **preferences):
        wanted = {"LaunchTemplateId": self.template, "Version": "2"}
        preferences = {"SkipMatching": True, "AutoRollback": True, **preferences}
        return self.auto.start_instance_refresh(
            **NAME, DesiredConfiguration={"LaunchTemplate": wanted}, Preferences=preferences
        )

    def last(self):
        return self.auto.describe_instance_refreshes(**NAME)["InstanceRefreshes"][0]

    def ended(self):
        by = time.monotonic() + 10
        while time.monotonic() < by:
            last = self.last()
            if last["Status"] in ENDS:
                return last
        self.fail(f"the refresh does not end: {last}")

    def test_a_version_is_its_source_with_a_change_once_for_each_token(self):
        made = self.make()
        data = made["LaunchTemplateData"]
        self.assertEqual((made["VersionNumber"], data["ImageId"]), (2, NEW))
        self.assertEqual(data["InstanceType"], "t3.micro")
        self.assertEqual(self.make()["VersionNumber"], 2)
        self.assertEqual(self.make("other")["VersionNumber"], 3)

    def test_a_refresh_brings_a_version_and_the_group_has_it_at_the_end(self):
        self.make()
        self.assertEqual((self.versions(), self.group()["LaunchTemplate"]["Version"]),
                         (["1", "1"], "1"))
        pull("refresh", {"hold": True})
        self.start()
        again = self.refused(400, self.start)
        self.assertEqual(again["Error"]["Code"], "InstanceRefreshInProgress")
        self.assertEqual(self.group()["LaunchTemplate"]["Version"], "1")
        pull("refresh", {})
        ended = self.ended()
        self.assertEqual((ended["Status"], ended["PercentageComplete"]), ("Successful", 100))
        self.assertEqual((self.versions(), self.group()["LaunchTemplate"]["Version"]),
                         (["2", "2"], "2"))
        self.start()
        before = {one["InstanceId"] for one in self.group()["Instances"]}
        self.assertEqual(self.ended()["Status"], "Successful")
        self.assertEqual({one["InstanceId"] for one in self.group()["Instances"]}, before)

    def test_one_that_fails_goes_back_where_that_was_asked_for(self):
        self.make()
        pull("refresh", {"fail": {"reason": "An alarm went off.", "after": 1}})
        self.start()
        ended = self.ended()
        self.assertEqual(ended["Status"], "RollbackSuccessful")
        self.assertEqual(ended["RollbackDetails"]["RollbackReason"], "An alarm went off.")
        self.assertEqual(self.versions(), ["1", "1"])
        self.start(AutoRollback=False)
        ended = self.ended()
        self.assertEqual((ended["Status"], ended["StatusReason"]), ("Failed", "An alarm went off."))
        self.assertEqual((self.versions(), self.group()["LaunchTemplate"]["Version"]),
                         (["1", "2"], "1"))

    def test_one_is_cancelled_or_rolled_back_by_hand_and_only_while_it_runs(self):
        self.make()
        for call in (self.auto.cancel_instance_refresh, self.auto.rollback_instance_refresh):
            refusal = self.refused(400, call, **NAME)
            self.assertEqual(refusal["Error"]["Code"], "ActiveInstanceRefreshNotFound")
        pull("refresh", {"hold": True})
        self.start()
        self.auto.cancel_instance_refresh(**NAME)
        self.assertEqual(self.ended()["Status"], "Cancelled")
        self.start()
        self.auto.rollback_instance_refresh(**NAME)
        pull("refresh", {})
        self.assertEqual(self.ended()["Status"], "RollbackSuccessful")

    def test_nothing_goes_back_to_a_version_without_a_number(self):
        self.make()
        for version in ("$Latest", "$Default"):
            wanted = {"LaunchTemplateId": self.template, "Version": version}
            self.auto.update_auto_scaling_group(**NAME, LaunchTemplate=wanted)
            self.refused(400, self.start)

    def test_capacity_stays_within_its_bounds(self):
        scale = self.auto.set_desired_capacity
        for wanted in (0, 5):
            self.refused(400, scale, **NAME, DesiredCapacity=wanted)
        scale(**NAME, DesiredCapacity=3)
        refusal = self.refused(400, scale, **NAME, DesiredCapacity=2, HonorCooldown=True)
        self.assertEqual(refusal["Error"]["Code"], "ScalingActivityInProgress")
        scale(**NAME, DesiredCapacity=2)

    def test_what_failed_is_among_the_activities(self):
        pull("activity", {"description": "Launching a new EC2 instance", "reason": "No capacity."})
        first = self.auto.describe_scaling_activities(**NAME)["Activities"][0]
        self.assertEqual((first["StatusCode"], first["StatusMessage"]), ("Failed", "No capacity."))
