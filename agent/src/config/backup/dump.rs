//! Who can read dumps, and what a dump has to be: `[backup.encryption]` and `[backup.dump]`.

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::proof::DumpRules;
use groundcrew_core::backups::settings::Encryption;

use super::retention;
use crate::config::reader::{Node, Read};
use crate::config::{fields, units};

const ENCRYPTION: &[&str] = &["age_recipients", "kms_key"];
const DUMP: &[&str] = &["size_min", "shrink_max"];

/// Those who can read a dump at most: each costs a header.
const RECIPIENTS_MAX: usize = 20;
/// Letters of a recipient: `age1`, 32 bytes and a checksum in Bech32 (age's specification).
const RECIPIENT_LETTERS: usize = 62;
/// Bech32 (BIP 173).
const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Every key of both tables, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    fields::below("backup.encryption", ENCRYPTION).chain(fields::below("backup.dump", DUMP))
}

/// `[backup.encryption]`.
pub(super) fn encryption(node: &Node<'_, '_>, kind: Kind) -> Read<Encryption> {
    if kind == Kind::RdsSnapshot {
        let hint = "a snapshot is encrypted as its database is; copies have kms_key";
        return Err(node.refuse("belongs to dumps", hint));
    }
    let section = node.section(ENCRYPTION)?;
    let recipients = section.optional("age_recipients", recipients);
    let key = section.optional("kms_key", retention::key);
    match (recipients?, key?) {
        (Some(recipients), None) => Ok(Encryption::Age(recipients)),
        (None, Some(key)) => Ok(Encryption::Kms(key)),
        (Some(_), Some(_)) => {
            Err(node.refuse("has two ways to encrypt", "keep one of age_recipients and kms_key"))
        }
        (None, None) => {
            Err(node.refuse("says nothing", "name age_recipients or kms_key, or remove the table"))
        }
    }
}

fn recipients(node: &Node<'_, '_>) -> Read<Vec<String>> {
    let items = node.items("an array of age recipients, such as [\"age1...\"]")?;
    if items.is_empty() || items.len() > RECIPIENTS_MAX {
        let message = format!("names {} recipients, wanted 1 to {RECIPIENTS_MAX}", items.len());
        return Err(node.refuse(message, "`age-keygen` makes one"));
    }
    let read: Vec<_> = items.iter().map(recipient).collect();
    let recipients: Vec<_> = read.into_iter().collect::<Read<_>>()?;
    if !super::distinct(&recipients) {
        return Err(node.refuse("names a recipient twice", ""));
    }
    Ok(recipients)
}

/// The text is not repeated: somebody may have put the identity here.
fn recipient(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted_unseen("an age recipient"))?;
    let letters = text.strip_prefix("age1").unwrap_or_default();
    let whole = text.len() == RECIPIENT_LETTERS && letters.chars().all(|c| BECH32.contains(c));
    if whole {
        return Ok(text.to_owned());
    }
    let hint = if text.starts_with("AGE-SECRET-KEY-") {
        "this is the identity, which opens the dumps: keep it away from here, and name its \
         recipient"
    } else {
        "it begins with age1 and has 62 letters; `age-keygen -y` prints it"
    };
    Err(node.refuse("is not an age recipient", hint))
}

/// `[backup.dump]`.
pub(super) fn rules(node: &Node<'_, '_>, kind: Kind) -> Read<DumpRules> {
    if kind == Kind::RdsSnapshot {
        return Err(node.refuse("belongs to dumps", "remove it"));
    }
    let section = node.section(DUMP)?;
    let usual = DumpRules::default();
    let size = section.or("size_min", usual.bytes_min, |node| fields::size(node, 1));
    let usual_ppm = u32::from(usual.shrink_percent_max) * 10_000;
    let shrink = section.or("shrink_max", usual_ppm, |node| {
        let ppm = node.parse("a percentage, such as \"50%\"", units::percent)?;
        if ppm % 10_000 != 0 {
            return Err(node.refuse("has a fraction", "write a whole percentage, such as \"50%\""));
        }
        Ok(ppm)
    });
    let percent = u8::try_from(shrink? / 10_000).unwrap_or(100);
    Ok(DumpRules { bytes_min: size?, shrink_percent_max: percent })
}
