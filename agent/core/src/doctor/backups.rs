//! The databases that are backed up: what RDS says of them, held against the job's schedule.

use super::{Finding, Learned, Verdict};
use crate::backups::civil::Date;
use crate::backups::database::{Gate, Target, gate};
use crate::backups::schedule::Schedule;
use crate::backups::zone::Zone;

const BACKUP: &str = "backup";

const DAY_MIN: i64 = 24 * 60;
const WEEK_MIN: i64 = 7 * DAY_MIN;
/// Slots that are held against the windows: a week of the shortest schedule.
const SLOTS_MAX: usize = 700;
/// How RDS writes days (API_DBInstance), from Sunday.
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A job that makes snapshots, and its database.
#[derive(Debug, Clone)]
pub struct BackupFacts {
    /// The job's name.
    pub job: String,
    /// The database, as the host's file names it.
    pub database: String,
    /// When it is due.
    pub schedule: Schedule,
    /// Where the schedule's clock hangs.
    pub zone: Zone,
    /// What RDS says; `None`: there is no such database.
    pub shown: Learned<Option<ShownDatabase>>,
}

/// A database, as RDS shows it.
#[derive(Debug, Clone)]
pub struct ShownDatabase {
    /// How RDS keeps it.
    pub target: Target,
    /// Its status, in RDS's word.
    pub status: String,
    /// Such as `postgres`.
    pub engine: String,
    /// Whether there is a standby in another zone.
    pub multi_az: bool,
    /// RDS's own backups, `hh24:mi-hh24:mi` in UTC; `None`: it makes none.
    pub backup_window: Option<String>,
    /// When RDS changes something, `ddd:hh24:mi-ddd:hh24:mi` in UTC.
    pub maintenance_window: Option<String>,
}

pub(super) fn backups(jobs: &[BackupFacts], now_s: i64) -> Vec<Finding> {
    jobs.iter().flat_map(|job| of_job(job, now_s)).collect()
}

fn of_job(job: &BackupFacts, now_s: i64) -> Vec<Finding> {
    let (name, database) = (&job.job, &job.database);
    let shown = match &job.shown {
        Err(why) => return vec![Finding::unknown(BACKUP, format!("{name}: {why}"))],
        Ok(None) => {
            let numbers = format!("{name}: there is no instance and no cluster {database}");
            let fix = "aws rds describe-db-instances; or is it in another region?";
            return vec![Finding::new(BACKUP, Verdict::Bad, numbers).fix(fix)];
        }
        Ok(Some(shown)) => shown,
    };
    let mut findings = Vec::new();
    match gate(&shown.status) {
        Gate::Go | Gate::Wait => {}
        Gate::Skip | Gate::Page => {
            let numbers = format!("{name}: {database} is {}", shown.status);
            let fix = "until it is available, no snapshot of it can be made";
            findings.push(Finding::new(BACKUP, Verdict::Bad, numbers).fix(fix));
        }
    }
    // A cluster's storage is in three zones, and SQL Server pauses with a standby, too.
    let pauses = !shown.multi_az || shown.engine.starts_with("sqlserver");
    if shown.target == Target::Instance && pauses {
        let one = if shown.multi_az { shown.engine.as_str() } else { "in one zone" };
        let numbers =
            format!("{name}: {database} is {one}: it does no I/O while a snapshot begins");
        let fix = format!(
            "aws rds modify-db-instance --db-instance-identifier {database} --multi-az; \
             or a time when nobody is there"
        );
        findings.push(Finding::new(BACKUP, Verdict::Caution, numbers).fix(fix));
    }
    let windows = [
        ("RDS's own backup window", &shown.backup_window),
        ("RDS's maintenance window", &shown.maintenance_window),
    ];
    for (what, window) in windows {
        let Some(text) = window else { continue };
        let Some(spans) = spans(text) else {
            findings.push(Finding::unknown(BACKUP, format!("{name}: {what} is {text:?}")));
            continue;
        };
        if let Some(at) = falls_into(job, &spans, now_s) {
            let numbers = format!("{name}: the slot of {at} UTC falls into {what}, {text} UTC");
            let fix = "move the schedule or the window: until RDS is done the snapshot waits";
            findings.push(Finding::new(BACKUP, Verdict::Caution, numbers).fix(fix));
        }
    }
    if findings.is_empty() {
        let numbers =
            format!("{name}: {database} is {}, and no window is in the way", shown.status);
        findings.push(Finding::good(BACKUP, numbers));
    }
    findings
}

/// The first slot of the next week that falls into one of the spans.
fn falls_into(job: &BackupFacts, spans: &[(i64, i64)], now_s: i64) -> Option<String> {
    let until_s = now_s.saturating_add(WEEK_MIN * 60);
    let mut slots = job.schedule.slots(&job.zone, now_s, until_s, SLOTS_MAX);
    slots.reverse();
    slots.iter().find_map(|slot| {
        let (days, second) =
            (slot.at_s.div_euclid(DAY_MIN * 60), slot.at_s.rem_euclid(DAY_MIN * 60));
        let weekday = Date::from_days(days).weekday();
        let minute = i64::from(weekday) * DAY_MIN + second / 60;
        let inside = spans.iter().any(|(from, to)| {
            (minute - from).rem_euclid(WEEK_MIN) < (to - from).rem_euclid(WEEK_MIN)
        });
        let day = DAYS.get(usize::from(weekday))?;
        inside.then(|| format!("{day} {:02}:{:02}", second / 3600, second / 60 % 60))
    })
}

