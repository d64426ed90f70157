//! How many different values there were, in bounded memory: exactly as long as they are few, within
//! a few per cent of any number beyond (the k smallest hashes; Bar-Yossef and others, 2002).

use std::collections::BTreeSet;

/// Hashes that are kept: fewer values are counted exactly. The error of an estimate has a standard
/// deviation of 1 / sqrt(K - 2): 3 %.
pub(super) const K: usize = 1024;

/// Values that were seen, as the smallest of their hashes.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    smallest: BTreeSet<u64>,
}

impl Distinct {
    /// Sees a value.
    pub(super) fn insert(&mut self, value: &[u8]) {
        let hash = hash(value);
        if self.smallest.len() < K {
            self.smallest.insert(hash);
        } else if self.smallest.last().is_some_and(|largest| hash < *largest)
            && self.smallest.insert(hash)
        {
            self.smallest.pop_last();
        }
    }

    /// How many different values were seen, and none of them from now on.
    pub(super) fn take(&mut self) -> f64 {
        let smallest = std::mem::take(&mut self.smallest);
        match smallest.last() {
            Some(largest) if smallest.len() == K => {
                // The largest of them is as far along all hashes as K is among the values.
                ((K - 1) as f64 / (*largest as f64 / 2_f64.powi(64))).round()
            }
            _ => smallest.len() as f64,
        }
    }
}

/// FNV-1a, and the end of MurmurHash3, which spreads what FNV leaves close together.
fn hash(value: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in value {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(values: impl Iterator<Item = usize>) -> f64 {
        let mut distinct = Distinct::default();
        for value in values {
            distinct.insert(value.to_string().as_bytes());
        }
        assert!(distinct.smallest.len() <= K);
        distinct.take()
    }

    #[test]
    fn few_are_exact_and_many_within_a_tenth() {
        for values in [0, 1, 10, K - 1] {
            assert!((count(0..values) - values as f64).abs() < f64::EPSILON, "{values}");
            assert!((count((0..values).chain(0..values)) - values as f64).abs() < f64::EPSILON);
        }
        for values in [2000, 50_000, 1_000_000] {
            let off = count(0..values) / values as f64 - 1.0;
            assert!(off.abs() < 0.1, "{values}: {off}");
        }
    }
}
