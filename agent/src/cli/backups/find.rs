//! Finds a backup by what a person calls it, in every place where it is. A place that cannot be
//! asked does not keep the others from being found, and is told.

use anyhow::{anyhow, bail};
use groundcrew_core::backups::Kind;
use groundcrew_core::backups::record::Place;

use super::jobs::{self, AtHand, Found};
use crate::config::HostConfig;

/// A backup of a job.
pub(super) struct Sighting {
    pub(super) job: AtHand,
    /// Where it is, home first; never empty.
    at: Vec<(Place, Found)>,
    /// Places that could not be asked, with the reason.
    pub(super) errors: Vec<String>,
}

impl Sighting {
    /// Every place where it is.
    pub(super) fn all(&self) -> &[(Place, Found)] {
        &self.at
    }

    /// The one at home; of those that were asked for by their region, that.
    pub(super) fn one(self, region: Option<&str>) -> anyhow::Result<(AtHand, Place, Found)> {
        let Self { job, at, errors } = self;
        let Some((place, found)) = at.into_iter().next() else { bail!("there is no such backup") };
        if place != Place::Home && region.is_none() {
            let id = &found.backup.id;
            let why = errors.first().map_or_else(String::new, |error| format!(" ({error})"));
            bail!("{id} is not at home{why}; there is a copy: --region {place}");
        }
        Ok((job, place, found))
    }
}

/// The backup that a person calls `id`: its identifier, or JOB/ID. With `region`, the copy there.
pub(super) async fn find(
    config: &HostConfig,
    id: &str,
    region: Option<&str>,
) -> anyhow::Result<Sighting> {
    let (job, id) = id.split_once('/').map_or((None, id), |(job, id)| (Some(job), id));
    let (mut found, mut errors, mut asked) = (Vec::new(), Vec::new(), 0);
    for job in jobs::of(config, job)? {
        let places = places(&job, region);
        asked += places.len();
        let sighting = of_job(job, id, places, region.is_some()).await;
        errors.extend(sighting.errors.iter().cloned());
        if !sighting.at.is_empty() {
            found.push(sighting);
        }
    }
    if let (Some(region), 0) = (region, asked) {
        bail!("no backup is copied to {region}: no [[backup.copy]] says so");
    }
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => {
            let (job, other) = (one.job.name(), other.job.name());
            bail!("both {job} and {other} have a backup {id}: write {job}/{id} or {other}/{id}")
        }
        (None, _) if errors.is_empty() => {
            bail!("there is no backup {id}; `groundcrew backups list` shows all")
        }
        (None, _) => Err(anyhow!(errors.join("; ")).context(format!("no backup {id} is found"))),
    }
}

fn places(job: &AtHand, region: Option<&str>) -> Vec<Place> {
    let asked = |place: &Place| match (place, region) {
        (_, None) => true,
        (Place::Home, Some(_)) => false,
        (Place::Region(one), Some(region)) => one == region,
    };
    let all = job.places().into_iter().filter(|place| {
        // Dumps are in the bucket alone.
        *place == Place::Home || job.job().kind == Kind::RdsSnapshot
    });
    all.filter(asked).collect()
}

/// Where a job has the backup. A copy has its source's slot, and nearly always its name, too: a
/// snapshot that had failed before has used up a name in one place and not in the other.
async fn of_job(job: AtHand, id: &str, places: Vec<Place>, by_name: bool) -> Sighting {
    let (mut lists, mut errors) = (Vec::new(), Vec::new());
    for place in places {
        // Who names a region may have lost the database's: that is not asked first.
        let named = if by_name { job.list_named(&place).await } else { Ok(Vec::new()) };
        let listed = match named {
            Ok(named) if !named.is_empty() => Ok(named),
            _ => job.list(&place).await,
        };
        match listed {
            Ok(all) => lists.push((place, all)),
            Err(error) => {
                let error = jobs::cause(error);
                errors.push(format!("{}, {place}: {error}", job.name()));
            }
        }
    }
    let has = |one: &Found| one.backup.id == id;
    let first = lists.iter().find_map(|(_, all)| all.iter().find(|one| has(one)));
    let slot = first.and_then(|one| job.slot(&one.backup)).map(|slot| (slot.nominal, slot.at_s));
    let same = |one: &Found| {
        let of = job.slot(&one.backup).map(|slot| (slot.nominal, slot.at_s));
        of.is_some() && of == slot
    };
    let is_found = first.is_some();
    let pick = |(place, all): (Place, Vec<Found>)| {
        let exact = all.iter().position(has);
        let at = exact.or_else(|| all.iter().position(same)).filter(|_| is_found)?;
        all.into_iter().nth(at).map(|one| (place, one))
    };
    let at = lists.into_iter().filter_map(pick).collect();
    Sighting { job, at, errors }
}
