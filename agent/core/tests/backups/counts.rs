//! What happened to a fleet, in numbers.

#[derive(Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub done: u64,
    pub late: u64,
    pub dumped: u64,
    pub copied: u64,
    pub proved: u64,
    pub worked: u64,
    pub deleted: u64,
    pub deaths: u64,
    pub lost: u64,
    pub throttled: u64,
    pub failed_snapshots: u64,
    pub taken_over: u64,
    pub reaped_or_cleaned: u64,
    pub wrong_clocks: u64,
    pub fleet_gone: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.done += other.done;
        self.late += other.late;
        self.dumped += other.dumped;
        self.copied += other.copied;
        self.proved += other.proved;
        self.worked += other.worked;
        self.deleted += other.deleted;
        self.deaths += other.deaths;
        self.lost += other.lost;
        self.throttled += other.throttled;
        self.failed_snapshots += other.failed_snapshots;
        self.taken_over += other.taken_over;
        self.reaped_or_cleaned += other.reaped_or_cleaned;
        self.wrong_clocks += other.wrong_clocks;
        self.fleet_gone += other.fleet_gone;
    }
}
