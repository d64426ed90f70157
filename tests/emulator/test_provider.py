"""What Terraform's provider asks the emulator beyond what the agent does, on a server of its own."""

import json
import unittest

from test_emulator import Check, client, setUpModule, tearDownModule  # noqa: F401

DENY = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}


class Provider(Check):
    """What Terraform's provider reads back as it was written."""

    def test_a_lifecycle_keeps_so_many_old_versions(self):
        s3 = client("s3")
        s3.create_bucket(Bucket="old-versions")
        rule = {
            "ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 90, "NewerNoncurrentVersions": 5},
        }
        s3.put_bucket_lifecycle_configuration(
            Bucket="old-versions", LifecycleConfiguration={"Rules": [rule]}
        )
        found = s3.get_bucket_lifecycle_configuration(Bucket="old-versions")["Rules"]
        self.assertEqual([rule], found)

    def test_a_bucket_logs_where_the_policy_lets_it(self):
        s3 = client("s3")
        logging = {"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": "s3/source/"}}
        for name in ("source", "logs"):
            s3.create_bucket(Bucket=name)
        deny = {**DENY, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        allow = {
            "Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject", "Resource": ["arn:aws:s3:::logs/s3/*"],
        }
        put = {"Bucket": "source", "BucketLoggingStatus": logging}
        self.allow("logs", deny)
        self.refused(400, s3.put_bucket_logging, **put)
        self.allow("logs", deny, allow)
        s3.put_bucket_logging(**put)

    def allow(self, bucket, *statements):
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)

    def test_a_condition_of_a_policy_denies_nobody(self):
        s3 = client("s3")
        s3.create_bucket(Bucket="over-tls")
        s3.put_object(Bucket="over-tls", Key="a", Body=b"a")
        get = {"Bucket": "over-tls", "Key": "a"}
        self.allow("over-tls", {**DENY, "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
        self.assertEqual(b"a", s3.get_object(**get)["Body"].read())
        self.allow("over-tls", DENY)
        self.refused(403, s3.get_object, **get)

    def test_a_queue_keeps_what_is_not_named(self):
        sqs = client("sqs")
        url = sqs.create_queue(QueueName="failed")["QueueUrl"]
        wanted = {
            "Policy": '{"Statement": [{"Effect": "Deny"}]}',
            "RedriveAllowPolicy": '{"redrivePermission": "denyAll"}',
        }
        for name, value in wanted.items():
            sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        self.assertEqual(wanted, {name: found[name] for name in wanted})

    def test_budgets_tell_whom_they_tell(self):
        budgets = client("budgets")
        account = {"AccountId": "123456789012"}
        budget = {
            "BudgetName": "month", "BudgetType": "COST", "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "200", "Unit": "USD"},
        }
        tags = [{"Key": "product", "Value": "shop"}]
        budgets.create_budget(**account, Budget=budget, ResourceTags=tags)
        name = {**account, "BudgetName": "month"}
        notification = {
            "NotificationType": "FORECASTED", "ComparisonOperator": "GREATER_THAN",
            "Threshold": 100.0,
        }
        subscribers = [{"SubscriptionType": "SNS", "Address": "arn:aws:sns:us-east-1:1:page"}]
        budgets.create_notification(**name, Notification=notification, Subscribers=subscribers)
        told = budgets.describe_notifications_for_budget(**name)["Notifications"][0]
        found = budgets.describe_subscribers_for_notification(**name, Notification=told)
        self.assertEqual(subscribers, found["Subscribers"])
        arn = "arn:aws:budgets::123456789012:budget/month"
        self.assertEqual(tags, budgets.list_tags_for_resource(ResourceARN=arn)["ResourceTags"])

    def test_a_certificate_has_the_algorithm_that_was_asked_for(self):
        acm = client("acm")
        wanted = "EC_prime256v1"
        made = acm.request_certificate(DomainName="a.example.com", KeyAlgorithm=wanted)
        found = acm.describe_certificate(CertificateArn=made["CertificateArn"])["Certificate"]
        self.assertEqual(wanted, found["KeyAlgorithm"])

    def test_groups_have_traffic_sources_and_policies_of_their_own(self):
        group, elb = client("autoscaling", region="eu-west-1"), client("elbv2", region="eu-west-1")
        vpc = client("ec2", region="eu-west-1").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        group.create_launch_configuration(
            LaunchConfigurationName="small", ImageId="ami-1", InstanceType="t3.micro"
        )
        for name in ("one", "two"):
            group.create_auto_scaling_group(
                AutoScalingGroupName=name, LaunchConfigurationName="small", MinSize=0, MaxSize=1,
                AvailabilityZones=["eu-west-1a"],
            )
            group.put_scaling_policy(
                AutoScalingGroupName=name, PolicyName="cpu", PolicyType="TargetTrackingScaling",
                TargetTrackingConfiguration={"TargetValue": 50.0, "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "ASGAverageCPUUtilization"}},
            )
        group.delete_policy(AutoScalingGroupName="one", PolicyName="cpu")
        left = group.describe_policies(PolicyNames=["cpu"])["ScalingPolicies"]
        self.assertEqual(["two"], [one["AutoScalingGroupName"] for one in left])

        targets = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc)
        source = {"Identifier": targets["TargetGroups"][0]["TargetGroupArn"], "Type": "elbv2"}
        one = {"AutoScalingGroupName": "one"}
        group.attach_traffic_sources(**one, TrafficSources=[source])
        found = group.describe_traffic_sources(**one)["TrafficSources"]
        self.assertEqual([(source["Identifier"], "InService")],
                         [(each["Identifier"], each["State"]) for each in found])
        group.detach_traffic_sources(**one, TrafficSources=[source])
        self.assertEqual([], group.describe_traffic_sources(**one)["TrafficSources"])


if __name__ == "__main__":
    unittest.main()
