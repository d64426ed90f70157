//! A dump that is being read is not deleted: whoever reads it says so, again and again, and no
//! longer than it lives. Who may not say so reads nevertheless: a restore is never refused because
//! of a mark.

use std::time::Duration;

use super::Dumps;
use super::error::DumpError;
use super::shelf::now_s;
use crate::errors::Chain;

/// How long a dump is kept for a reader that is not heard of any more.
const KEPT_FOR: Duration = Duration::from_mins(30);
/// How often a reader is heard of.
const RENEW_EVERY: Duration = Duration::from_mins(8);

// Some renewals may fail.
const _: () = assert!(RENEW_EVERY.as_secs() * 3 < KEPT_FOR.as_secs());

impl Dumps {
    /// Does `work`, for which the dump stays.
    pub(in crate::backups) async fn read_by<T>(
        &self,
        id: &str,
        work: impl Future<Output = Result<T, DumpError>>,
    ) -> Result<T, DumpError> {
        let (settings, shelf, _) = self.parts();
        let reader = format!("{} {:08x}", settings.job.instance, crate::random::seed() >> 32);
        self.keep_for(id, &reader).await?;
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                // It is seen to be gone soon enough.
                drop(self.keep_for(id, &reader).await);
            }
        };
        let done = tokio::select! {
            done = Box::pin(work) => done,
            () = renewing => Err(DumpError::Stopped),
        };
        if let Err(error) = shelf.mark(id, |marks| marks.released_by(&reader)).await {
            tracing::debug!(error = %Chain(&error), "it is kept for a while longer");
        }
        done
    }

    async fn keep_for(&self, id: &str, reader: &str) -> Result<(), DumpError> {
        let now_s = now_s();
        let kept_for_s = i64::try_from(KEPT_FOR.as_secs()).unwrap_or(i64::MAX);
        let until_s = now_s.saturating_add(kept_for_s);
        let (_, shelf, _) = self.parts();
        match shelf.mark(id, |marks| marks.read_by(reader, until_s, now_s)).await {
            Ok(()) => Ok(()),
            Err(error @ (DumpError::NoDump { .. } | DumpError::Deleting { .. })) => Err(error),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "retention is not told that {id} is read");
                Ok(())
            }
        }
    }
}
