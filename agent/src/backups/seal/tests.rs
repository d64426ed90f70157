//! Everything that was sealed is opened again, and nothing else is.

use std::io::{Read, Write};

use super::frames::{FrameReader, FrameWriter};
use super::*;

const KEY: [u8; 32] = [7; 32];
const BLOB: &[u8] = b"as KMS gave it";
const FRAME: usize = 64 * 1024;

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), &KEY, BLOB).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn open(sealed: &[u8], key: &[u8], blob: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    FrameReader::new(BufReader::new(sealed), key, blob)?.read_to_end(&mut plain)?;
    Ok(plain)
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n.wrapping_mul(31) % 251).unwrap()).collect()
}

#[test]
fn frames_of_every_length_come_back() {
    for length in [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 17] {
        let plain = noise(length);
        let sealed = seal(&plain);
        assert_eq!(open(&sealed, &KEY, BLOB).unwrap(), plain, "{length}");
        assert!(length < 100 || !sealed.windows(50).any(|piece| piece == &plain[..50]));
    }
}

#[test]
fn no_frame_is_changed_moved_cut_off_or_added() {
    let plain = noise(3 * FRAME);
    let sealed = seal(&plain);
    let refused = |what: &str, sealed: &[u8]| {
        assert!(open(sealed, &KEY, BLOB).is_err(), "{what}");
    };
    for at in [0, 21, 30, 40, 1000, sealed.len() / 2, sealed.len() - 1] {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        refused(&format!("bit flipped at {at}"), &flipped);
    }
    let head = sealed.len() - 3 * (FRAME + 16);
    for length in [0, 10, head, head + 1, head + FRAME + 16, sealed.len() / 2, sealed.len() - 10] {
        refused(&format!("cut to {length}"), &sealed[..length]);
    }
    let frame = |n: usize| &sealed[head + n * (FRAME + 16)..head + (n + 1) * (FRAME + 16)];
    refused("swapped", &[&sealed[..head], frame(1), frame(0), frame(2)].concat());
    refused("left out", &[&sealed[..head], frame(0), frame(2)].concat());
    refused("doubled", &[&sealed[..], frame(2)].concat());
    refused("longer", &[&sealed[..], b"x"].concat());
    assert!(open(&sealed, &[8; 32], BLOB).is_err(), "another key");
    assert!(open(&sealed, &KEY, b"another blob").is_err());
}

#[tokio::test]
async fn age_files_come_back_with_an_identity_and_with_no_other() {
    let identity = Identity::generate();
    let recipients = vec![identity.to_public().to_string()];
    let kms = Kms::connect(None);
    let (seal, note) = Seal::make(&Encryption::Age(recipients.clone()), &kms, &[]).await.unwrap();
    assert_eq!(note, SealNote::Age(recipients));
    let plain = noise(200_000);
    let mut writer = seal.writer(Vec::new()).unwrap();
    writer.write_all(&plain).unwrap();
    let sealed = writer.finish().unwrap();
    let open = |sealed: &[u8], identity: &Identity| -> Result<Vec<u8>, String> {
        let opener = Opener::Age(vec![identity.clone()]);
        let mut plain = Vec::new();
        let mut reader = opener.reader(sealed).map_err(|error| error.to_string())?;
        reader.read_to_end(&mut plain).map_err(|error| error.to_string())?;
        Ok(plain)
    };
    assert_eq!(open(&sealed, &identity).unwrap(), plain);
    assert!(open(&sealed, &Identity::generate()).is_err());
    assert!(open(&sealed[..sealed.len() - 10], &identity).is_err());
    let mut flipped = sealed.clone();
    flipped[100_000] ^= 1;
    assert!(open(&flipped, &identity).is_err());
    assert!(open(b"not an age file", &identity).is_err());
    let missing = Opener::make(&note, None, &kms, &[]).await;
    assert!(matches!(missing, Err(SealError::NoIdentity)));
}

#[test]
fn identities_are_read_as_age_keygen_writes_them_and_never_quoted() {
    use age::secrecy::ExposeSecret;
    let secret = Identity::generate().to_string();
    let text = format!("# created: today\n# public key: x\n\n{}\n", secret.expose_secret());
    assert_eq!(identities("f", &text).unwrap().len(), 1);
    for text in ["", "# nothing", "AGE-SECRET-KEY-1SECRETSECRET"] {
        let error = identities("f", text).err().unwrap();
        assert!(!error.to_string().contains("SECRETSECRET"), "{error}");
    }
    assert!(recipient("age1nonsense").is_err());
}
