//! Encryption of dumps on their way to the bucket, and back: age files for recipients whose
//! identity need not be on the fleet, or frames with a data key of KMS. What is opened here may
//! have been written by anybody: it is an error, never a panic, and nothing is given out that was
//! not proved.

mod frames;

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use age::stream::{StreamReader, StreamWriter};
use age::x25519::{Identity, Recipient};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use groundcrew_core::backups::settings::Encryption;

use super::manifest::SealNote;
use crate::aws::kms::{Kms, KmsError, Plaintext};
use crate::credential::{self, CredentialError};
use frames::{FrameReader, FrameWriter};

/// Identities of one file.
const IDENTITIES_MAX: usize = 32;
/// Bytes that are read ahead of what is opened.
const READ_AHEAD_BYTES: usize = 128 * 1024;

/// Why nothing can be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A recipient.
    #[error("{recipient:?} is no age recipient: {reason}")]
    Recipient {
        /// Its beginning.
        recipient: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The identity is not there.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The identity is none.
    #[error("{name} holds no age identity (AGE-SECRET-KEY-1...)")]
    Identity {
        /// The file's name.
        name: String,
    },
    /// Nobody said where the identity is.
    #[error("it is encrypted to age recipients, and this host has no identity_file to read it")]
    NoIdentity,
    /// KMS.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The data key.
    #[error("the data key of KMS {why}")]
    Key {
        /// What is wrong with it.
        why: &'static str,
    },
    /// It cannot be opened with what is there.
    #[error("it cannot be opened: {reason}")]
    Open {
        /// Why.
        reason: String,
    },
}

/// How something is sealed.
#[derive(Clone)]
pub enum Seal {
    /// Not at all.
    None,
    /// To age recipients.
    Age(Vec<Recipient>),
    /// With a data key, which stands encrypted in front.
    Key {
        /// The key.
        key: Arc<Plaintext>,
        /// The key, as KMS decrypts it.
        blob: Vec<u8>,
    },
}

/// What opens what was sealed.
pub enum Opener {
    /// It is not sealed.
    None,
    /// Identities of age.
    Age(Vec<Identity>),
    /// A data key, and the blob that it came from.
    Key {
        /// The key.
        key: Plaintext,
        /// What the sealed data must have in front.
        blob: Vec<u8>,
    },
}

/// Seals what is written through it.
pub enum Sealing<W: Write> {
    /// Not at all.
    None(W),
    /// As an age file.
    Age(Box<StreamWriter<W>>),
    /// In frames.
    Key(Box<FrameWriter<W>>),
}

/// Opens what is read through it.
pub enum Opening<R: Read> {
    /// It is not sealed.
    None(BufReader<R>),
    /// An age file.
    Age(Box<StreamReader<BufReader<R>>>),
    /// Frames.
    Key(Box<FrameReader<BufReader<R>>>),
}

impl Seal {
    /// What `encryption` asks for, and what the manifest says about it. A data key is made anew for
    /// each dump; `context` has to be the same when it is opened.
    pub async fn make(
        encryption: &Encryption,
        kms: &Kms,
        context: &[(String, String)],
    ) -> Result<(Self, SealNote), SealError> {
        match encryption {
            Encryption::None => Ok((Self::None, SealNote::None)),
            Encryption::Age(recipients) => {
                let parsed = recipients.iter().map(|text| recipient(text));
                let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
                Ok((Self::Age(parsed), SealNote::Age(recipients.clone())))
            }
            Encryption::Kms(id) => {
                let made = kms.generate_data_key(id, context).await?;
                let blob = made.ciphertext;
                let note = SealNote::Kms { key: made.key_arn, blob: STANDARD.encode(&blob) };
                Ok((Self::Key { key: Arc::new(made.plaintext), blob }, note))
            }
        }
    }

