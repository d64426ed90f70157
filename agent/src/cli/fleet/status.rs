//! `groundcrew fleet status`: the group as it is now. Looks only. What cannot be looked at, such as
//! images without the right to see them, is said and not guessed.

use std::collections::{BTreeMap, BTreeSet};

use groundcrew_core::fleet::refresh::VersionFacts;
use groundcrew_core::fleet::standing::{Standing, Word, standing};
use groundcrew_core::fleet::{Activity, Group, Refresh, TemplateVersion, date_instances};
use groundcrew_core::time::Wall;
use serde::Serialize;

use super::super::render;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK};
use super::{Fleet, cause};
use crate::aws::call_failure::CallFailure;
use crate::aws::ec2::Which;
use crate::clock;

/// Versions whose images are looked up. A group has two while it is refreshed.
const VERSIONS_MAX: usize = 5;
/// Failed activities that are shown.
const FAILED_MAX: usize = 5;

/// What is shown: an interface.
#[derive(Debug, Serialize)]
pub struct Document {
    /// When it was so.
    pub now: Wall,
    /// In a word.
    pub standing: Standing,
    /// The group.
    pub group: Group,
    /// The image of what is launched next, if it is known.
    pub image: Option<String>,
    /// The newest refresh.
    pub refresh: Option<Refresh>,
    /// What failed lately, the newest first.
    pub failed: Vec<Activity>,
    /// What could not be looked at.
    pub notes: Vec<String>,
}

pub(super) async fn run(fleet: &Fleet, json: bool, out: &mut Output) -> anyhow::Result<u8> {
    let document = document(fleet).await?;
    let text = if json {
        format!("{:#}\n", serde_json::to_value(&document)?)
    } else {
        render::fleet::status(&document, out.style())
    };
    out.print(&text)?;
    Ok(if document.standing.word == Word::Degraded { EXIT_FAILING } else { EXIT_OK })
}

async fn document(fleet: &Fleet) -> anyhow::Result<Document> {
    let mut group = fleet.describe().await?.group;
    let refresh = fleet.groups.refresh(&fleet.name, None).await.map_err(cause)?;
    let mut notes = Vec::new();
    let activities = fleet.groups.activities(&fleet.name).await.unwrap_or_else(|failure| {
        notes.push(failure.text);
        Vec::new()
    });
    date_instances(&mut group.instances, &activities);
    let images = images(fleet, &group).await.unwrap_or_else(|failure| {
        notes.push(failure.text);
        BTreeMap::new()
    });
    for instance in &mut group.instances {
        let known = instance.template.as_ref().and_then(|template| images.get(template));
        instance.image = instance.image.take().or_else(|| known.and_then(|of| of.image.clone()));
    }
    let launched = group.launch.template().and_then(|template| images.get(template));
    let image = launched.and_then(|facts| facts.image.clone());
    let failed = activities.into_iter().filter(|activity| activity.failed).take(FAILED_MAX);
    let standing = standing(&group, refresh.as_ref());
    let failed = failed.collect();
    Ok(Document { now: clock::wall(), standing, group, image, refresh, failed, notes })
}

/// What the versions have for images that the group launches and its instances were launched from.
async fn images(
    fleet: &Fleet,
    group: &Group,
) -> Result<BTreeMap<TemplateVersion, VersionFacts>, CallFailure> {
    let of_instances = group.instances.iter().filter_map(|instance| instance.template.as_ref());
    // What it launches comes first: there may be more than are looked up.
    let mut seen = BTreeSet::new();
    let versions = group.launch.template().into_iter().chain(of_instances);
    let versions: Vec<_> = versions.filter(|version| seen.insert(*version)).collect();
    let mut found = BTreeMap::new();
    for version in versions.into_iter().take(VERSIONS_MAX) {
        let Some(which) = Which::parse(&version.version) else { continue };
        let facts = fleet.ec2.describe_version(&version.id, which).await?;
        found.insert(version.clone(), facts);
    }
    Ok(found)
}
