//! The rights that docs/backups.md lists are those that the code needs: every call of AWS that
//! backups make has its action in a documented policy, and no action is documented that no call
//! needs.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{files, root};

/// The service and where its calls are.
const SERVICES: &[(&str, &str)] = &[
    ("rds", "agent/src/aws/rds"),
    ("kms", "agent/src/aws/kms"),
    ("s3", "agent/src/aws/s3"),
    ("secretsmanager", "agent/src/aws/secrets_manager"),
];

/// What AWS asks for beside the action that is named as the call is, with the reason.
const BESIDE: &[(&str, &str)] = &[
    ("rds:ListTagsForResource", "the tags in what the Describe calls show"),
    ("kms:CreateGrant", "RDS makes a grant in the caller's name, of an encrypted copy or restore"),
    ("rds-db:connect", "the token that aws/db_token.rs signs is judged when somebody logs in"),
];

/// The action of S3 that a call needs: several calls share one.
fn of_s3(call: &str) -> Option<&'static str> {
    Some(match call {
        "get_object" | "head_object" => "s3:GetObject",
        "put_object" | "create_multipart_upload" | "upload_part" | "complete_multipart_upload" => {
            "s3:PutObject"
        }
        "abort_multipart_upload" => "s3:AbortMultipartUpload",
        "list_multipart_uploads" => "s3:ListBucketMultipartUploads",
        "list_parts" => "s3:ListMultipartUploadParts",
        "list_objects_v2" => "s3:ListBucket",
        "delete_object" | "delete_objects" => "s3:DeleteObject",
        _ => return None,
    })
}

/// `create_db_snapshot` is CreateDBSnapshot.
fn camel(call: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        let all: String = first.into_iter().chain(letters).collect();
        if all == "Db" { "DB".to_owned() } else { all }
    };
    call.split('_').map(word).collect()
}

/// The operations that a file calls on its SDK's client.
fn calls(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code: String = code.split_whitespace().collect();
    let mut calls = BTreeSet::new();
    for after in ["client.", "client().await.map_err(failed)?."] {
        for (at, _) in code.match_indices(after) {
            let rest = &code[at + after.len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || "_0123456789".contains(*c))
                .collect();
            // A cell that is filled when the client is made is no operation.
            if rest[name.len()..].starts_with('(') && name != "get_or_try_init" {
                calls.insert(name);
            }
        }
    }
    calls
}

fn needed() -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for (service, place) in SERVICES {
        let before = needed.len();
        let of = |path: &str| {
            path.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        for (path, text) in files().into_iter().filter(|(path, _)| of(path)) {
            for call in calls(&text) {
                let action = if *service == "s3" {
                    let action = of_s3(&call);
                    action.unwrap_or_else(|| panic!("{path}: which right is {call}?")).to_owned()
                } else {
                    format!("{service}:{}", camel(&call))
                };
                needed.insert(action);
            }
        }
        assert!(needed.len() > before, "{place} calls nothing: does this test still see it?");
    }
    needed.extend(BESIDE.iter().map(|(action, _)| (*action).to_owned()));
    needed
}

/// The policies of the document.
fn policies() -> Vec<Value> {
    let text = fs::read_to_string(root().join("docs/backups.md")).unwrap();
    let blocks = text.split("```json\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
    blocks
        .map(|block| serde_json::from_str(block).unwrap_or_else(|e| panic!("{e}: {block}")))
        .collect()
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        other => panic!("neither a string nor a list: {other}"),
    }
}

/// Every statement that allows something.
fn statements() -> Vec<Value> {
    let all = policies().into_iter().flat_map(|policy| {
        assert_eq!(policy["Version"], "2012-10-17", "{policy:#}");
        policy["Statement"].as_array().expect("statements").clone()
    });
    all.filter(|statement| statement["Effect"] == "Allow").collect()
}

#[test]
fn the_documented_rights_are_those_that_the_code_needs() {
    let documented: BTreeSet<String> =
        statements().iter().flat_map(|statement| strings(&statement["Action"])).collect();
    let needed = needed();
    let missing: Vec<_> = needed.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/backups.md does not allow {missing:?}");
    let idle: Vec<_> = documented.difference(&needed).collect();
    assert!(idle.is_empty(), "docs/backups.md allows what nobody calls: {idle:?}");
}

/// What changes or deletes something is bound to groundcrew's names or tags.
#[test]
fn what_is_allowed_is_bound_to_names_or_tags() {
    for statement in statements() {
        let resources = strings(&statement["Resource"]);
        for action in strings(&statement["Action"]) {
            let looks = action.starts_with("rds:Describe") || action.starts_with("rds:List");
            let anywhere = resources.iter().any(|resource| resource == "*");
            assert!(looks || !anywhere, "{action} is allowed on everything");
            let condition = statement["Condition"].to_string();
            let deletes = action.starts_with("rds:Delete");
            if deletes {
                assert!(condition.contains("aws:ResourceTag/groundcrew:managed-by"), "{action}");
            }
            if action == "rds:AddTagsToResource" {
                let bound = condition.contains("aws:RequestTag/groundcrew:")
                    || condition.contains("aws:ResourceTag/groundcrew:managed-by")
                        && condition.contains("aws:TagKeys");
                assert!(bound, "{statement:#}");
            }
        }
    }
}

/// The mark that L3 sets is one tag on what is there: a policy that asks for the tags of what is
/// new does not allow it.
#[test]
fn whoever_verifies_may_mark_restore_and_tag() {
    let allows = |action: &str, resource: &str, condition: &str| {
        statements().iter().any(|statement| {
            strings(&statement["Action"]).iter().any(|one| one == action)
                && strings(&statement["Resource"]).iter().any(|one| one.ends_with(resource))
                && statement["Condition"].to_string().contains(condition)
        })
    };
    for kind in ["snapshot", "cluster-snapshot"] {
        let snapshots = format!(":{kind}:gc-*");
        assert!(allows("rds:AddTagsToResource", &snapshots, "groundcrew:in-use"), "{kind}");
        assert!(allows("rds:AddTagsToResource", &snapshots, "groundcrew:hold"), "{kind}");
    }
    let restores = ["rds:RestoreDBInstanceFromDBSnapshot", "rds:RestoreDBClusterFromSnapshot"];
    for action in restores {
        for resource in [":snapshot:gc-*", ":cluster-snapshot:gc-*", ":subgrp:backup-verify"] {
            assert!(allows(action, resource, ""), "{action} on {resource}");
        }
    }
    for kind in ["db", "cluster"] {
        let scratch = format!(":{kind}:gc-verify-*");
        assert!(allows("rds:AddTagsToResource", &scratch, "aws:RequestTag"), "{kind}");
        assert!(allows("rds:CreateDBInstance", &scratch, ""), "{kind}");
        assert!(allows("rds:DeleteDBInstance", &scratch, "aws:ResourceTag"), "{kind}");
    }
}
