//! The command line, one file per command.

pub mod fetch;
pub mod promote;
pub mod publish;
pub mod rollback;