/// A window in minutes since Sunday 00:00 UTC, its end not in it; one without days is on each.
fn spans(window: &str) -> Option<Vec<(i64, i64)>> {
    let (from, to) = window.split_once('-')?;
    if let (Some(from), Some(to)) = (minute_of_day(from), minute_of_day(to)) {
        let day = |day: i64| ((day * DAY_MIN) + from, (day * DAY_MIN) + to);
        let over = if to < from { DAY_MIN } else { 0 };
        return Some((0..7).map(day).map(|(from, to)| (from, to + over)).collect());
    }
    Some(vec![(minute_of_week(from)?, minute_of_week(to)?)])
}

fn minute_of_week(text: &str) -> Option<i64> {
    let (day, time) = text.split_once(':')?;
    let day = DAYS.iter().position(|known| known.eq_ignore_ascii_case(day))?;
    Some(i64::try_from(day).ok()? * DAY_MIN + minute_of_day(time)?)
}

fn minute_of_day(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, max: i64| text.parse().ok().filter(|n| (0..max).contains(n));
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 2026-11-21, 12:00 UTC.
    const NOW_S: i64 = 1_795_262_400;

    fn job(schedule: &str, change: impl Fn(&mut ShownDatabase)) -> BackupFacts {
        let mut shown = ShownDatabase {
            target: Target::Instance,
            status: "available".into(),
            engine: "postgres".into(),
            multi_az: true,
            backup_window: Some("03:00-03:30".into()),
            maintenance_window: Some("sun:23:50-mon:00:30".into()),
        };
        change(&mut shown);
        BackupFacts {
            job: "shop-nightly".into(),
            database: "shop".into(),
            schedule: schedule.parse().unwrap(),
            zone: Zone::utc(),
            shown: Ok(Some(shown)),
        }
    }

    #[track_caller]
    fn expect(job: &BackupFacts, expected: &[(Verdict, &str)]) {
        let found = backups(std::slice::from_ref(job), NOW_S);
        let found: Vec<_> = found.iter().map(|one| (one.verdict, one.numbers.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn windows_of_rds_are_seen() {
        use Verdict::*;
        let good = "shop-nightly: shop is available, and no window is in the way";
        let own = "falls into RDS's own backup window, 03:00-03:30 UTC";
        let maintenance = "falls into RDS's maintenance window, sun:23:50-mon:00:30 UTC";
        for schedule in ["59 2 * * *", "30 3 * * *", "20 0 * * 2-7", "49 23 * * *"] {
            expect(&job(schedule, |_| {}), &[(Good, good)]);
        }
        let slot = |at: &str, window: &str| format!("shop-nightly: the slot of {at} UTC {window}");
        for (schedule, at, window) in [
            ("0 3 * * *", "sun 03:00", own),
            ("29 3 * * *", "sun 03:29", own),
            ("50 23 * * *", "sun 23:50", maintenance),
            ("20 0 * * *", "mon 00:20", maintenance),
        ] {
            expect(&job(schedule, |_| {}), &[(Caution, &slot(at, window))]);
        }
        // Each on its own, in the zone of the schedule.
        let mut both = job("every 15m", |_| {});
        let (a, b) = (slot("sun 03:00", own), slot("mon 00:00", maintenance));
        expect(&both, &[(Caution, &a), (Caution, &b)]);
        both.schedule = "15 4 * * *".parse().unwrap();
        both.zone = Zone::new("Europe/Berlin", 3600, Vec::new()).unwrap();
        expect(&both, &[(Caution, &slot("sun 03:15", own))]);
        // Over midnight, and what cannot be read.
        let night = |shown: &mut ShownDatabase| shown.backup_window = Some("23:45-00:25".into());
        let window = "falls into RDS's own backup window, 23:45-00:25 UTC";
        expect(&job("20 0 * * 4", night), &[(Caution, &slot("thu 00:20", window))]);
        let odd = |shown: &mut ShownDatabase| shown.backup_window = Some("always".into());
        let unread = "shop-nightly: RDS's own backup window is \"always\"";
        expect(&job("0 12 * * *", odd), &[(Unknown, unread)]);
        let none = |shown: &mut ShownDatabase| shown.backup_window = None;
        expect(&job("0 3 * * *", none), &[(Good, good)]);
    }

    #[test]
    fn what_the_database_is_counts() {
        use Verdict::*;
        let one = |shown: &mut ShownDatabase| shown.multi_az = false;
        let text = "shop-nightly: shop is in one zone: it does no I/O while a snapshot begins";
        expect(&job("0 12 * * *", one), &[(Caution, text)]);
        let cluster = |shown: &mut ShownDatabase| {
            shown.multi_az = false;
            shown.target = Target::Cluster("shop".into());
        };
        let good = "shop-nightly: shop is available, and no window is in the way";
        expect(&job("0 12 * * *", cluster), &[(Good, good)]);
        let stopped = |shown: &mut ShownDatabase| shown.status = "stopped".into();
        expect(&job("0 12 * * *", stopped), &[(Bad, "shop-nightly: shop is stopped")]);
        let missing = BackupFacts { shown: Ok(None), ..job("0 12 * * *", |_| {}) };
        let text = "shop-nightly: there is no instance and no cluster shop";
        expect(&missing, &[(Bad, text)]);
        let unknown = BackupFacts { shown: Err("not allowed".into()), ..missing };
        expect(&unknown, &[(Unknown, "shop-nightly: not allowed")]);
    }
}
