//! Decides which releases leave the disk.

use std::collections::BTreeSet;

use crate::event::OnDisk;
use crate::types::Digest;

/// Which of `on_disk` to remove, worst candidate first. `needed` never goes; of the rest, `recent`
/// (newest first) stays while there are fewer than `keep` in all and they fit into `bytes_max`.
#[must_use]
pub fn to_prune(
    on_disk: &[OnDisk],
    needed: &BTreeSet<Digest>,
    recent: &[Digest],
    keep: usize,
    bytes_max: u64,
) -> Vec<Digest> {
    let bytes_of = |digest: &Digest| {
        on_disk.iter().find(|release| release.digest == *digest).map(|release| release.bytes)
    };
    let present_needed: BTreeSet<Digest> =
        needed.iter().copied().filter(|digest| bytes_of(digest).is_some()).collect();
    let mut bytes: u64 = present_needed.iter().filter_map(bytes_of).sum();
    let mut kept = present_needed;
    for digest in recent {
        let Some(size) = bytes_of(digest) else { continue };
        if kept.contains(digest) || kept.len() >= keep || bytes.saturating_add(size) > bytes_max {
            continue;
        }
        bytes += size;
        kept.insert(*digest);
    }
    on_disk.iter().map(|release| release.digest).filter(|digest| !kept.contains(digest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::from_bytes([n; 32])
    }

    #[track_caller]
    fn check(needed: &[u8], recent: &[u8], keep: usize, bytes_max: u64, pruned: &[u8]) {
        let on_disk: Vec<_> = (1..=5).map(|n| OnDisk { digest: digest(n), bytes: 10 }).collect();
        let needed = needed.iter().map(|n| digest(*n)).collect();
        let recent: Vec<_> = recent.iter().map(|n| digest(*n)).collect();
        let expected: Vec<_> = pruned.iter().map(|n| digest(*n)).collect();
        assert_eq!(to_prune(&on_disk, &needed, &recent, keep, bytes_max), expected);
    }

    #[test]
    fn the_needed_stay_and_then_the_newest() {
        check(&[5, 4], &[5, 4, 3, 2, 1], 3, 1000, &[1, 2]);
        check(&[5, 4], &[5, 4, 3, 2, 1], 9, 1000, &[]);
    }

    #[test]
    fn the_needed_stay_whatever_the_limits_say() {
        check(&[1, 2, 3], &[], 1, 5, &[4, 5]);
    }

    #[test]
    fn the_budget_counts() {
        check(&[5], &[5, 4, 3, 2, 1], 9, 25, &[1, 2, 3]);
    }

    #[test]
    fn what_nobody_remembers_goes() {
        check(&[], &[2], 3, 1000, &[1, 3, 4, 5]);
    }
}
