//! Who is told what elsewhere, when, and how often: events to the targets that want them, each
//! target with a queue of its own. Pure; the shell delivers.
//!
//! An alarm that a target was told of is ended there when it is over, whatever the target's rules
//! say about good news. Keys are the same on every host for what concerns all of them, so that
//! whoever folds by key folds a fleet's alarms into one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::effect::{Level, Told, Topic};
use crate::time::{Moment, Now, ms};
use crate::types::Environment;

pub mod errors;
pub mod limits;
mod queue;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod watch;

pub use queue::{Answer, Counts, Pace, Pending, Queue, Rate};

use errors::ErrorReport;

/// What a target wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Its name.
    pub name: String,
    /// Only these.
    pub topics: BTreeSet<Topic>,
    /// Nothing that matters less.
    pub min_level: Level,
    /// How often.
    pub pace: Pace,
    /// It keeps alarms until they are ended, so what is no alarm is nothing to it.
    pub keeps_alarms: bool,
}

/// What the other side is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Show it.
    Inform,
    /// Alarm somebody.
    Trigger,
    /// End that alarm.
    Resolve,
}

/// A message for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What happened.
    pub told: Told,
    /// What the other side is to do about it.
    pub action: Action,
    /// Tells alarms apart, on all hosts alike.
    pub key: String,
}

/// Which host, for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The environment.
    pub environment: Environment,
    /// The host's name.
    pub host: String,
}

/// What waits for all targets; survives the agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    targets: BTreeMap<String, Target>,
    /// Errors for the tracker.
    errors: Queue<ErrorReport>,
    /// The last event that was taken in.
    heard: Option<Told>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Target {
    queue: Queue<Note>,
    /// Alarms that it was told of, by key.
    open: BTreeMap<String, Alarm>,
}

/// An alarm that is not over.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Alarm {
    topic: Topic,
    /// Whom it is about, without what changes while it lasts.
    about: String,
    at: Moment,
}

/// How a target does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Its name.
    pub name: &'a str,
    /// What became of everything.
    pub counts: Counts,
    /// Messages that wait.
    pub waiting: usize,
    /// Bytes of their texts.
    pub bytes: u64,
    /// When the oldest of them came.
    pub oldest: Option<Moment>,
    /// When the other side last accepted something.
    pub last_ok: Option<crate::time::Wall>,
    /// Why it does not get on.
    pub reason: Option<&'a str>,
}

/// Decides who is told what.
#[derive(Debug, Clone)]
pub struct Notifier {
    place: Place,
    rules: Vec<Rules>,
    errors: Option<errors::ErrorRules>,
    outbox: Outbox,
    random: u64,
}

impl Notifier {
    /// One that goes on with what was waiting.
    #[must_use]
    pub fn new(
        place: Place,
        rules: Vec<Rules>,
        errors: Option<errors::ErrorRules>,
        mut outbox: Outbox,
        (now, same_boot): (Moment, bool),
        seed: u64,
    ) -> Self {
        // What waits for a target that the configuration does not have any more goes nowhere.
        outbox.targets.retain(|name, _| rules.iter().any(|rules| rules.name == *name));
        for rules in &rules {
            outbox.targets.entry(rules.name.clone()).or_default().queue.recover(now, same_boot);
        }
        outbox.errors.recover(now, same_boot);
        Self { place, rules, errors, outbox, random: seed }
    }

    /// What has to survive.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Takes in what the agent before remembered as told and may have died before handing it on.
    /// Answers whether anything that has to survive has changed.
    pub fn catch_up(&mut self, now: Moment, remembered: &[Told]) -> bool {
        if self.rules.is_empty() {
            // Whoever is told something one day has not missed what comes until then.
            return self.outbox.heard.take().is_some();
        }
        let Some(heard) = self.outbox.heard.clone() else { return false };
        // Not by its text, which may have been cut, or have lost what must not be told.
        let same = |told: &Told| (told.topic, &told.subject) == (heard.topic, &heard.subject);
        let known = remembered.iter().rposition(|told| told.at == heard.at && same(told));
        let missed = match known {
            Some(at) => &remembered[at + 1..],
            None => remembered,
        };
        let mut changed = false;
        for told in missed.iter().filter(|told| told.at >= heard.at) {
            changed |= self.hear(now, told);
        }
        changed
    }

