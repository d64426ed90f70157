//! An Auto Scaling group with one instance, whose metadata the agent under test reads: the group
//! moves it as AWS would, on command, and tells afterwards what everybody did and when.
//!
//! It is the emulator's group; tests/emulator/groundcrew_emulator/levers.py has what is behind the
//! commands. A walk of states is asserted from the journal, which misses none, never by looking.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::emulator::{Emulator, Services, sdk_environment};
use super::{http_client, wait_until};

mod journal;
#[cfg(test)]
mod tests;

pub use journal::{Call, Step};

/// The group's name.
pub const GROUP: &str = "web";

/// A lifecycle hook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Such as `groundcrew-drain`.
    pub name: String,
    /// How long it holds without a heartbeat. AWS takes 30 and more.
    pub seconds: u32,
    /// How long it holds at most; `None`: as AWS has it, a hundred times that.
    pub global_seconds: Option<u32>,
    /// What happens when it times out: `ABANDON` or `CONTINUE`.
    pub default: &'static str,
}

impl Hook {
    /// One with AWS's shortest timeout and AWS's default result.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), seconds: 30, global_seconds: None, default: "ABANDON" }
    }
}

/// What the group is like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The hooks of instances that come.
    pub launch: Vec<Hook>,
    /// The hooks of those that go.
    pub terminate: Vec<Hook>,
    /// Whether there is a target group.
    pub target_group: bool,
    /// Where its targets listen.
    pub port: u16,
    /// How long a target drains.
    pub drain: Duration,
    /// How long a state lasts that passes by itself, such as `Terminating:Proceed`.
    pub step: Duration,
    /// The instance is launched into the warm pool, to this state, such as `Stopped`.
    pub warm_pool: Option<&'static str>,
}

impl Default for Plan {
    /// A launch hook, a terminate hook, a target group whose targets drain for a second.
    fn default() -> Self {
        Self {
            launch: vec![Hook::named("launch")],
            terminate: vec![Hook::named("terminate")],
            target_group: true,
            port: 80,
            drain: Duration::from_secs(1),
            step: Duration::ZERO,
            warm_pool: None,
        }
    }
}

impl Plan {
    /// The same without hooks.
    pub fn without_hooks() -> Self {
        Self { launch: Vec::new(), terminate: Vec::new(), ..Self::default() }
    }

    fn to_json(&self) -> Value {
        let hook = |hook: &Hook| {
            let mut value =
                json!({"name": hook.name, "seconds": hook.seconds, "default": hook.default});
            if let Some(seconds) = hook.global_seconds {
                value["global_seconds"] = seconds.into();
            }
            value
        };
        let hooks = |hooks: &[Hook]| hooks.iter().map(hook).collect::<Vec<_>>();
        json!({
            "group": GROUP,
            "hooks": {"launch": hooks(&self.launch), "terminate": hooks(&self.terminate)},
            "target_group": self.target_group,
            "port": self.port,
            "drain_seconds": self.drain.as_secs_f64(),
            "step_seconds": self.step.as_secs_f64(),
            "warm_pool": self.warm_pool,
        })
    }
}

/// What goes wrong with answers of the metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImdsFault {
    /// This status and nothing else: 401, 403, 404, 500, 503.
    Status(u16),
    /// No answer.
    Hang,
    /// 200, and bytes that are not even text.
    Garbage,
}

/// What goes wrong with calls of Auto Scaling and `ELBv2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    /// This error code, with AWS's status and words: `AccessDenied` (403), `Throttling` (400),
    /// `InternalFailure` (500), `ServiceUnavailable` (503).
    Error(&'static str),
    /// AWS does what was asked; the connection breaks instead of an answer.
    AnswerLost,
    /// No answer, and nothing is done.
    Hang,
}

/// A running group in an emulator of its own.
pub struct Fleet {
    emulator: Emulator,
    instance_id: String,
    target_group: Option<String>,
}

impl Fleet {
    /// The group of [`Plan::default`]: its instance is in `Pending:Wait`.
    pub fn start() -> Self {
        Self::start_with(&Plan::default())
    }

    /// Starts the emulator, the group and its instance.
    pub fn start_with(plan: &Plan) -> Self {
        let emulator = Emulator::start(Services::All);
        let mut fleet = Self { emulator, instance_id: String::new(), target_group: None };
        let status = fleet.lever("POST", "fleet", &plan.to_json());
        fleet.instance_id = text(&status["instances"][0]["id"]);
        fleet.target_group = status["target_groups"][0].as_str().map(str::to_owned);
        fleet
    }

    /// Variables that lead a process to this group and this instance.
    pub fn environment(&self) -> Vec<(String, String)> {
        sdk_environment(&self.emulator.endpoint)
    }

