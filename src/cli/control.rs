//! `trunkline pause|resume|reload|adopt`: what changes a running daemon.

use std::fmt::Write as _;

use crate::admin::client::AdminClientError;
use crate::admin::{ChangeAnswer, LaneChoice, ReloadAnswer, ReloadLogin};

use super::args::LaneArgs;
use super::escape::escaped;
use super::exit::Exit;
use super::locate::{Where, explained};
use super::output::{complain, say};
use super::queue;
use super::runtime::async_runtime;

/// Pauses or resumes.
pub(super) fn lanes(at: Where<'_>, path: &str, args: &LaneArgs) -> anyhow::Result<Exit> {
    let client = at.client()?;
    let choice = LaneChoice { lane: args.lane.map(|lane| lane.name().to_owned()) };
    let answer: ChangeAnswer = async_runtime()?.block_on(client.post(path, &choice)).map_err(explained)?;
    say(&format!("{}\n", escaped(&answer.message)))
}

/// Adopts through the running daemon; without one, on its directory.
pub(super) fn adopt(at: Where<'_>) -> anyhow::Result<Exit> {
    let client = at.client()?;
    let answered = async_runtime()?.block_on(client.post::<ChangeAnswer>("/adopt", &LaneChoice::default()));
    match answered {
        Ok(answer) => say(&format!("{}\n", escaped(&answer.message))),
        Err(AdminClientError::Unreachable { .. }) if at.admin.is_none() => queue::adopt(at.config),
        Err(error) => Err(explained(error)),
    }
}

/// Reloads, and says what changed.
pub(super) fn reload(at: Where<'_>) -> anyhow::Result<Exit> {
    let client = at.client()?;
    let answered = async_runtime()?.block_on(client.post::<ReloadAnswer>("/reload", &LaneChoice::default()));
    let (changes, login, withheld) = match answered {
        Ok(ReloadAnswer::Applied { changes, login, withheld }) => (changes, login, withheld),
        Ok(ReloadAnswer::Refused { message }) | Err(AdminClientError::Refused { status: 422, message }) => {
            complain(&format!("trunkline: refused, nothing changed: {message}"));
            return Ok(Exit::Configuration);
        }
        Err(error) => return Err(explained(error)),
    };
    let mut text = String::new();
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    for change in &changes {
        let note = if change.needs_restart { "   needs a restart" } else { "" };
        let _ = writeln!(text, "{}: {} -> {}{note}", change.key, shown(&change.before), shown(&change.now));
    }
    if changes.is_empty() {
        text.push_str("applied; nothing has changed\n");
    }
    match login {
        ReloadLogin::Succeeded => text.push_str("logged in\n"),
        ReloadLogin::Failed(fault) => {
            let _ = writeln!(text, "the login failed: {}", escaped(&fault));
        }
        ReloadLogin::NotDue => {}
    }
    if let Some(reason) = withheld {
        let _ = writeln!(text, "nothing is sent: {}", escaped(&reason));
        text.push_str(
            "if the login shows that the organisation is the same, sending starts by itself: see `trunkline status`\n",
        );
    }
    say(&text)?;
    Ok(if changes.iter().any(|change| change.needs_restart) { Exit::Failed } else { Exit::Done })
}