    /// Takes in an event. Answers whether anything that has to survive has changed.
    pub fn hear(&mut self, now: Moment, told: &Told) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let mut told = told.clone();
        self.outbox.heard = Some(told.clone());
        cut(&mut told.text);
        for rules in &self.rules {
            let target = self.outbox.targets.entry(rules.name.clone()).or_default();
            target.hear(now, rules, &self.place, &told);
        }
        true
    }

    /// Takes in an error of an application.
    pub fn report(&mut self, now: Moment, mut report: ErrorReport) -> bool {
        self.random = mix(self.random);
        let Some(rules) = &self.errors else { return false };
        if self.random % 1_000_000 >= u64::from(rules.sample_ppm) {
            return false;
        }
        report.bound();
        let key = report.fingerprint();
        self.outbox.errors.tell(now, rules.pace, &key, report);
        true
    }

    /// What is to be delivered now: at most one message for each target.
    pub fn due(&mut self, now: Moment) -> Vec<(String, Pending<Note>)> {
        let mut due = Vec::new();
        for rules in &self.rules {
            let target = self.outbox.targets.get_mut(&rules.name);
            let next = target.and_then(|target| target.queue.next(now, rules.pace));
            due.extend(next.map(|next| (rules.name.clone(), next)));
        }
        due
    }

    /// The error that is to be delivered now.
    pub fn due_error(&mut self, now: Moment) -> Option<Pending<ErrorReport>> {
        self.outbox.errors.next(now, self.errors.as_ref()?.pace)
    }

    /// How a delivery to a target went.
    pub fn answered(&mut self, now: Now, target: &str, id: u64, answer: Answer) {
        self.random = mix(self.random);
        if let Some(target) = self.outbox.targets.get_mut(target) {
            target.queue.answered(now, id, answer, self.random);
        }
    }

    /// How the delivery of an error went.
    pub fn error_answered(&mut self, now: Now, id: u64, answer: Answer) {
        self.random = mix(self.random);
        self.outbox.errors.answered(now, id, answer, self.random);
    }

    /// When there is something to do without news.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        let wake =
            |rules: &Rules| self.outbox.targets.get(&rules.name)?.queue.next_wake(rules.pace);
        let errors = self.errors.as_ref().and_then(|e| self.outbox.errors.next_wake(e.pace));
        self.rules.iter().filter_map(wake).chain(errors).min()
    }

    /// How every target does, in the order of the configuration; the tracker of errors last.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        let of = |rules: &'_ Rules| self.outbox.targets.get(&rules.name).map(|t| &t.queue);
        let targets = self.rules.iter().filter_map(move |rules| {
            let queue = of(rules)?;
            let bytes = queue.pending().map(|pending| pending.what.told.text.len() as u64).sum();
            Some(standing(&rules.name, queue, bytes))
        });
        let errors = self.errors.as_ref().map(|_| {
            let queue = &self.outbox.errors;
            let bytes = queue.pending().map(|pending| pending.what.bytes()).sum();
            standing(errors::NAME, queue, bytes)
        });
        targets.chain(errors)
    }
}

impl Target {
    fn hear(&mut self, now: Moment, rules: &Rules, place: &Place, told: &Told) {
        let ended = self.end_alarms(now, rules, place, told);
        let wanted = rules.topics.contains(&told.topic) && told.level >= rules.min_level;
        if !wanted || ended || told.topic.is_only_end() {
            return;
        }
        let alarm = told.level >= Level::Warning;
        if rules.keeps_alarms && !alarm {
            return;
        }
        let key = key_of(place, told.topic, told);
        let action = if alarm { Action::Trigger } else { Action::Inform };
        let note = Note { told: told.clone(), action, key: key.clone() };
        if self.queue.tell(now, rules.pace, &key, note) && alarm {
            let alarm = Alarm { topic: told.topic, about: about(told), at: now };
            self.open.insert(key, alarm);
            if self.open.len() > limits::OPEN_MAX {
                let oldest = self.open.iter().min_by_key(|(_, alarm)| alarm.at);
                let oldest = oldest.map(|(key, _)| key.clone());
                oldest.map(|key| self.open.remove(&key));
            }
        }
    }

