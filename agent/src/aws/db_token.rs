//! The token with which RDS lets an IAM identity in: a presigned request that nobody sends
//! (rdsdocs: UsingWithRDS.IAMDBAuth). It is good for 15 minutes and as secret as a password.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;

use super::load_config_with_region;
use crate::errors::chain;

/// How long a token is good; RDS takes no longer one.
const GOOD_FOR: Duration = Duration::from_mins(15);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum DbTokenError {
    /// Nobody knows where it is to be used.
    #[error("could not sign a token for {user} at {host}: {}", super::NO_REGION)]
    NoRegion {
        /// The server.
        host: String,
        /// Who wants in.
        user: String,
    },
    /// There are no credentials, or nothing can be signed with them.
    #[error("could not sign a token for {user} at {host}: {reason}")]
    Failed {
        /// The server.
        host: String,
        /// Who wants in.
        user: String,
        /// What went wrong.
        reason: String,
    },
}

/// A token for `user` at `host:port`, signed with this instance's credentials.
pub async fn db_token(host: &str, port: u16, user: &str) -> Result<String, DbTokenError> {
    let no_region = || DbTokenError::NoRegion { host: host.to_owned(), user: user.to_owned() };
    let config = load_config_with_region(&[]).await.ok_or_else(no_region)?;
    let region = config.region().ok_or_else(no_region)?.to_string();
    let failed =
        |reason| DbTokenError::Failed { host: host.to_owned(), user: user.to_owned(), reason };
    let provider = config.credentials_provider();
    let provider = provider.ok_or_else(|| failed("there are no credentials".to_owned()))?;
    let credentials = provider.provide_credentials().await;
    let credentials = credentials.map_err(|error| failed(chain(&error)))?;
    let since = u64::try_from(crate::clock::wall().0).unwrap_or(0);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(since);
    token(credentials, &region, (host, port), user, now).map_err(failed)
}

fn token(
    credentials: Credentials,
    region: &str,
    (host, port): (&str, u16),
    user: &str,
    now: SystemTime,
) -> Result<String, String> {
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(GOOD_FOR);
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build();
    let parameters = parameters.map_err(|error| chain(&error))?.into();
    let query = |text: &str| -> String {
        form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
    };
    let mut token = format!("{host}:{port}/?Action=connect&DBUser={}", query(user));
    let url = format!("https://{token}");
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| chain(&error))?;
    let signed = sign(request, &parameters).map_err(|error| chain(&error))?;
    let (instructions, _) = signed.into_parts();
    for (name, value) in instructions.params() {
        token.push('&');
        token.push_str(name);
        token.push('=');
        token.push_str(&query(value));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What `generate_db_auth_token` of botocore 1.43 gives for the same.
    #[test]
    fn tokens_are_those_of_the_aws_cli() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_220_400_123);
        let server = ("shop.abc.eu-west-1.rds.amazonaws.com", 5432);
        let check = |session: Option<&str>, expected: &[&str]| {
            let credentials = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                session.map(str::to_owned),
                None,
                "test",
            );
            let token = token(credentials, "eu-west-1", server, "app user", now).unwrap();
            let (place, query) = token.split_once('?').unwrap();
            assert_eq!(place, "shop.abc.eu-west-1.rds.amazonaws.com:5432/");
            let query: BTreeSet<&str> = query.split('&').collect();
            let usual = [
                "Action=connect",
                "DBUser=app%20user",
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                "X-Amz-Credential=AKIDEXAMPLE%2F20261121%2Feu-west-1%2Frds-db%2Faws4_request",
                "X-Amz-Date=20261121T002000Z",
                "X-Amz-SignedHeaders=host",
                "X-Amz-Expires=900",
            ];
            let expected: BTreeSet<&str> = usual.iter().chain(expected).copied().collect();
            assert_eq!(query, expected);
        };
        let signature = "a9d52f84b16bf21ee4c394f11920758bb3d11772b4bd3db605fa98658c6b7783";
        check(None, &[&format!("X-Amz-Signature={signature}")]);
        let signature = "7033a0a910fc61eb21a83d2ff4d4c0de58e95835619cc72450c1cc2d1edba648";
        let session = "X-Amz-Security-Token=tok%2Fen%2Bwith%3Dodd";
        check(Some("tok/en+with=odd"), &[session, &format!("X-Amz-Signature={signature}")]);
    }
}
