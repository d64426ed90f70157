//! AWS Signature Version 4, as the service checks it: over the body as it was sent.

use ring::digest::{SHA256, digest};
use ring::hmac;

use super::http::Request;
use super::{ACCESS_KEY, REGION, SECRET_KEY};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "logs";
// What may not be left out of the signature.
const SIGNED: [&str; 3] = ["host", "x-amz-date", "x-amz-target"];

/// Checks the signature of a request.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn check(request: &Request) -> Result<(), String> {
    let header = request.header("authorization").ok_or("there is no signature")?;
    let fields = header.strip_prefix(ALGORITHM).ok_or("the signature is of another kind")?;
    let field = |name: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
        fields.find(|(known, _)| *known == name).map(|(_, value)| value).ok_or("a field is missing")
    };
    let (credential, signed) = (field("Credential")?, field("SignedHeaders")?);
    let (key, scope) = credential.split_once('/').ok_or("the credential has no scope")?;
    if key != ACCESS_KEY {
        return Err(format!("nobody has the access key {key}"));
    }
    let names: Vec<&str> = signed.split(';').collect();
    if let Some(name) = SIGNED.iter().find(|name| !names.contains(name)) {
        return Err(format!("{name} is not signed"));
    }
    let time = request.header("x-amz-date").ok_or("there is no x-amz-date")?;
    let date = time.get(..8).ok_or("x-amz-date is no date")?;
    if scope != format!("{date}/{REGION}/{SERVICE}/aws4_request") {
        return Err(format!("the scope is {scope}"));
    }
    let canonical = canonical(request, &names, signed)?;
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let right = hex(sign(&key_of(date), &text).as_ref());
    if field("Signature")? == right { Ok(()) } else { Err("the signature is wrong".to_owned()) }
}

fn canonical(request: &Request, names: &[&str], signed: &str) -> Result<String, String> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut text = format!("{}\n{path}\n{query}\n", request.method);
    for name in names {
        let value = request.header(name).ok_or(format!("{name} is signed and not there"))?;
        text.extend([name, ":", value, "\n"]);
    }
    let body = hex(&sha256(&request.body));
    if request.header("x-amz-content-sha256").is_some_and(|said| said != body) {
        return Err("x-amz-content-sha256 is of another body".to_owned());
    }
    Ok(format!("{text}\n{signed}\n{body}"))
}

fn key_of(date: &str) -> hmac::Key {
    let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{SECRET_KEY}").as_bytes());
    [date, REGION, SERVICE, "aws4_request"]
        .iter()
        .fold(first, |key, part| hmac::Key::new(hmac::HMAC_SHA256, sign(&key, part).as_ref()))
}

fn sign(key: &hmac::Key, text: &str) -> hmac::Tag {
    hmac::sign(key, text.as_bytes())
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Signs a request that has no signature yet: what a client of ours sends.
pub(super) fn add(request: &mut Request, time: &str) {
    let date = time.get(..8).unwrap_or(time);
    request.headers.push(("x-amz-date".to_owned(), time.to_owned()));
    let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    let signed = names.join(";");
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let scope = format!("{date}/{REGION}/{SERVICE}/aws4_request");
    let canonical = canonical(request, &names, &signed).unwrap_or_default();
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let signature = hex(sign(&key_of(date), &text).as_ref());
    let header = format!(
        "{ALGORITHM} Credential={ACCESS_KEY}/{scope}, SignedHeaders={signed}, Signature={signature}"
    );
    request.headers.push(("authorization".to_owned(), header));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Request {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut request = Request {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: vec![
                header("host", "127.0.0.1:1"),
                header("content-encoding", "gzip"),
                header("x-amz-target", "Logs_20140328.PutLogEvents"),
            ],
            body: b"body".to_vec(),
        };
        add(&mut request, "20260822T101112Z");
        request
    }

    #[test]
    fn the_key_is_derived_as_the_documentation_has_it() {
        // The example of "Create a signed AWS API request", with another secret, region, service.
        let first =
            hmac::Key::new(hmac::HMAC_SHA256, b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let parts = ["20120215", "us-east-1", "iam", "aws4_request"];
        let key = parts.iter().fold((first, String::new()), |(key, _), part| {
            let tag = sign(&key, part);
            (hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()), hex(tag.as_ref()))
        });
        assert_eq!(key.1, "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    #[test]
    fn a_signature_holds_for_what_was_signed_alone() {
        assert_eq!(check(&signed()), Ok(()));
        type Edit = fn(&mut Request);
        let wrong: [(&str, Edit); 6] = [
            ("the signature is wrong", |request| request.body.push(b'x')),
            ("the signature is wrong", |request| request.headers[1].1.push('x')),
            ("there is no signature", |request| drop(request.headers.pop())),
            ("content-encoding is signed and not there", |r| drop(r.headers.remove(1))),
            ("nobody has the access key other", |request| {
                let header = &mut request.headers.last_mut().unwrap().1;
                *header = header.replace("=test/", "=other/");
            }),
            ("x-amz-target is not signed", |request| {
                let header = &mut request.headers.last_mut().unwrap().1;
                *header = header.replace(";x-amz-target", "");
            }),
        ];
        for (why, edit) in wrong {
            let mut request = signed();
            edit(&mut request);
            assert_eq!(check(&request), Err(why.to_owned()));
        }
    }
}
