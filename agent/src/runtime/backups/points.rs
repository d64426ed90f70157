//! The jobs in numbers, as points of the list of metrics. Pure.

use groundcrew_core::backups::status::JobState;
use groundcrew_core::metrics::{Point, catalog};
use groundcrew_core::time::Wall;

use super::driver::Shown;

const STATES: [JobState; 4] =
    [JobState::Ok, JobState::Running, JobState::Failing, JobState::Unknown];
const OUTCOMES: [&str; 4] = ["done", "skipped", "failed", "abandoned"];

/// What is measured of one job.
pub(super) fn of(shown: &Shown, now: Wall) -> Vec<Point> {
    let status = &shown.status;
    let name = status.name.as_str();
    let one = |is: bool| f64::from(u8::from(is));
    let since_s = |at: Wall| now.0.saturating_sub(at.0).max(0) as f64 / 1000.0;
    let mut points: Vec<_> = STATES
        .map(|state| {
            Point::new(&catalog::BACKUP_STATE, [name, state.word()], one(status.state == state))
        })
        .into();
    points.push(Point::new(&catalog::BACKUP_FAILING, [name], one(status.is_failing())));
    points.push(Point::new(
        &catalog::BACKUP_LATE,
        [name],
        status.late_ms.unwrap_or(0) as f64 / 1000.0,
    ));
    points.push(Point::new(&catalog::BACKUP_CALLS, [name], shown.open as f64));
    // What is refuted is there and no good.
    if let Some(good) = status.last_good.as_ref().filter(|good| good.refuted.is_empty()) {
        let age_s = since_s(good.slot);
        points.push(Point::new(&catalog::BACKUP_AGE, [name], age_s));
        let share = age_s / shown.stale_after.as_secs_f64().max(1.0);
        points.push(Point::new(&catalog::BACKUP_STALENESS, [name], share));
    }
    let bytes = shown.bytes.map(|bytes| bytes as f64);
    points.extend(bytes.map(|bytes| Point::new(&catalog::BACKUP_SIZE, [name], bytes)));
    points.extend(shown.proofs.iter().map(|(level, at)| {
        let labels = [name.to_owned(), level.to_string()];
        Point::new(&catalog::BACKUP_VERIFIED_AGE, labels, since_s(*at))
    }));
    points.extend(status.copies.iter().map(|copy| {
        let lag_s = copy.lag_ms as f64 / 1000.0;
        Point::new(&catalog::BACKUP_COPY_LAG, [name, copy.region.as_str()], lag_s)
    }));
    points.extend(OUTCOMES.map(|word| {
        let count = shown.runs.get(word).copied().unwrap_or(0) as f64;
        Point::new(&catalog::BACKUP_RUNS, [name, word], count)
    }));
    points
}
