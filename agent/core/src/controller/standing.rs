//! What people are told about the host's place in its group.

use super::describe::wall_of;
use super::*;
use crate::lifecycle::drain::Drain;
use crate::lifecycle::hooks::ours;
use crate::status::{DrainStatus, HookStatus, LifecycleStatus, NoticeStatus};

impl Controller {
    /// `None` where there is no group, and no reason to leave.
    pub(super) fn lifecycle_status(&self, now: Now) -> Option<LifecycleStatus> {
        let ledger = &self.ledger.lifecycle;
        let target = ledger.target();
        let trouble = self.sight_trouble.as_ref();
        let drains = ledger.drain.is_some() || ledger.last_drain.is_some();
        if target.is_none() && !drains && self.notices.is_empty() && trouble.is_none() {
            return None;
        }
        let membership = self.fleet.membership();
        let error = self.fleet.error.clone();
        Some(LifecycleStatus {
            target: target.map(ToString::to_string),
            group: membership.map(|membership| membership.group.clone()),
            state: membership.map(|membership| membership.state.clone()),
            notices: self.notices.iter().map(|notice| self.notice_status(now, notice)).collect(),
            drain: ledger.drain.as_ref().map(|drain| drain_status(now, drain)),
            last_drain: ledger.last_drain.as_ref().map(|drain| drain_status(now, drain)),
            hooks: self.hooks_status(),
            heartbeats: self.hooks.beats(),
            metadata_error: trouble.cloned(),
            api_error: error.or_else(|| self.hooks.error().map(ToOwned::to_owned)),
        })
    }

    /// As the drain heard it, if there is one: its words and its deadline are the first ones.
    fn notice_status(&self, now: Now, notice: &Notice) -> NoticeStatus {
        let drain = self.ledger.lifecycle.drain.as_ref();
        let heard = drain.and_then(|drain| drain.notices.iter().find(|n| n.is_same_as(notice)));
        let Notice { cause, text, heard, not_after } = heard.unwrap_or(notice).clone();
        let deadline = not_after.map(|by| wall_of(now, by));
        NoticeStatus { cause, text, at: heard, deadline }
    }

    fn hooks_status(&self) -> Vec<HookStatus> {
        let Some(membership) = self.held() else { return Vec::new() };
        let decided = &self.ledger.lifecycle.hooks.decided;
        let status = |hook: &crate::lifecycle::fleet::Hook| {
            let decided = decided.get(&hook.name);
            HookStatus {
                name: hook.name.clone(),
                result: decided.map(|decided| decided.result),
                reason: decided.map(|decided| decided.reason.clone()),
                confirmed: decided.is_some_and(|decided| decided.confirmed),
            }
        };
        ours(membership, &self.settings.lifecycle).map(status).collect()
    }
}

fn drain_status(now: Now, drain: &Drain) -> DrainStatus {
    DrainStatus {
        since: drain.began_wall,
        ended: drain.ended.map(|at| wall_of(now, at)),
        deadline: drain.deadline.map(|by| wall_of(now, by)),
        balancers: DrainStatus::word(drain.balancers).to_owned(),
        cut: drain.cut,
        steps: drain.steps.clone(),
    }
}