    /// Seals into `output`.
    pub fn writer<W: Write>(&self, output: W) -> io::Result<Sealing<W>> {
        match self {
            Self::None => Ok(Sealing::None(output)),
            Self::Age(recipients) => {
                let recipients = recipients.iter().map(|one| one as &dyn age::Recipient);
                let encryptor = age::Encryptor::with_recipients(recipients);
                let encryptor = encryptor.map_err(io::Error::other)?;
                Ok(Sealing::Age(Box::new(encryptor.wrap_output(output)?)))
            }
            Self::Key { key, blob } => {
                Ok(Sealing::Key(Box::new(FrameWriter::new(output, key.as_bytes(), blob)?)))
            }
        }
    }
}

impl Opener {
    /// What opens what `note` describes.
    pub async fn make(
        note: &SealNote,
        identity_file: Option<&str>,
        kms: &Kms,
        context: &[(String, String)],
    ) -> Result<Self, SealError> {
        match note {
            SealNote::None => Ok(Self::None),
            SealNote::Age(_) => {
                let name = identity_file.ok_or(SealError::NoIdentity)?;
                Ok(Self::Age(identities(name, &credential::read(name)?)?))
            }
            SealNote::Kms { key: _, blob } => {
                let blob = STANDARD.decode(blob);
                let blob = blob.map_err(|_| SealError::Key { why: "is not base64" })?;
                let key = kms.decrypt(&blob, context).await?;
                Ok(Self::Key { key, blob })
            }
        }
    }

    /// Opens `input`. What is read is proved piece by piece: an error may come at any point, and at
    /// the end when there is less than there was.
    pub fn reader<R: Read>(self, input: R) -> Result<Opening<R>, SealError> {
        let failed = |reason: String| SealError::Open { reason };
        let input = BufReader::with_capacity(READ_AHEAD_BYTES, input);
        match self {
            Self::None => Ok(Opening::None(input)),
            Self::Age(identities) => {
                let decryptor = age::Decryptor::new_buffered(input);
                let decryptor = decryptor.map_err(|error| failed(error.to_string()))?;
                let identities = identities.iter().map(|one| one as &dyn age::Identity);
                let reader = decryptor.decrypt(identities);
                let reader = reader.map_err(|error| failed(error.to_string()))?;
                Ok(Opening::Age(Box::new(reader)))
            }
            Self::Key { key, blob } => {
                let reader = FrameReader::new(input, key.as_bytes(), &blob);
                let reader = reader.map_err(|error| failed(error.to_string()))?;
                Ok(Opening::Key(Box::new(reader)))
            }
        }
    }
}

fn recipient(text: &str) -> Result<Recipient, SealError> {
    text.parse().map_err(|reason| SealError::Recipient {
        recipient: text.chars().take(16).collect(),
        reason,
    })
}

/// The identities in a file as `age-keygen` writes it: comments begin with `#`.
fn identities(name: &str, text: &str) -> Result<Vec<Identity>, SealError> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    // What the parser would say might quote the identity.
    let none = || SealError::Identity { name: name.to_owned() };
    let parsed = lines.take(IDENTITIES_MAX).map(|line| line.parse().map_err(|_| none()));
    let identities = parsed.collect::<Result<Vec<Identity>, _>>()?;
    if identities.is_empty() { Err(none()) } else { Ok(identities) }
}

impl<W: Write> Sealing<W> {
    /// Writes the end, without which nothing can be opened, and gives the output back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(output) => Ok(output),
            Self::Age(writer) => writer.finish(),
            Self::Key(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(output) => output.write(bytes),
            Self::Age(writer) => writer.write(bytes),
            Self::Key(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(output) => output.flush(),
            Self::Age(writer) => writer.flush(),
            Self::Key(writer) => writer.flush(),
        }
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(input) => input.read(into),
            Self::Age(reader) => reader.read(into),
            Self::Key(reader) => reader.read(into),
        }
    }
}

#[cfg(test)]
mod tests;
