//! The words of the domain as types that cannot be wrong: parsed once, trusted afterwards.

mod digest;
mod exit;
mod name;
mod process_id;
mod release;

pub use digest::Digest;
pub use exit::Exit;
pub use name::{Environment, NameError, TierName, Version};
pub use process_id::{Generation, Pid, ProcessId, ProcessIdError, Run};
pub use release::{Desired, ReleaseRef, Target};
