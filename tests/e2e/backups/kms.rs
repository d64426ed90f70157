//! Data keys: made, given back to whoever says the same context, and to nobody else.

use groundcrew::aws::kms::Kms;
use groundcrew_core::backups::call::{CallError, CallErrorKind};
use serde_json::json;

use super::aws::{Aws, HOME, key_id, run};

#[test]
fn a_data_key_comes_back_with_its_context() {
    run(async |aws: Aws| {
        let (kms, key) = (Kms::connect(None), aws.key(HOME));
        let context = |slot: &str| vec![("slot".to_owned(), slot.to_owned())];
        let made = kms.generate_data_key(&key, &context("20261121")).await.unwrap();
        assert_eq!((made.plaintext.as_bytes().len(), &made.key_arn), (32, &key));
        let again = kms.decrypt(&made.ciphertext, &context("20261121")).await.unwrap();
        assert_eq!(again.as_bytes(), made.plaintext.as_bytes());
        let other = kms.decrypt(&made.ciphertext, &context("20261122")).await.unwrap_err();
        assert_eq!(CallError::from(other).kind, CallErrorKind::Refused);
        assert_eq!(kms.describe_key(&key).await.unwrap(), "Enabled");

        aws.kms(HOME, "DisableKey", &json!({"KeyId": key_id(&key)}));
        assert_eq!(kms.describe_key(&key).await.unwrap(), "Disabled");
        // Moto makes data keys with a disabled key all the same.
        aws.fail("GenerateDataKey", "DisabledException", 1);
        let error = kms.generate_data_key(&key, &[]).await.unwrap_err();
        let error = CallError::from(error);
        assert_eq!(error.kind, CallErrorKind::Denied, "{}", error.text);
        assert!(error.text.contains(&key), "{}", error.text);
        for (code, expected) in [
            ("AccessDeniedException", CallErrorKind::Denied),
            ("NotFoundException", CallErrorKind::Refused),
        ] {
            aws.fail("DescribeKey", code, 1);
            let error = CallError::from(kms.describe_key(&key).await.unwrap_err());
            assert_eq!(error.kind, expected, "{}", error.text);
        }
        let elsewhere = Kms::connect(Some("eu-west-1"));
        let error = CallError::from(elsewhere.describe_key("alias/nobody").await.unwrap_err());
        assert_eq!(error.kind, CallErrorKind::Refused, "{}", error.text);
        assert_eq!(aws.calls("DescribeKey").last().unwrap()["region"], "eu-west-1");
    });
}
