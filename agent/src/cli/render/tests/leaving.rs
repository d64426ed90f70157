//! A host that leaves its group.

use groundcrew_core::lifecycle::drain::Step;
use groundcrew_core::lifecycle::fleet::HookResult;
use groundcrew_core::lifecycle::notice::Cause;

use super::*;

#[test]
fn a_host_that_the_market_takes_back() {
    let step = |after_ms, text: &str| Step { after_ms, text: text.to_owned() };
    let notice = NoticeStatus {
        cause: Cause::Spot,
        text: "the spot market will terminate it at 2026-08-21T11:26:00Z".to_owned(),
        at: before(7),
        deadline: Some(before(-113)),
    };
    let drain = DrainStatus {
        since: before(7),
        ended: None,
        deadline: Some(before(-113)),
        balancers: "told".to_owned(),
        cut: 0,
        steps: vec![
            step(0, "the spot market will terminate it at 2026-08-21T11:26:00Z, 2m left"),
            step(212, "deregistered"),
            step(213, "web.17.1 bleeds, 30s at most; 14 requests in flight"),
        ],
    };
    let hook = HookStatus {
        name: "groundcrew-terminate".to_owned(),
        result: Some(HookResult::Continue),
        reason: Some("drained in 8.1s, 0 requests cut".to_owned()),
        confirmed: true,
    };
    let lifecycle = LifecycleStatus {
        target: Some("InService".to_owned()),
        group: Some("shop-web".to_owned()),
        state: Some("InService".to_owned()),
        notices: vec![notice],
        drain: Some(drain.clone()),
        ..LifecycleStatus::default()
    };
    let document = StatusDocument {
        lifecycle: Some(lifecycle.clone()),
        tiers: Vec::new(),
        events: Vec::new(),
        ..fresh(State::Draining)
    };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● draining since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Group     shop-web: InService
      Leaving   the spot market will terminate it at 2026-08-21T11:26:00Z, 7s ago; 1m53s left
      Drain     for 7s, 0 requests cut
      Release   none yet; s3://acme-releases/shop/production has not been read yet

    DRAIN
         +0ms  the spot market will terminate it at 2026-08-21T11:26:00Z, 2m left
       +212ms  deregistered
       +213ms  web.17.1 bleeds, 30s at most; 14 requests in flight
    ");
    let ended = LifecycleStatus {
        target: Some("Terminated".to_owned()),
        state: Some("Terminating:Wait".to_owned()),
        drain: Some(DrainStatus { ended: Some(before(1)), ..drain }),
        hooks: vec![hook],
        heartbeats: 1,
        api_error: Some("elasticloadbalancing:DeregisterTargets is not allowed".to_owned()),
        ..lifecycle
    };
    let document = StatusDocument { lifecycle: Some(ended), ..document };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● draining since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Group     shop-web: Terminating:Wait, on its way to Terminated
      Leaving   the spot market will terminate it at 2026-08-21T11:26:00Z, 7s ago; 1m53s left
      Drain     took 6s, 0 requests cut
      Hook      groundcrew-terminate completed with CONTINUE: drained in 8.1s, 0 requests cut
      AWS       elasticloadbalancing:DeregisterTargets is not allowed
      Release   none yet; s3://acme-releases/shop/production has not been read yet

    DRAIN
         +0ms  the spot market will terminate it at 2026-08-21T11:26:00Z, 2m left
       +212ms  deregistered
       +213ms  web.17.1 bleeds, 30s at most; 14 requests in flight
    ");
}
