//! How an error is shown: each error names its operation and object, the causes follow.

use std::error::Error;
use std::fmt;

/// Displays an error with all its causes: `could not read X: no such file`.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Libraries that put the cause into their own text would say everything twice.
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

/// The whole chain as one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    Chain(error).to_string()
}
