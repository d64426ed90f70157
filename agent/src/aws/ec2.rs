//! EC2, as far as a fleet needs it: versions of launch templates, and whether an image is there.
//!
//! Speaks EC2's query protocol with signed requests of its own: three actions are not worth
//! `aws-sdk-ec2`, by far the largest crate of the SDK. Credentials, region and endpoint are the
//! SDK's. Creates versions, and never changes or deletes a template, a version or the default.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};
use groundcrew_core::backups::call::CallErrorKind;
use groundcrew_core::fleet::AmiId;
use groundcrew_core::fleet::refresh::VersionFacts;

use super::call_failure::{CallFailure, answered, clean, no_credentials};
use crate::errors::chain;
use crate::https::{Address, Answer, Https};

/// The version of the API (the AWS SDKs').
const API: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// Attempts of one action. A version is created once all the same: its request has a token.
const ATTEMPTS_MAX: u32 = 3;
/// The pause before the second attempt; each later one is longer by as much.
const PAUSE: Duration = Duration::from_secs(1);
/// The headers that a signature comes in.
const SIGNED: [&str; 3] = ["authorization", "x-amz-date", "x-amz-security-token"];

/// EC2 in one region.
#[derive(Debug, Clone)]
pub struct Ec2 {
    shared: SdkConfig,
    https: Https,
    region: String,
    address: Address,
}

/// Which version of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Latest,
    /// The one that whoever names none gets.
    Default,
    /// This one.
    Number(u64),
}

impl Which {
    /// As Auto Scaling writes it; `None`: it is not understood.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "$Latest" => Some(Self::Latest),
            "$Default" => Some(Self::Default),
            number => number.parse().ok().map(Self::Number),
        }
    }

    fn text(self) -> Cow<'static, str> {
        match self {
            Self::Latest => "$Latest".into(),
            Self::Default => "$Default".into(),
            Self::Number(number) => number.to_string().into(),
        }
    }
}

impl Ec2 {
    /// With this configuration, which has a region.
    pub(super) fn with(shared: &SdkConfig) -> Result<Self, CallFailure> {
        let region = shared.region().ok_or_else(|| CallFailure::no_region("ec2"))?.to_string();
        let refuse = |text: String| CallFailure::own(CallErrorKind::Refused, text);
        let endpoint = std::env::var("AWS_ENDPOINT_URL_EC2").ok().filter(|url| !url.is_empty());
        let endpoint = endpoint.or_else(|| shared.endpoint_url().map(str::to_owned));
        let endpoint = endpoint.unwrap_or_else(|| usual_endpoint(&region));
        let endpoint = format!("{}/", endpoint.trim_end_matches('/'));
        let address = Address::parse(&endpoint)
            .map_err(|error| refuse(format!("EC2 cannot be asked: {}", chain(&error))))?;
        let https = Https::open().map_err(|error| refuse(chain(&error)))?;
        Ok(Self { shared: shared.clone(), https, region, address })
    }

    /// A version of a launch template.
    pub async fn describe_version(
        &self,
        template: &str,
        which: Which,
    ) -> Result<VersionFacts, CallFailure> {
        let action = "DescribeLaunchTemplateVersions";
        let version = which.text();
        let parameters = [("LaunchTemplateId", template), ("LaunchTemplateVersion.1", &version)];
        let xml = self.call(action, &parameters).await?;
        let item = ["launchTemplateVersionSet", "item"];
        version_facts(action, &xml, &item)
    }

    /// Creates a version that is as version `base` but for its image. Its description is the same
    /// too: Terraform takes the newest version's for the template's, and would change it back.
    /// `token` makes it one version, however often it is asked for.
    pub async fn create_version(
        &self,
        template: &str,
        base: &VersionFacts,
        ami: &AmiId,
        token: &str,
    ) -> Result<VersionFacts, CallFailure> {
        let action = "CreateLaunchTemplateVersion";
        let source = base.number.to_string();
        let mut parameters = vec![
            ("LaunchTemplateId", template),
            ("SourceVersion", &source),
            ("LaunchTemplateData.ImageId", ami.as_str()),
            ("ClientToken", token),
        ];
        let description = base.description.as_deref();
        parameters.extend(description.map(|description| ("VersionDescription", description)));
        let xml = self.call(action, &parameters).await?;
        version_facts(action, &xml, &["launchTemplateVersion"])
    }