    /// The emulator, for what is not about the group.
    pub const fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// The instance that is under test, also when it is gone.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// The target group's ARN.
    pub fn target_group(&self) -> Option<&str> {
        self.target_group.as_deref()
    }

    /// The instance's lifecycle state; `Terminated` or `Detached` when the group has let it go.
    pub fn state(&self) -> String {
        text(&self.instance()["state"])
    }

    /// Where the group takes it, as its metadata says.
    pub fn target(&self) -> String {
        text(&self.instance()["target"])
    }

    /// Its health as a target: `healthy`, `draining`, `unused`, or what [`Self::force_health`]
    /// said. Load that plays the load balancer goes to it while this is `healthy`.
    pub fn target_health(&self) -> String {
        let target_group = self.target_group.as_ref().expect("the plan has no target group");
        text(&self.instance()["health"][target_group])
    }

    /// The hooks that hold it.
    pub fn held_by(&self) -> Vec<String> {
        self.instance()["hooks"].as_array().expect("a list").iter().map(text).collect()
    }

    /// Instances of the group other than the one under test: those that replaced it.
    pub fn others(&self) -> Vec<String> {
        let status = self.status();
        let every = status["instances"].as_array().expect("a list");
        every.iter().map(|one| text(&one["id"])).filter(|id| *id != self.instance_id).collect()
    }

    /// Waits until the instance is in this state.
    #[track_caller]
    pub fn wait_for(&self, state: &str, within: Duration) {
        wait_until(within, &format!("the instance is {state}"), || {
            let seen = self.state();
            if seen == state { Ok(()) } else { Err(seen) }
        });
    }

    /// The group needs one instance less.
    pub fn scale_in(&self) {
        self.order(json!({"order": "scale-in"}));
    }

    /// A person terminates the instance; another replaces it.
    pub fn terminate(&self) {
        self.order(json!({"order": "terminate"}));
    }

    /// An instance refresh begins.
    pub fn refresh(&self) {
        self.order(json!({"order": "refresh"}));
    }

    /// A person puts it on standby; nothing replaces it.
    pub fn enter_standby(&self) {
        self.order(json!({"order": "enter-standby"}));
    }

    /// A person takes it back into service: no hook holds it on the way.
    pub fn exit_standby(&self) {
        self.order(json!({"order": "exit-standby"}));
    }

    /// A person takes it out of the group; nothing replaces it.
    pub fn detach(&self) {
        self.order(json!({"order": "detach"}));
    }

    /// To the warm pool, as if it were launched there: the launch hooks hold it.
    /// `pool` is `Stopped`, `Running` or `Hibernated`.
    pub fn warm(&self, pool: &str) {
        self.order(json!({"order": "warm", "pool": pool, "hook": "launch"}));
    }

    /// Back to the warm pool at a scale-in that reuses instances: the terminate hooks hold it.
    pub fn return_to_pool(&self, pool: &str) {
        self.order(json!({"order": "warm", "pool": pool, "hook": "terminate"}));
    }

    /// Out of the warm pool, into service: the launch hooks hold it.
    pub fn leave_pool(&self) {
        self.order(json!({"order": "leave-pool"}));
    }

    /// The spot market takes the instance back (`terminate`, `stop`, `hibernate`) in so many
    /// seconds, or a part of one less: the metadata knows whole seconds.
    pub fn spot(&self, action: &str, seconds_left: u32) {
        self.notice(json!({"spot": {"action": action, "seconds": seconds_left}}));
    }

    /// The spot notice is withdrawn.
    pub fn clear_spot(&self) {
        self.notice(json!({"spot": null}));
    }

    /// The spot market recommends to move elsewhere.
    pub fn rebalance(&self) {
        self.notice(json!({"rebalance": {}}));
    }

    /// The recommendation is withdrawn.
    pub fn clear_rebalance(&self) {
        self.notice(json!({"rebalance": null}));
    }

    /// An event such as `instance-stop` is scheduled, this many seconds from now.
    pub fn scheduled(&self, code: &str, seconds: u32) {
        self.notice(json!({"scheduled": [{"code": code, "seconds": seconds}]}));
    }

    /// No event is scheduled any more.
    pub fn clear_scheduled(&self) {
        self.notice(json!({"scheduled": null}));
    }

    /// What the metadata says at a path below `meta-data/`; null: what it says by itself.
    pub fn set_metadata(&self, path: &str, value: &Value) {
        self.lever("POST", "imds", &json!({path: value}));
    }

    /// The next `times` (`None`: all) answers of the metadata service go wrong.
    pub fn imds_fault(&self, fault: ImdsFault, times: Option<u32>) {
        self.imds_fault_at("", fault, times);
    }

