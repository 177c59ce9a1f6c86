//! Exit codes, from the fault that ended a command.

use crate::activation::ActivationError;
use crate::admin::client::AdminClientError;
use crate::config::ConfigError;
use crate::daemon::{StartError, StartFault};
use crate::queue::OpenError;
use crate::sandbox::SandboxError;

use super::demo::NoDirectory;
use super::emit::EmitError;
use super::exit::Exit;
use super::locate::Denied;
use super::send::SendError;

/// The code for `error`; [`Exit::Failed`] where no other fits.
pub(super) fn of(error: &anyhow::Error) -> Exit {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return match error {
            ConfigError::Permission { .. } => Exit::Permission,
            _ => Exit::Configuration,
        };
    }
    let start = error.downcast_ref::<StartError>().map(StartError::kind);
    let queue = || error.downcast_ref::<OpenError>().map(StartFault::of_queue);
    if let Some(fault) = start.or_else(queue) {
        return match fault {
            StartFault::CannotCreate => Exit::CannotCreate,
            StartFault::Permission => Exit::Permission,
            StartFault::Storage => Exit::Storage,
            StartFault::Configuration => Exit::Configuration,
        };
    }
    if error.is::<NoDirectory>() {
        return Exit::CannotCreate;
    }
    if error.is::<Denied>() {
        return Exit::Permission;
    }
    match error.downcast_ref::<AdminClientError>() {
        Some(
            AdminClientError::Unreachable { .. } | AdminClientError::Silent { .. } | AdminClientError::Broken,
        ) => {
            return Exit::Unreachable;
        }
        Some(_) => return Exit::Failed,
        None => {}
    }
    if error.is::<ActivationError>() {
        return Exit::Configuration;
    }
    if let Some(error) = error.downcast_ref::<SandboxError>() {
        return match error.is_permission() {
            true => Exit::Permission,
            false => Exit::CannotCreate,
        };
    }
    let sent = error.downcast_ref::<SendError>().map(SendError::exit);
    sent.or_else(|| error.downcast_ref::<EmitError>().map(EmitError::exit)).unwrap_or(Exit::Failed)
}