    /// The state of an image, such as `available`; `None`: there is none that this account may use.
    pub async fn image_state(&self, ami: &AmiId) -> Result<Option<String>, CallFailure> {
        let action = "DescribeImages";
        let answer = self.call(action, &[("ImageId.1", ami.as_str())]).await;
        match answer {
            Ok(xml) => {
                let states = texts(&xml, &["imagesSet", "item", "imageState"]);
                Ok(understood(action, states)?.into_iter().next())
            }
            Err(failure) if failure.code.starts_with("InvalidAMIID.") => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, CallFailure> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", API)
            .extend_pairs(parameters)
            .finish();
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(action, &body).await {
                Ok(xml) => return Ok(xml),
                Err(failure) => failure,
            };
            let again = matches!(failure.kind, CallErrorKind::Throttled | CallErrorKind::Unclear);
            if !(again || failure.passing) || attempt == ATTEMPTS_MAX {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, action: &str, body: &str) -> Result<String, CallFailure> {
        let name = format!("ec2:{action}");
        let headers = self.sign(&name, body).await?;
        let answer = self.https.post(&self.address, &headers, body.to_owned()).await;
        let answer = answer.map_err(|error| {
            let text = format!("{name} got no answer: {}", chain(&error));
            CallFailure::own(CallErrorKind::Unclear, text)
        })?;
        read(&name, answer)
    }

    /// The headers of a request with this body: its type and its signature.
    async fn sign(
        &self,
        name: &str,
        body: &str,
    ) -> Result<Vec<(&'static str, String)>, CallFailure> {
        let provider = self.shared.credentials_provider().ok_or_else(|| {
            let text = format!("no credentials for {name}: there are none");
            CallFailure::own(CallErrorKind::Denied, text)
        })?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|error| no_credentials(name, &error))?.into();
        let since = u64::try_from(crate::clock::wall().0).unwrap_or(0);
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis(since))
            .settings(SigningSettings::default())
            .build();
        let unsigned = |why: String| {
            CallFailure::own(CallErrorKind::Refused, format!("{name} cannot be signed: {why}"))
        };
        let parameters = parameters.map_err(|error| unsigned(chain(&error)))?.into();
        let url = self.address.url();
        let typed = std::iter::once(("content-type", FORM));
        let body = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", &url, typed, body);
        let request = request.map_err(|error| unsigned(chain(&error)))?;
        let signed = sign(request, &parameters).map_err(|error| unsigned(chain(&error)))?;
        let (instructions, _) = signed.into_parts();
        let mut headers = vec![("content-type", FORM.to_owned())];
        for (name, value) in instructions.headers() {
            let known = SIGNED.into_iter().find(|known| *known == name);
            headers.extend(known.map(|known| (known, value.to_owned())));
        }
        Ok(headers)
    }
}

/// Where EC2 is, unless the environment says otherwise.
fn usual_endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://ec2.{region}.{suffix}")
}

/// The document of an answer that is no error.
fn read(name: &str, answer: Answer) -> Result<String, CallFailure> {
    if answer.status == 200 {
        return Ok(answer.body);
    }
    let first = |field: &str| {
        // What is no XML, such as a proxy's page, has neither code nor message.
        let found = texts(&answer.body, &["Errors", "Error", field]).unwrap_or_default();
        found.into_iter().next().unwrap_or_default()
    };
    Err(answered(name, answer.status, &first("Code"), &first("Message")))
}

fn version_facts(action: &str, xml: &str, at: &[&str]) -> Result<VersionFacts, CallFailure> {
    let field = |path: &[&str]| {
        let found = texts(xml, &[at, path].concat());
        Ok::<_, CallFailure>(understood(action, found)?.into_iter().next())
    };
    let number = field(&["versionNumber"])?.and_then(|number| number.parse().ok());
    let image = field(&["launchTemplateData", "imageId"])?;
    let description = understood(action, raw_texts(xml, &[at, &["versionDescription"]].concat()))?;
    let number = number.ok_or_else(|| {
        let text = format!("ec2:{action} answered without the number of a version");
        CallFailure::own(CallErrorKind::Unclear, text)
    })?;
    let said = |text: &String| !text.is_empty();
    let description = description.into_iter().next().filter(said);
    Ok(VersionFacts { number, image: image.filter(said), description })
}

fn understood<T>(action: &str, read: Result<T, XmlDecodeError>) -> Result<T, CallFailure> {
    read.map_err(|error| {
        let text = format!("ec2:{action} answered what is not understood: {}", chain(&error));
        CallFailure::own(CallErrorKind::Unclear, text)
    })
}