    /// Ends what this event says is over. Answers whether this target was told of anything that is.
    fn end_alarms(&mut self, now: Moment, rules: &Rules, place: &Place, told: &Told) -> bool {
        let over = |alarm: &Alarm| {
            // Any release that settles ends the trouble with the ones before it.
            let same = told.topic == Topic::DeploymentSettled || alarm.about == about(told);
            told.topic.ends().contains(&alarm.topic) && same
        };
        let over = self.open.extract_if(.., |_, alarm| over(alarm));
        let over: Vec<_> = over.map(|(key, _)| key).collect();
        // A person needs one sentence, however much it ends.
        let at_once = if rules.keeps_alarms { 1 } else { over.len().max(1) };
        for keys in over.chunks(at_once) {
            let (action, key) = (Action::Resolve, keys[0].clone());
            self.queue.tell_end(now, keys, Note { told: told.clone(), action, key });
        }
        if over.is_empty() && rules.keeps_alarms && told.topic.group() == "backup" {
            self.end_others(now, rules, place, told);
        }
        !over.is_empty()
    }

    /// Ends alarms about a job's backups that another host may have begun, and is not there to end:
    /// they have the same keys, and an end of nothing is nothing.
    fn end_others(&mut self, now: Moment, rules: &Rules, place: &Place, told: &Told) {
        for topic in told.topic.ends().iter().filter(|topic| rules.topics.contains(topic)) {
            let key = key_of(place, *topic, told);
            let note = Note { told: told.clone(), action: Action::Resolve, key: key.clone() };
            self.queue.tell_end(now, &[key], note);
        }
    }
}

/// What tells alarms apart: for deployments and backups, which are the fleet's, the environment;
/// for everything else the host as well.
fn key_of(place: &Place, topic: Topic, told: &Told) -> String {
    let Place { environment, host } = place;
    let (word, about) = (topic.word(), about(told));
    match topic.group() {
        "deployment" | "backup" => format!("groundcrew/{environment}/{word}/{about}"),
        _ => format!("groundcrew/{environment}/{host}/{word}/{about}"),
    }
}

/// Whom an event is about, in a word.
fn about(told: &Told) -> String {
    let subject = &told.subject;
    let process = subject.process.as_ref().map(ToString::to_string);
    let tier = || subject.tier.as_ref().map(ToString::to_string);
    let release = || subject.release.as_ref().map(ToString::to_string);
    let about = process.or_else(tier).or_else(release);
    let about = about.or_else(|| subject.pipeline.clone()).or_else(|| subject.backup.clone());
    about.unwrap_or_else(|| "host".to_owned())
}

fn standing<'a, T: Clone>(name: &'a str, queue: &'a Queue<T>, bytes: u64) -> Standing<'a> {
    let (last_ok, reason) = queue.standing();
    Standing {
        name,
        counts: queue.counts(),
        waiting: queue.pending().count(),
        bytes,
        oldest: queue.pending().next().map(|pending| pending.queued),
        last_ok,
        reason,
    }
}

/// Cuts a text off at its bound.
pub(crate) fn cut(text: &mut String) {
    if text.len() > limits::TEXT_BYTES_MAX {
        let mut end = limits::TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

/// The age of the oldest message, in milliseconds.
#[must_use]
pub fn oldest_ms(now: Moment, standing: &Standing<'_>) -> Option<u64> {
    standing.oldest.map(|oldest| ms(now.since(oldest)))
}

fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}