    /// The same for paths that contain `path`, such as `api/token` or `spot/`.
    pub fn imds_fault_at(&self, path: &str, fault: ImdsFault, times: Option<u32>) {
        let kind = match fault {
            ImdsFault::Status(status) => status.into(),
            ImdsFault::Hang => Value::from("hang"),
            ImdsFault::Garbage => "garbage".into(),
        };
        self.lever("POST", "imds/fault", &json!({"kind": kind, "path": path, "times": times}));
    }

    /// The metadata service answers again. Requests that hang go on hanging.
    pub fn clear_imds_faults(&self) {
        self.lever("DELETE", "imds/fault", &Value::Null);
    }

    /// Every token of the metadata service is invalid from now on.
    pub fn expire_tokens(&self) {
        self.lever("POST", "imds/expire", &json!({}));
    }

    /// The next `times` (`None`: all) calls of this action go wrong.
    pub fn fail_call(&self, action: &str, fault: CallFault, times: Option<u32>) {
        let (kind, code) = match fault {
            CallFault::Error(code) => ("error", Some(code)),
            CallFault::AnswerLost => ("lost", None),
            CallFault::Hang => ("hang", None),
        };
        let rule = json!({"action": action, "kind": kind, "code": code, "times": times});
        self.lever("POST", "fault", &rule);
    }

    /// Calls succeed again. Those that hang go on hanging.
    pub fn clear_call_faults(&self) {
        self.lever("DELETE", "fault", &Value::Null);
    }

    /// The health of the registered target, such as `unhealthy`; `None`: healthy.
    pub fn force_health(&self, state: Option<&str>) {
        let target_group = self.target_group().expect("the plan has no target group");
        let forced = json!({"arn": target_group, "id": self.instance_id, "state": state});
        self.lever("POST", "health", &forced);
    }

    /// Calls of Auto Scaling and `ELBv2`, in the order in which they came.
    pub fn calls(&self) -> Vec<Call> {
        journal::calls(&self.journal())
    }

    /// Those of one action.
    pub fn calls_of(&self, action: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.action == action).collect()
    }

    /// What happened to the instance, in its order.
    pub fn steps(&self) -> Vec<Step> {
        journal::steps(&self.journal(), &self.instance_id)
    }

    /// The words of [`Self::steps`] alone, to compare a whole walk with.
    pub fn walk(&self) -> Vec<String> {
        self.steps().into_iter().map(|step| step.text).collect()
    }

    /// Requests to the metadata service by path, such as `/latest/api/token`, and status.
    pub fn imds_requests(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        journal::imds_requests(&self.journal())
    }

    /// Forgets what happened.
    pub fn clear_journal(&self) {
        self.lever("DELETE", "journal", &Value::Null);
    }

    /// The time by the clock of calls and steps: since the emulator's start.
    pub fn now(&self) -> Duration {
        journal::seconds(&self.journal()["now"])
    }

    /// A plain call, as somebody else than the agent makes it; it is in the journal too. `service`
    /// is `autoscaling` or `elasticloadbalancing`, parameters are of the query protocol.
    pub fn call(
        &self,
        service: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> std::io::Result<http_client::Answer> {
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}");
        let scope = format!("{scope}/aws4_request");
        let headers = [
            ("Authorization", scope.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let version = if service == "autoscaling" { "2011-01-01" } else { "2015-12-01" };
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            // ARNs and names: the ampersand is the only character that would need an escape.
            assert!(!value.contains('&'), "{name}: {value}");
            for part in ["&", name, "=", value] {
                body.push_str(part);
            }
        }
        http_client::request(self.emulator.address(), "POST", "/", &headers, body.as_bytes())
    }

    fn order(&self, mut order: Value) {
        order["group"] = GROUP.into();
        order["instance"] = self.instance_id.as_str().into();
        self.lever("POST", "fleet/order", &order);
    }

    fn notice(&self, notice: Value) {
        self.lever("POST", "notice", &notice);
    }

    fn journal(&self) -> Value {
        self.lever("GET", "journal", &Value::Null)
    }

    fn status(&self) -> Value {
        self.lever("GET", "fleet", &Value::Null)
    }

    fn instance(&self) -> Value {
        let mut status = self.status();
        let every = status["instances"].as_array_mut().expect("a list");
        let found = every.iter_mut().find(|one| one["id"] == self.instance_id.as_str());
        found.expect("the emulator has forgotten the instance").take()
    }

    fn lever(&self, method: &str, name: &str, body: &Value) -> Value {
        let path = format!("/_emulator/{name}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer =
            http_client::request(self.emulator.address(), method, &path, &[], body.as_bytes())
                .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(answer.status, 200, "{method} {path} {body}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("the emulator speaks JSON")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