/// The texts of all elements at `path` below the document's root, fit for people.
fn texts(xml: &str, path: &[&str]) -> Result<Vec<String>, XmlDecodeError> {
    Ok(raw_texts(xml, path)?.iter().map(|text| clean(text)).collect())
}

/// The same word by word: for what goes back to EC2 and to nobody else.
fn raw_texts(xml: &str, path: &[&str]) -> Result<Vec<String>, XmlDecodeError> {
    let mut document = Document::new(xml);
    let mut root = document.root_element()?;
    let mut found = Vec::new();
    collect(&mut root, path, &mut found)?;
    Ok(found)
}

/// As deep as `path` is long, and no deeper, whatever the document is like.
fn collect(
    element: &mut ScopedDecoder<'_, '_>,
    path: &[&str],
    found: &mut Vec<String>,
) -> Result<(), XmlDecodeError> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    while let Some(mut child) = element.next_tag() {
        if child.start_el().local() != *name {
            continue;
        }
        if rest.is_empty() {
            found.push(try_data(&mut child)?.into_owned());
        } else {
            collect(&mut child, rest, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of the answer in the documentation of API_DescribeLaunchTemplateVersions.
    const VERSIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <DescribeLaunchTemplateVersionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
          <requestId>65cadec1-b364-4354-8ca8-4176dexample</requestId>
          <launchTemplateVersionSet>
            <item>
              <launchTemplateData>
                <imageId>ami-8c1be5f6</imageId>
                <networkInterfaceSet><item><deviceIndex>0</deviceIndex></item></networkInterfaceSet>
              </launchTemplateData>
              <versionDescription>Instances of &lt;shop&gt;&#9;&amp; co</versionDescription>
              <versionNumber>12</versionNumber>
            </item>
          </launchTemplateVersionSet>
        </DescribeLaunchTemplateVersionsResponse>"#;

    #[test]
    fn versions_are_read() {
        let facts = version_facts("X", VERSIONS, &["launchTemplateVersionSet", "item"]).unwrap();
        let image = Some("ami-8c1be5f6".to_owned());
        let description = Some("Instances of <shop>\t& co".to_owned());
        assert_eq!(facts, VersionFacts { number: 12, image, description });
        let without = VERSIONS.replace("imageId", "instanceType");
        let without = without.replace("versionDescription", "createdBy");
        let facts = version_facts("X", &without, &["launchTemplateVersionSet", "item"]).unwrap();
        assert_eq!((facts.image, facts.description), (None, None));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_no_more() {
        let number = "<R><launchTemplateVersion><versionNumber>-1</versionNumber>";
        let deep = "<a>".repeat(10_000);
        for bad in ["", "no", "<R/>", "<R><", number, "<R>&bomb;</R>", &deep, "\u{0}"] {
            let failure = version_facts("X", bad, &["launchTemplateVersion"]).unwrap_err();
            assert!(failure.text.starts_with("ec2:X answered"), "{bad}: {}", failure.text);
        }
    }

    #[test]
    fn errors_have_the_name_of_the_action() {
        let check = |status, body: &str, kind, text: &str| {
            let answer = Answer { status, retry_after: None, body: body.to_owned() };
            let failure = read("ec2:DescribeImages", answer).unwrap_err();
            assert_eq!((failure.kind, failure.text.as_str()), (kind, text));
        };
        let refused = "<Response><Errors><Error><Code>UnauthorizedOperation</Code>\
                       <Message>You are not authorized.</Message></Error></Errors>\
                       <RequestID>1</RequestID></Response>";
        let text = "ec2:DescribeImages is not allowed (UnauthorizedOperation): \
                    You are not authorized.";
        check(403, refused, CallErrorKind::Denied, text);
        let text = "ec2:DescribeImages failed with status 502";
        check(502, "<html>Bad gateway", CallErrorKind::Unclear, text);
    }

    #[test]
    fn versions_have_names_and_numbers() {
        for (text, which) in [
            ("$Latest", Some(Which::Latest)),
            ("$Default", Some(Which::Default)),
            ("12", Some(Which::Number(12))),
            ("latest", None),
            ("", None),
        ] {
            assert_eq!(Which::parse(text), which, "{text}");
            assert!(which.is_none_or(|which| which.text() == text));
        }
        assert_eq!(usual_endpoint("eu-west-1"), "https://ec2.eu-west-1.amazonaws.com");
        assert_eq!(usual_endpoint("cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn");
    }
}
