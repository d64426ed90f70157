//! Proofs of dumps. Holds the place of the real one, which the part DUMP has.

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::call::CallError;
use groundcrew_core::backups::settings::BackupSettings;
use tokio_util::sync::CancellationToken;

use super::objects::missing;

/// Asks the assertions at an instance that was restored for it.
pub async fn assert_at(
    _settings: &BackupSettings,
    _kind: Kind,
    _host: &str,
    _port: u16,
    _database: &str,
    _stop: &CancellationToken,
) -> Result<Vec<String>, CallError> {
    std::future::ready(missing()).await
}

/// Removes what scratch servers of earlier lives have left.
pub fn clean_up(_settings: &BackupSettings) {}
