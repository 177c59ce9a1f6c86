//! How a command ends, as a number for its caller.

use std::process::ExitCode;

/// How a command ended. The numbers are an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It ran, and something was refused or failed.
    Failed = 1,
    /// Usage.
    Usage = 64,
    /// The daemon is not reachable.
    Unreachable = 69,
    /// Directory or socket cannot be made or is in use.
    CannotCreate = 73,
    /// Storage fault.
    Storage = 74,
    /// Permission.
    Permission = 77,
    /// Configuration.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
