//! Restores of dumps. Holds the place of the real one, which the part DUMP has.

/// Where a dump is restored to.
#[derive(Debug)]
pub struct Target(String);

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// Bytes that the dump holds.
    pub bytes: u64,
    /// Tables that the database has now.
    pub tables: usize,
}

impl Target {
    /// Reads what a person wrote.
    pub fn parse(text: &str) -> Result<Self, std::io::Error> {
        Ok(Self(text.to_owned()))
    }

    /// For people.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.0
    }
}
